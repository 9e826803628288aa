//! `assay keygen`.

use std::path::Path;

use assay_authority::{KeyKind, PublicKey};
use assay_client::publisher::{AuthorityFolder, KeyRole};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::{KeyType, Keygen};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, columns};
use crate::passphrase;

const THRESHOLDS: &str = "thresholds.json";

impl From<KeyType> for KeyKind {
    fn from(kind: KeyType) -> Self {
        match kind {
            KeyType::Ed25519 => Self::Ed25519,
            KeyType::P256 => Self::P256,
            KeyType::P384 => Self::P384,
            KeyType::P521 => Self::P521,
        }
    }
}

/// `thresholds.json`: how many keys of a role must sign. The namespace's root says so once it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Thresholds {
    pub(super) root: u64,
    pub(super) targets: u64,
}

impl Thresholds {
    /// What `keygen` was given; one of each for keys that came from elsewhere.
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(THRESHOLDS);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self { root: 1, targets: 1 }),
            Err(e) => {
                return Err(Failure::new(
                    Exit::Store,
                    "authority-folder",
                    format!("{}: {e}", path.display()),
                ));
            }
        };
        serde_json::from_slice(&bytes).map_err(|e| {
            Failure::new(
                Exit::Store,
                "authority-folder",
                format!("{}: expected thresholds, found {e}", path.display()),
            )
        })
    }

    fn write(self, folder: &Path) -> Result<(), Failure> {
        let path = folder.join(THRESHOLDS);
        let text = format!("{:#}\n", json!(self));
        std::fs::write(&path, text).map_err(|e| {
            Failure::new(
                Exit::Store,
                "authority-folder",
                format!("write {}: {e}", path.display()),
            )
        })
    }
}

pub(super) fn run(args: &Keygen) -> Result<Answer, Failure> {
    for (role, threshold, keys) in [
        ("root", args.root_threshold, args.root),
        ("targets", args.targets_threshold, args.targets),
    ] {
        if threshold > keys {
            let message = format!(
                "--{role}-threshold: expected at most {keys}, the number of {role} keys, found {threshold}"
            );
            return Err(Failure::new(Exit::Usage, "threshold", message));
        }
    }
    // TUF clients read no P-521 key: the namespace could never be created.
    if args.kind == KeyType::P521 {
        let message = "--kind: expected ed25519, p256 or p384 for keys that sign TUF metadata, found p521";
        return Err(Failure::new(Exit::Usage, "key-kind", message));
    }
    // Looked at before any key is made, so that a refusal leaves the folder as it was.
    let files = KeyRole::ALL
        .iter()
        .flat_map(|role| ["pem", "pkcs11"].map(|kind| format!("{}.{kind}", role.name())));
    for path in files.map(|file| args.dir.join(file)) {
        if path.symlink_metadata().is_ok() {
            let message = format!(
                "{}: a key is there already; it is never overwritten",
                path.display()
            );
            return Err(
                Failure::new(Exit::Conflict, "key-exists", message).advise("Make the keys in another folder")
            );
        }
    }
    let passphrase = match args.encrypt {
        true => Some(passphrase::choose(args.passphrase.passphrase_file.as_deref())?),
        false => None,
    };
    let folder = AuthorityFolder::open(&args.dir)?.with_tokens(passphrase::tokens(&args.tokens));
    Thresholds {
        root: args.root_threshold.into(),
        targets: args.targets_threshold.into(),
    }
    .write(folder.path())?;

    let kind = KeyKind::from(args.kind);
    let (mut keys, mut rows, mut files) = (Vec::new(), Vec::new(), 0);
    for (role, count, kind) in [
        (KeyRole::Root, args.root, kind),
        (KeyRole::Targets, args.targets, kind),
        (KeyRole::Publisher, 1, kind),
        (KeyRole::ModelSigning, 1, args.signing_kind.into()),
        (KeyRole::Status, args.status, kind),
    ] {
        for number in 1..=count {
            let token = args.pkcs11.as_deref();
            let token = token.filter(|_| args.in_token.is_empty() || args.in_token.contains(&role));
            let (public, extension) = match token {
                Some(uri) => (folder.generate_in_token(role, number, kind, uri)?, "pkcs11"),
                None => {
                    let passphrase = passphrase.as_deref().map(String::as_str);
                    files += 1;
                    (folder.generate(role, number, kind, passphrase)?, "pem")
                }
            };
            let fingerprint = fingerprint(&public);
            let file = format!("{}.{extension}", role.key_name(number));
            rows.push([file.clone(), public.kind().to_string(), fingerprint.clone()]);
            let kind = public.kind().as_str();
            keys.push(json!({"role": role.name(), "file": file, "kind": kind, "fingerprint": fingerprint}));
        }
    }
    let mut text = columns(&rows);
    text.push_str(&format!("{} keys in {}", keys.len(), args.dir.display()));
    if !args.encrypt && files > 0 {
        text.push_str(", not encrypted");
    }
    let document = json!({"folder": args.dir, "encrypted": args.encrypt, "keys": keys});
    Ok(Answer::new(document, text))
}

/// SHA-256 of the DER SubjectPublicKeyInfo, by which people compare keys.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    assay_client::sha256(key.spki_der()).to_string()
}
