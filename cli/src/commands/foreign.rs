//! `assay verify DIR --signature F --public-key K`: a folder that another tool signed with OpenSSF Model Signing.

use std::num::NonZero;
use std::path::Path;

use assay_authority::PublicKey;
use assay_authority::namespace::key_signer;
use assay_client::device::OmsCheck;
use jiff::Timestamp;
use serde_json::json;

use crate::args::ForeignArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, bytes};
use crate::progress::bar;
use crate::verdict::printable;

pub(super) fn run(context: &Context, folder: &Path, args: &ForeignArgs) -> Result<Answer, Failure> {
    // clap lets neither through without the other.
    let (Some(signature), Some(key)) = (&args.signature, &args.public_key) else {
        return Err(Failure::new(
            Exit::Usage,
            "usage",
            "--signature and --public-key belong together",
        ));
    };
    let fingerprint_of = public_key(key)?;
    let signers = [key_signer(&key.display().to_string(), &fingerprint_of)];
    let bar = bar(context.show, "verifying", None);
    let result = OmsCheck {
        folder,
        signature,
        signers: &signers,
        sigstore_root: None,
        ignore: &args.ignore,
        now: Timestamp::now(),
        threads: std::thread::available_parallelism().map_or(1, NonZero::get),
    }
    .run(&|n| bar.inc(n));
    bar.finish_and_clear();
    let verified = result?;
    let model = &verified.signature.model_name;
    let fingerprint = assay_client::sha256(fingerprint_of.spki_der());
    let text = format!(
        "verified: {}: {} files, {}, exactly what was signed as {:?}\nkey {fingerprint} ({})",
        folder.display(),
        verified.files,
        bytes(verified.bytes),
        printable(model),
        key.display(),
    );
    let document = json!({
        "folder": folder,
        "model_name": model,
        "key": {"file": key, "fingerprint": fingerprint},
        "predicate_type": verified.signature.predicate_type,
        "files": verified.files,
        "size": verified.bytes,
    });
    Ok(Answer::new(document, text))
}

fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    let pem = std::fs::read_to_string(path).map_err(|e| {
        let exit = if e.kind() == std::io::ErrorKind::NotFound {
            Exit::NotFound
        } else {
            Exit::Failed
        };
        Failure::new(exit, "bad-key", format!("{}: {e}", path.display()))
    })?;
    PublicKey::from_pem(&pem)
        .map_err(|e| Failure::new(Exit::Failed, "bad-key", format!("{}: {e}", path.display())))
}
