//! `assay attest`.

use std::io::Write as _;

use assay_authority::SigningKey;
use assay_client::publisher::{AuthorityFolder, KeyRole, Statement};
use assay_schema::limits::MAX_ATTESTATION;
use serde_json::{Value, json};

use super::foreign::{bounded, text_file};
use crate::args::Attest;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, files};
use crate::passphrase::{Passphrases, tokens};
use crate::verdict::printable;

pub(super) fn run(args: &Attest) -> Result<Answer, Failure> {
    let bytes = bounded(&args.predicate, MAX_ATTESTATION)?;
    let predicate: Value = serde_json::from_slice(&bytes).map_err(|e| {
        let message = format!(
            "{}: expected a predicate in JSON, found {e}",
            args.predicate.display()
        );
        Failure::new(Exit::Usage, "bad-predicate", message)
    })?;
    let key = key(args)?;
    let signed = Statement {
        folder: &args.dir,
        predicate_type: &args.predicate_type,
        predicate: &predicate,
        files: &args.file,
    }
    .sign(&key)?;
    let fail = |e: std::io::Error| Failure::new(Exit::Store, "file", format!("{}: {e}", args.out.display()));
    let mut out = std::fs::File::create_new(&args.out).map_err(fail)?;
    out.write_all(&signed.bundle).map_err(fail)?;
    let text = format!(
        "{}: {} about {}\nmodel digest {}\nattach it with `assay publish --attestation {}`",
        args.out.display(),
        args.predicate_type,
        files(signed.files as u64),
        signed.model_digest,
        args.out.display()
    );
    let document = json!({
        "file": args.out,
        "predicate_type": args.predicate_type,
        "files": signed.files,
        "model_digest": signed.model_digest,
    });
    Ok(Answer::new(document, printable(&text)))
}

fn key(args: &Attest) -> Result<SigningKey, Failure> {
    let passphrases = Passphrases::new(&args.passphrase)?;
    if let Some(path) = &args.key {
        let pem = text_file(path)?;
        let asked = SigningKey::is_encrypted(&pem)
            .then(|| passphrases.of(path))
            .flatten();
        return SigningKey::from_pem(&pem, asked.as_deref())
            .map_err(|e| Failure::new(Exit::Failed, "bad-key", format!("{}: {e}", path.display())));
    }
    let missing = || {
        Failure::new(
            Exit::NotFound,
            "no-key",
            "no model-signing key in the authority's folder",
        )
    };
    let folder = args
        .authority
        .as_deref()
        .filter(|path| path.is_dir())
        .ok_or_else(missing)?;
    let folder = AuthorityFolder::open(folder)?.with_tokens(tokens(&args.tokens));
    let keys = folder.keys(KeyRole::ModelSigning, &|path| passphrases.of(path))?;
    keys.into_iter().next().ok_or_else(missing)
}
