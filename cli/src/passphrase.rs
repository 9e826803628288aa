//! Secrets from where they may come from: a file, the environment, the terminal. Never the command line.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use assay_authority::{SigningKey, Tokens};
use zeroize::Zeroizing;

use crate::args::{PassphraseArgs, TokensArgs};
use crate::exit::Exit;
use crate::failure::Failure;

const VARIABLE: &str = "ASSAY_PASSPHRASE";
#[cfg(feature = "pkcs11")]
const PIN_VARIABLE: &str = "ASSAY_PKCS11_PIN";
/// Nobody's passphrase or token is longer; a device file would never end.
const MAX_SECRET: u64 = 64 << 10;

/// The first line of a file.
pub(crate) fn from_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let fail = |found: String| {
        Failure::new(
            Exit::Store,
            "secret-file",
            format!(
                "{}: expected a file with a secret in its first line, found {found}",
                path.display()
            ),
        )
    };
    let file = File::open(path).map_err(|e| fail(e.to_string()))?;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_SECRET)
        .read_to_string(&mut text)
        .map_err(|e| fail(e.to_string()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Zeroizing::new(line.to_owned())),
        _ => Err(fail("an empty one".to_owned())),
    }
}

/// What --passphrase-file or ASSAY_PASSPHRASE say, if either is given.
fn given(file: Option<&Path>) -> Result<Option<Zeroizing<String>>, Failure> {
    match file {
        Some(path) => from_file(path).map(Some),
        None => Ok(std::env::var(VARIABLE)
            .ok()
            .filter(|v| !v.is_empty())
            .map(Zeroizing::new)),
    }
}

/// A passphrase for new keys, asked for twice.
pub(crate) fn choose(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    if let Some(passphrase) = given(file)? {
        return Ok(passphrase);
    }
    let first = ask("Passphrase for the new keys: ")?;
    if first.is_empty() {
        return Err(Failure::new(
            Exit::Denied,
            "passphrase",
            "expected a passphrase, found an empty one",
        ));
    }
    if *first != *ask("The same again: ")? {
        return Err(Failure::new(
            Exit::Denied,
            "passphrase",
            "the two passphrases differ; no key was made",
        ));
    }
    Ok(first)
}

/// The passphrases of a folder's keys. One that opened a key is tried on the next before anybody is asked again.
pub(crate) struct Passphrases {
    given: Option<Zeroizing<String>>,
    asked: Mutex<Vec<Zeroizing<String>>>,
}

impl Passphrases {
    pub(crate) fn new(args: &PassphraseArgs) -> Result<Self, Failure> {
        Ok(Self {
            given: given(args.passphrase_file.as_deref())?,
            asked: Mutex::default(),
        })
    }

    /// The passphrase of a key file; `None` where nobody can be asked.
    pub(crate) fn of(&self, path: &Path) -> Option<String> {
        if let Some(given) = &self.given {
            return Some(given.to_string());
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let opens = |known: &&Zeroizing<String>| {
            std::fs::read_to_string(path)
                .is_ok_and(|pem| SigningKey::from_pem(&pem, Some(known.as_str())).is_ok())
        };
        if let Some(known) = asked.iter().find(opens) {
            return Some(known.to_string());
        }
        let name = path.file_name().map_or_else(
            || path.display().to_string(),
            |n| n.to_string_lossy().into_owned(),
        );
        let answer = ask(&format!("Passphrase of {name}: ")).ok()?;
        asked.push(answer.clone());
        Some(answer.to_string())
    }
}

/// The tokens that hold keys. A PIN comes from the environment or the terminal, where a key's URI names no file.
#[cfg(feature = "pkcs11")]
pub(crate) fn tokens(args: &TokensArgs) -> Arc<dyn Tokens> {
    // A variable that is empty counts as one that is not set.
    let module = args
        .pkcs11_module
        .clone()
        .filter(|path| !path.as_os_str().is_empty());
    Arc::new(assay_pkcs11::Pkcs11Tokens::new(module, |token| {
        let given = std::env::var(PIN_VARIABLE).ok().filter(|pin| !pin.is_empty());
        // Nobody to ask: the refusal says where the PIN can come from.
        given.map(Zeroizing::new).or_else(|| {
            let token: String = token.chars().filter(|c| !c.is_control()).collect();
            ask(&format!("PIN of token {token}: ")).ok()
        })
    }))
}

/// This build has none.
#[cfg(not(feature = "pkcs11"))]
pub(crate) fn tokens(args: &TokensArgs) -> Arc<dyn Tokens> {
    // Accepted and without effect, so that scripts read the same refusal from every build.
    let _ = &args.pkcs11_module;
    Arc::new(assay_authority::token::NoTokens)
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let nobody = |why: String| {
        Failure::new(
            Exit::Denied,
            "passphrase",
            format!("a passphrase is needed, and nobody can be asked: {why}"),
        )
        .advise(format!("Give it with --passphrase-file, or in {VARIABLE}"))
    };
    if !std::io::stdin().is_terminal() {
        return Err(nobody("standard input is not a terminal".to_owned()));
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|e| nobody(e.to_string()))
}
