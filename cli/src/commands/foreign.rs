//! `assay verify DIR --signature F --public-key K`: a folder that another tool signed with OpenSSF Model Signing.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;

use assay_authority::PublicKey;
use assay_authority::namespace::key_signer;
use assay_client::device::{DeviceError, OmsCheck, VerifiedDirectory};
use assay_schema::verdict::{Outcome, Refusal, Stage, StageOutcome, StageReport};
use jiff::Timestamp;
use serde_json::{Map, json};

use crate::args::ForeignArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, bytes, files};
use crate::progress::bar;
use crate::verdict::{printable, stages};

pub(super) fn run(context: &Context, folder: &Path, args: &ForeignArgs) -> Result<Answer, Failure> {
    // clap lets neither through without the other.
    let (Some(signature), Some(path)) = (&args.signature, &args.public_key) else {
        return Err(Failure::new(
            Exit::Usage,
            "usage",
            "--signature and --public-key belong together",
        ));
    };
    if !signature.is_file() {
        let message = format!("{}: no such file", signature.display());
        return Err(Failure::new(Exit::NotFound, "no-signature", message));
    }
    let key = public_key(path)?;
    let signers = [key_signer(&path.display().to_string(), &key)];
    let now = Timestamp::now();
    let bar = bar(context.show, "verifying", None);
    let result = OmsCheck {
        folder,
        signature,
        signers: &signers,
        sigstore_root: None,
        ignore: &args.ignore,
        now,
        threads: std::thread::available_parallelism().map_or(1, NonZero::get),
    }
    .run(&|n| bar.inc(n));
    bar.finish_and_clear();
    let Some(reports) = reports(&result, args, &key) else {
        // Nothing was judged: a file could not be read.
        return Err(result.map_or_else(Failure::from, |_| {
            Failure::new(Exit::Failed, "internal", "nothing was judged")
        }));
    };
    let outcome = if result.is_ok() {
        Outcome::Permit
    } else {
        Outcome::Refuse
    };
    let subject = json!({"folder": folder});
    let verdict = json!({"v": 1, "outcome": outcome, "subject": subject, "time": now, "stages": reports});
    match result {
        Ok(verified) => {
            let text = format!(
                "{}permitted: {} is exactly what was signed as {:?}: {}, {}",
                stages(&reports, context.show.verbose),
                folder.display(),
                printable(&verified.signature.model_name),
                files(verified.files as u64),
                bytes(verified.bytes),
            );
            let model = verified.signature.model_name;
            let document = json!({"model_name": model, "files": verified.files, "size": verified.bytes, "verdict": verdict});
            Ok(Answer::new(document, text))
        }
        Err(error) => {
            let fields = Map::from_iter([("verdict".to_owned(), verdict)]);
            Err(Failure {
                fields,
                ..error.into()
            })
        }
    }
}

/// The two stages that such a folder can pass; `None` where neither was decided.
fn reports(
    result: &Result<VerifiedDirectory, DeviceError>,
    args: &ForeignArgs,
    key: &PublicKey,
) -> Option<Vec<StageReport>> {
    let key_file = args
        .public_key
        .as_deref()
        .map(|p| p.display().to_string())
        .unwrap_or_default();
    let signed_by = BTreeMap::from([
        ("key".to_owned(), assay_client::sha256(key.spki_der()).to_string()),
        ("key_file".to_owned(), key_file.clone()),
    ]);
    let none = BTreeMap::new;
    Some(match result {
        Ok(verified) => vec![
            report(Stage::Provenance, StageOutcome::Passed, signed_by),
            report(Stage::Content, StageOutcome::Passed, content(verified)),
        ],
        Err(DeviceError::Refused(refusal)) => vec![
            report(Stage::Provenance, StageOutcome::Passed, signed_by),
            report(Stage::Content, StageOutcome::Refused((**refusal).clone()), none()),
        ],
        Err(DeviceError::Signature(reason)) => {
            let refusal = Refusal {
                code: "signature-invalid".to_owned(),
                subject: args
                    .signature
                    .as_deref()
                    .map(|p| p.display().to_string())
                    .unwrap_or_default(),
                expected: format!("a model signature by {key_file}"),
                found: reason.to_string(),
                advice: "Do not use the files unless their signer explains this".to_owned(),
            };
            vec![report(Stage::Provenance, StageOutcome::Refused(refusal), none())]
        }
        Err(_) => return None,
    })
}

fn report(stage: Stage, outcome: StageOutcome, evidence: BTreeMap<String, String>) -> StageReport {
    StageReport {
        stage,
        outcome,
        evidence,
    }
}

fn content(verified: &VerifiedDirectory) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("files".to_owned(), verified.files.to_string()),
        ("bytes".to_owned(), verified.bytes.to_string()),
    ])
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
