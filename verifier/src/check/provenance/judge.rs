//! Judging attestations against one document of signers: the namespace's, or the owner's.

use std::collections::BTreeMap;

use assay_provenance::attestation::{About, VerifiedStatement};
use assay_provenance::oms::{MODEL_SIGNATURES, VerifiedSignature};
use assay_provenance::{ProvenanceError, verify_model_signature, verify_statement};
use assay_schema::manifest::AttestationRef;
use assay_schema::signers::{RequiredStatement, Signer, Signers};
use assay_schema::verdict::Refusal;
use assay_schema::{ReleaseManifest, Sha256Digest};
use jiff::Timestamp;

use crate::report::refusal;

/// Judges a model signature as stage 5 does: by a signer whom the namespace permits for the model, over exactly the manifest's
/// files. For whoever looks at a release before it is published; `signers` and `sigstore_root` are the verified `trust/*` targets.
///
/// # Errors
/// Why a device would refuse it.
pub fn judge_signature(
    bundle: &[u8],
    signers: &Signers,
    sigstore_root: Option<&[u8]>,
    manifest: &ReleaseManifest,
    now: Timestamp,
) -> Result<VerifiedSignature, Box<Refusal>> {
    let permitted = model_signers(signers, manifest);
    let verified = verify_model_signature(bundle, &permitted, sigstore_root, now)
        .map_err(|e| Box::new(invalid("model signature", "a signature", &permitted, &e)))?;
    let signed: BTreeMap<&str, &Sha256Digest> =
        verified.resources.iter().map(|(n, d)| (n.as_str(), d)).collect();
    let listed: BTreeMap<&str, &Sha256Digest> = manifest
        .files
        .iter()
        .map(|f| (f.path.as_str(), &f.sha256))
        .collect();
    // The subject's digest binds no file names: names and digests are compared, both ways.
    let only = |a: &BTreeMap<&str, &Sha256Digest>, b: &BTreeMap<&str, &Sha256Digest>| {
        a.iter()
            .find(|(name, digest)| b.get(*name) != Some(*digest))
            .map(|(name, digest)| format!("{name} with SHA-256 {digest}"))
    };
    let difference = only(&listed, &signed)
        .map(|file| (file, "the signature does not name it so"))
        .or_else(|| only(&signed, &listed).map(|file| (file, "the release manifest does not name it so")));
    match difference {
        None => Ok(verified),
        Some((file, found)) => Err(Box::new(refusal(
            "signature-mismatch",
            "model signature",
            file,
            found,
            "The signature was made for other files: ask the publisher to sign this release.",
        ))),
    }
}

/// Judges any other attestation of a release: by a signer whom the document permits for the model and the kind of statement, of the
/// kind that the manifest says, and about at least a part of the release.
///
/// # Errors
/// Why it says nothing about the release.
pub fn judge_statement(
    bundle: &[u8],
    listed: &AttestationRef,
    signers: &Signers,
    sigstore_root: Option<&[u8]>,
    manifest: &ReleaseManifest,
    now: Timestamp,
) -> Result<(VerifiedStatement, About), Box<Refusal>> {
    let permitted: Vec<&Signer> = signers.for_model(&manifest.model).collect();
    let verified = verify_statement(bundle, &permitted, sigstore_root, now)
        .map_err(|e| Box::new(invalid(&listed.predicate_type, "a statement", &permitted, &e)))?;
    if verified.predicate_type != listed.predicate_type {
        return Err(Box::new(refusal(
            "attestation-mismatch",
            format!("attestation {}", listed.sha256),
            format!(
                "the predicate type {} that the manifest names",
                listed.predicate_type
            ),
            &verified.predicate_type,
            "The publisher listed another kind of statement: ask them for another release.",
        )));
    }
    match verified.about(&manifest.files) {
        About::Nothing => Err(Box::new(refusal(
            "attestation-mismatch",
            &verified.predicate_type,
            "a subject that is the release's model digest or one of its files, by SHA-256",
            format!("{} subjects, none of this release", verified.subjects.len()),
            "The statement is about something else: ask the publisher for one about this release.",
        ))),
        about => Ok((verified, about)),
    }
}

/// Who may sign the manifest's model.
pub(super) fn model_signers<'a>(signers: &'a Signers, manifest: &'a ReleaseManifest) -> Vec<&'a Signer> {
    let may = |signer: &&Signer| {
        MODEL_SIGNATURES
            .iter()
            .any(|kind| signer.may_sign(kind, &MODEL_SIGNATURES))
    };
    signers.for_model(&manifest.model).filter(may).collect()
}

fn invalid(subject: &str, what: &str, permitted: &[&Signer], error: &ProvenanceError) -> Refusal {
    let names: Vec<&str> = permitted.iter().map(|s| s.name.as_str()).collect();
    refusal(
        "signature-invalid",
        subject,
        format!("{what} by one of: {}", names.join(", ")),
        error,
        "Do not use the release. Ask the publisher who signed it, and the authority who may.",
    )
}

/// A document of signers, and what of its demands is met.
#[derive(Debug)]
pub(super) struct Document {
    /// For messages: `trust/signers.json`, or the owner's terms.
    pub(super) source: &'static str,
    pub(super) signers: Signers,
    /// The root that its Sigstore signers are judged by.
    pub(super) sigstore_root: Option<Vec<u8>>,
    /// A model signature by one of its signers is demanded, and not there yet.
    model_due: bool,
    /// Why the first model signature was not accepted.
    model_refused: Option<Refusal>,
    due: Vec<Due>,
}

/// A required statement that is not there yet.
#[derive(Debug)]
struct Due {
    required: RequiredStatement,
    refused: Option<Refusal>,
}

/// What an attestation came to with one document.
pub(super) enum Judged {
    Model(Box<VerifiedSignature>),
    Statement(Box<VerifiedStatement>, About),
}

impl Document {
    /// The namespace's own document demands a model signature in any case, the owner's if it names who may make one.
    pub(super) fn new(source: &'static str, signers: Signers, manifest: &ReleaseManifest, own: bool) -> Self {
        let required = signers.require.iter().filter(|r| r.is_for(&manifest.model));
        let due = required
            .cloned()
            .map(|required| Due {
                required,
                refused: None,
            })
            .collect();
        Self {
            source,
            model_due: own || !model_signers(&signers, manifest).is_empty(),
            model_refused: None,
            due,
            sigstore_root: None,
            signers,
        }
    }

    /// Whether a Sigstore root is needed to judge by it.
    pub(super) fn needs_sigstore(&self, manifest: &ReleaseManifest) -> bool {
        self.signers
            .for_model(&manifest.model)
            .any(|s| s.identity.is_sigstore())
    }

    /// Whether the attestation could meet a demand that is not met.
    pub(super) fn wants(&self, listed: &AttestationRef) -> bool {
        match is_model_signature(listed) {
            true => self.model_due,
            false => self
                .due
                .iter()
                .any(|due| due.required.predicate_type.fits(&listed.predicate_type)),
        }
    }

    /// Judges one attestation, and remembers which demands it meets.
    pub(super) fn judge(
        &mut self,
        listed: &AttestationRef,
        bundle: &[u8],
        manifest: &ReleaseManifest,
        now: Timestamp,
    ) -> Result<Judged, Box<Refusal>> {
        let root = self.sigstore_root.as_deref();
        if is_model_signature(listed) {
            return match judge_signature(bundle, &self.signers, root, manifest, now) {
                Ok(verified) => {
                    self.model_due = false;
                    Ok(Judged::Model(Box::new(verified)))
                }
                Err(refused) => {
                    self.model_refused.get_or_insert_with(|| (*refused).clone());
                    Err(refused)
                }
            };
        }
        let judged = judge_statement(bundle, listed, &self.signers, root, manifest, now);
        self.due.retain_mut(|due| {
            if !due.required.predicate_type.fits(&listed.predicate_type) {
                return true;
            }
            let unmet = match &judged {
                Ok((verified, about)) => unmet(&due.required, verified, about),
                Err(refused) => Some((**refused).clone()),
            };
            match unmet {
                None => false,
                Some(refused) => {
                    due.refused.get_or_insert(refused);
                    true
                }
            }
        });
        judged.map(|(verified, about)| Judged::Statement(Box::new(verified), about))
    }

    /// Why the release is refused after every attestation was judged.
    pub(super) fn refusal(&self, manifest: &ReleaseManifest) -> Option<Refusal> {
        if self.model_due {
            let missing = || {
                let permitted = model_signers(&self.signers, manifest);
                let names: Vec<&str> = permitted.iter().map(|s| s.name.as_str()).collect();
                refusal(
                    "signature-missing",
                    format!("{}@{}", manifest.model, manifest.version),
                    format!("a model signature by one of: {}", names.join(", ")),
                    "none",
                    "Ask the publisher to sign the release, or use another one.",
                )
            };
            return Some(self.model_refused.clone().unwrap_or_else(missing));
        }
        let due = self.due.first()?;
        let required = &due.required;
        Some(due.refused.clone().unwrap_or_else(|| {
            refusal(
                "attestation-missing",
                format!("{}@{}", manifest.model, manifest.version),
                format!(
                    "a statement {} by one of: {} (required by {})",
                    required.predicate_type,
                    required.signers.join(", "),
                    self.source
                ),
                "none",
                "Ask the publisher to attach it to a release, or use another one.",
            )
        }))
    }
}

pub(super) fn is_model_signature(listed: &AttestationRef) -> bool {
    MODEL_SIGNATURES.contains(&listed.predicate_type.as_str())
}

/// Why a verified statement is not the one that is required.
fn unmet(required: &RequiredStatement, verified: &VerifiedStatement, about: &About) -> Option<Refusal> {
    let refuse = |expected: String, found: String, advice: &str| {
        Some(refusal(
            "attestation-insufficient",
            &verified.predicate_type,
            expected,
            found,
            advice,
        ))
    };
    if !required.signers.contains(&verified.signer) {
        return refuse(
            format!("a statement by one of: {}", required.signers.join(", ")),
            format!("one by {}", verified.signer),
            "Ask one of them to attest the release.",
        );
    }
    if let Some(objection) = verified.predicate.objection() {
        return refuse(
            "a statement that speaks for the release".to_owned(),
            objection,
            "Do not use the release.",
        );
    }
    let covered = match (about, required.files.as_slice()) {
        (About::Everything, _) => true,
        (About::Files(_), []) | (About::Nothing, _) => false,
        (About::Files(files), wanted) => wanted.iter().all(|path| files.iter().any(|f| f == path.as_str())),
    };
    match covered {
        true => None,
        false => refuse(
            match required.files.as_slice() {
                [] => "a statement about every file of the release, or about its model digest".to_owned(),
                files => {
                    let paths: Vec<_> = files.iter().map(ToString::to_string).collect();
                    format!("a statement about {}", paths.join(", "))
                }
            },
            match about {
                About::Files(files) => format!("one about {} only", files.join(", ")),
                _ => "one about something else".to_owned(),
            },
            "Ask its signer to attest the release as it is.",
        ),
    }
}
