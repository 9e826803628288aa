//! `assay verify DIR --signature FILE` with a key or an identity: a folder that another tool signed with OpenSSF Model Signing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use assay_authority::PublicKey;
use assay_authority::namespace::key_signer;
use assay_client::device::{DeviceError, OmsCheck, Verification, VerifiedDirectory, root_certificates};
use assay_schema::Pattern;
use assay_schema::limits::MAX_TRUST_TARGET;
use assay_schema::signers::{Signer, SignerIdentity};
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

/// Who has to have signed, and by what they are known.
struct By {
    signer: Signer,
    sigstore_root: Option<Vec<u8>>,
    evidence: BTreeMap<String, String>,
}

impl By {
    fn read(args: &ForeignArgs) -> Result<Self, Failure> {
        match (
            &args.public_key,
            &args.identity,
            &args.issuer,
            &args.sigstore_root,
        ) {
            (Some(file), ..) => Self::key(file),
            (None, Some(subject), Some(issuer), Some(root)) => Self::identity(subject, issuer, root),
            (None, Some(subject), None, None) if !args.certificate_root.is_empty() => {
                Self::certificate(subject, &args.certificate_root)
            }
            // clap lets nothing else through.
            _ => Err(Failure::new(
                Exit::Usage,
                "usage",
                "--signature needs --public-key, or --identity with --issuer and --sigstore-root, or with --certificate-root",
            )),
        }
    }

    fn key(file: &Path) -> Result<Self, Failure> {
        let name = file.display().to_string();
        let key = public_key(file)?;
        let fingerprint = assay_client::sha256(key.spki_der()).to_string();
        Ok(Self {
            signer: key_signer(&name, &key),
            sigstore_root: None,
            evidence: BTreeMap::from([("key".to_owned(), fingerprint), ("key_file".to_owned(), name)]),
        })
    }

    fn certificate(subject: &str, roots: &[PathBuf]) -> Result<Self, Failure> {
        let bad =
            |what: &dyn std::fmt::Display| Failure::new(Exit::Usage, "bad-certificate", what.to_string());
        let pattern: Pattern = subject.parse().map_err(|e| bad(&e))?;
        let mut list = Vec::new();
        for path in roots {
            let bytes = bounded(path, MAX_TRUST_TARGET)?;
            let certificates =
                root_certificates(&bytes).map_err(|e| bad(&format!("{}: {e}", path.display())))?;
            list.extend(certificates);
        }
        Ok(Self {
            evidence: BTreeMap::from([
                ("identity".to_owned(), subject.to_owned()),
                ("root_certificates".to_owned(), list.len().to_string()),
            ]),
            sigstore_root: None,
            signer: Signer {
                name: subject.to_owned(),
                models: Vec::new(),
                statements: Vec::new(),
                identity: SignerIdentity::Certificate {
                    roots: list,
                    subject: pattern,
                },
            },
        })
    }

    fn identity(subject: &str, issuer: &str, root: &Path) -> Result<Self, Failure> {
        let (subject, issuer) = (subject.to_owned(), issuer.to_owned());
        Ok(Self {
            evidence: BTreeMap::from([
                ("identity".to_owned(), subject.clone()),
                ("issuer".to_owned(), issuer.clone()),
            ]),
            sigstore_root: Some(text_file(root)?.into_bytes()),
            signer: Signer {
                name: subject.clone(),
                models: Vec::new(),
                statements: Vec::new(),
                identity: SignerIdentity::Sigstore { issuer, subject },
            },
        })
    }
}

pub(super) fn run(
    context: &Context,
    folder: &Path,
    args: &ForeignArgs,
    how: &Verification,
) -> Result<Answer, Failure> {
    let by = By::read(args)?;
    let Some(signature) = &args.signature else {
        return Err(Failure::new(Exit::Usage, "usage", "--signature is missing"));
    };
    if !signature.is_file() {
        let message = format!("{}: no such file", signature.display());
        return Err(Failure::new(Exit::NotFound, "no-signature", message));
    }
    let now = Timestamp::now();
    let bar = bar(context.show, "verifying", None);
    let result = OmsCheck {
        folder,
        signature,
        signers: std::slice::from_ref(&by.signer),
        sigstore_root: by.sigstore_root.as_deref(),
        ignore: &args.ignore,
        how,
        now,
        threads: std::thread::available_parallelism().map_or(1, NonZero::get),
    }
    .run(&|n| bar.inc(n));
    bar.finish_and_clear();
    let Some(reports) = reports(&result, signature, by) else {
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
            let what = match verified.unread.is_empty() {
                true => "is exactly what",
                // What was not read follows from the evidence of the content.
                false => "is, as far as it was verified, what",
            };
            let mut text = stages(&reports, context.show.verbose);
            for line in verified.unread.values() {
                text.push_str(&format!("not everything was read here: {line}\n"));
            }
            let text = format!(
                "{text}permitted: {} {what} was signed as {:?}: {}, {}",
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
    signature: &Path,
    by: By,
) -> Option<Vec<StageReport>> {
    let (signed_by, name) = (by.evidence, by.signer.name);
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
                subject: signature.display().to_string(),
                expected: format!("a model signature by {name}"),
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
    let mut evidence = verified.unread.clone();
    evidence.insert("files".to_owned(), verified.files.to_string());
    evidence.insert("bytes".to_owned(), verified.bytes.to_string());
    evidence
}

pub(super) fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    PublicKey::from_pem(&text_file(path)?)
        .map_err(|e| Failure::new(Exit::Failed, "bad-key", format!("{}: {e}", path.display())))
}

/// A small text file that the command line names: a key, a trusted root.
pub(super) fn text_file(path: &Path) -> Result<String, Failure> {
    String::from_utf8(bounded(path, MAX_TRUST_TARGET)?)
        .map_err(|e| Failure::new(Exit::Store, "file", format!("{}: {e}", path.display())))
}

/// A file that the command line names, of a limited size.
pub(super) fn bounded(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let fail = |e: std::io::Error| {
        let exit = match e.kind() {
            ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Store,
        };
        Failure::new(exit, "file", format!("{}: {e}", path.display()))
    };
    let mut bytes = Vec::new();
    // One byte more than what any of them may have, so that a longer one is found out and not cut.
    let file = File::open(path).map_err(fail)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}
