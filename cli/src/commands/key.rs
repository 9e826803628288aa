//! `assay key`: further keys of an authority's folder, in files and in tokens.

use std::path::Path;

use assay_authority::{KeyKind, PublicKey};
use assay_client::publisher::{AuthorityFolder, KeyPlace};
use serde_json::json;

use super::keygen::fingerprint;
use crate::args::{KeyAdd, KeyCommand, KeyList};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, columns};
use crate::passphrase;
use crate::verdict::printable;

pub(super) fn run(command: &KeyCommand) -> Result<Answer, Failure> {
    match command {
        KeyCommand::Add(args) => add(args),
        KeyCommand::List(args) => list(args),
    }
}

/// The folder, which must exist: a mistyped path must not become a new one.
fn open(dir: &Path) -> Result<AuthorityFolder, Failure> {
    if !dir.is_dir() {
        let message = format!("{}: no such folder", dir.display());
        return Err(
            Failure::new(Exit::NotFound, "no-authority", message).advise("Make one with `assay keygen`")
        );
    }
    Ok(AuthorityFolder::open(dir)?)
}

fn add(args: &KeyAdd) -> Result<Answer, Failure> {
    let folder = open(&args.dir)?.with_tokens(passphrase::tokens(&args.tokens));
    let kind = args.kind.map_or(args.role.default_kind(), KeyKind::from);
    let number = folder.next_number(args.role)?;
    let (public, extension) = match (&args.pkcs11, args.make) {
        (Some(uri), true) => (folder.generate_in_token(args.role, number, kind, uri)?, "pkcs11"),
        (Some(uri), false) => (folder.add_from_token(args.role, number, uri)?, "pkcs11"),
        (None, _) => {
            let passphrase = match args.encrypt {
                true => Some(passphrase::choose(args.passphrase.passphrase_file.as_deref())?),
                false => None,
            };
            let passphrase = passphrase.as_deref().map(String::as_str);
            (folder.generate(args.role, number, kind, passphrase)?, "pem")
        }
    };
    let file = format!("{}.{extension}", args.role.key_name(number));
    let (kind, fingerprint) = (public.kind().as_str(), fingerprint(&public));
    let text = format!(
        "{}\nIts public half, for the metadata that lists it: {}",
        columns(&[[file.clone(), kind.to_owned(), fingerprint.clone()]]).trim_end(),
        args.dir.join(format!("{file}.pub")).display()
    );
    let document = json!({"role": args.role.name(), "file": file, "kind": kind, "fingerprint": fingerprint,
        "key_id": key_id(&public)});
    Ok(Answer::new(document, text))
}

fn list(args: &KeyList) -> Result<Answer, Failure> {
    let (mut rows, mut keys) = (Vec::new(), Vec::new());
    for key in open(&args.dir)?.list_keys()? {
        let kind = key.public.as_ref().map(|public| public.kind().as_str());
        let id = key.public.as_ref().and_then(key_id);
        let uri = match key.place {
            KeyPlace::File => None,
            KeyPlace::Token { uri } => Some(uri),
        };
        rows.push([
            key.file.clone(),
            kind.unwrap_or("?").to_owned(),
            id.clone().unwrap_or_default(),
            uri.as_deref().map(printable).unwrap_or_default(),
        ]);
        keys.push(
            json!({"role": key.role.name(), "file": key.file, "kind": kind, "key_id": id, "pkcs11": uri}),
        );
    }
    Ok(Answer::new(json!({"keys": keys}), columns(&rows)))
}

/// The id by which TUF metadata lists the key; none for a kind that it cannot list.
fn key_id(public: &PublicKey) -> Option<String> {
    let key = public.to_tuf().ok()?;
    assay_authority::public::key_id(&key).ok()
}
