//! Stage 5: who made the release, by named signers.
//!
//! Permitted signers and the Sigstore root come from `trust/*`, which the top-level targets role signs - never from what is being
//! judged. The authority signed that the manifest's file digests are right, and the model signature must name the same files with
//! the same digests, so that chunks checked against the manifest are checked against the signature too.

use std::collections::BTreeMap;

use assay_provenance::crypto::sha256;
use assay_provenance::oms::{PREDICATE_TYPE, SignedBy, VerifiedSignature, verify_model_signature};
use assay_schema::manifest::AttestationRef;
use assay_schema::signers::{self, Signer, SignerIdentity, Signers};
use assay_schema::verdict::Refusal;
use assay_schema::{ReleaseManifest, Sha256Digest, Stage, canonical, limits};
use assay_trust::releases::TargetRef;
use assay_trust::{DeviceState, Refreshed};
use jiff::Timestamp;

use super::log::Log;
use super::phase::{Phase, stop};
use super::release::Passed;
use super::{Context, Flow};
use crate::report::refusal;
use crate::request::{Fetch, Resource};

/// Judging provenance: what is due is the first of these that is not there yet.
#[derive(Debug)]
pub(super) struct Provenance {
    trust: Refreshed,
    passed: Passed,
    due: Due,
}

#[derive(Debug)]
enum Due {
    /// `trust/signers.json`.
    Signers(TargetRef),
    /// `trust/sigstore.json`.
    SigstoreRoot { signers: Signers, target: TargetRef },
    /// A model signature; those before it were refused for these reasons.
    Signature {
        signers: Signers,
        sigstore_root: Option<Vec<u8>>,
        current: AttestationRef,
        rest: Vec<AttestationRef>,
        refused: Option<Refusal>,
    },
}

impl Provenance {
    pub(super) fn state(&self) -> &DeviceState {
        self.trust.state()
    }

    pub(super) fn begin(trust: Refreshed, passed: Passed, ctx: &mut Context) -> Flow {
        match trust.top_level_target(signers::TARGET) {
            Err(error) => stop(Stage::Provenance, error, trust.into_state()),
            Ok(Some(target)) => Flow::Next(
                Self {
                    trust,
                    passed,
                    due: Due::Signers(target),
                }
                .into(),
            ),
            Ok(None) => {
                ctx.reports.skip(
                    Stage::Provenance,
                    format!(
                        "the namespace names no permitted signers ({} is not among its targets)",
                        signers::TARGET
                    ),
                );
                Log::begin(trust, passed, ctx)
            }
        }
    }

    pub(super) fn step(self: Box<Self>, ctx: &mut Context) -> Flow {
        let (digest, fetch) = match &self.due {
            Due::Signers(target) | Due::SigstoreRoot { target, .. } => {
                if let Some(inline) = target.note.inline.clone() {
                    return self.accept(inline.into_bytes(), ctx);
                }
                let resource = Resource::Target {
                    path: target.consistent_path(),
                };
                (
                    target.sha256,
                    Fetch {
                        resource,
                        max: target.length,
                        etag: None,
                    },
                )
            }
            Due::Signature { current, .. } => {
                let resource = Resource::Blob {
                    sha256: current.sha256,
                    size: current.size,
                };
                (
                    current.sha256,
                    Fetch {
                        resource,
                        max: current.size,
                        etag: None,
                    },
                )
            }
        };
        match ctx.prefetch.blob(&digest).map(str::to_owned) {
            Some(text) => self.accept(text.into_bytes(), ctx),
            None => Flow::Need(Phase::Provenance(self), fetch),
        }
    }

    pub(super) fn accept(self: Box<Self>, bytes: Vec<u8>, ctx: &mut Context) -> Flow {
        let Self { trust, passed, due } = *self;
        let digest = sha256(&bytes);
        let (name, expected) = match &due {
            Due::Signers(t) | Due::SigstoreRoot { target: t, .. } => (t.path.clone(), (t.sha256, t.length)),
            Due::Signature { current, .. } => ("model signature".to_owned(), (current.sha256, current.size)),
        };
        if (digest, bytes.len() as u64) != expected {
            let mismatch = refusal(
                "digest-mismatch",
                name,
                format!("{} bytes with SHA-256 {}", expected.1, expected.0),
                format!("{} bytes with SHA-256 {digest}", bytes.len()),
                "The registry or something on the way changed it: try again, or tell the namespace's authority.",
            );
            return Flow::Stop(Stage::Provenance, mismatch, trust.into_state());
        }
        ctx.used.blob(digest, &bytes);
        match due {
            Due::Signers(target) => match canonical::read::<Signers>(&bytes, limits::MAX_TRUST_TARGET) {
                Ok(signers) if signers.v == 1 => with_signers(trust, passed, signers, ctx),
                read => {
                    let found = read.map_or_else(|e| e.to_string(), |s| format!("version {}", s.v));
                    let advice = "Ask the namespace's authority to sign a document of version 1, or update this software.";
                    let malformed = refusal(
                        "malformed",
                        target.path,
                        "permitted signers of version 1",
                        found,
                        advice,
                    );
                    Flow::Stop(Stage::Provenance, malformed, trust.into_state())
                }
            },
            Due::SigstoreRoot { signers, .. } => first_signature(trust, passed, signers, Some(bytes), ctx),
            Due::Signature {
                signers,
                sigstore_root,
                current: _,
                rest,
                refused,
            } => {
                let judged = judge_signature(
                    &bytes,
                    &signers,
                    sigstore_root.as_deref(),
                    &passed.manifest,
                    ctx.now,
                );
                match judged {
                    Ok(verified) => {
                        report(&verified, ctx);
                        Log::begin(trust, passed, ctx)
                    }
                    Err(found) => next_signature(
                        trust,
                        passed,
                        signers,
                        sigstore_root,
                        rest,
                        Some(refused.unwrap_or(*found)),
                    ),
                }
            }
        }
    }
}

impl From<Provenance> for Phase {
    fn from(provenance: Provenance) -> Self {
        Self::Provenance(Box::new(provenance))
    }
}

fn permitted<'a>(signers: &'a Signers, manifest: &'a ReleaseManifest) -> Vec<&'a Signer> {
    signers.for_model(&manifest.model).collect()
}

fn with_signers(trust: Refreshed, passed: Passed, signers: Signers, ctx: &mut Context) -> Flow {
    let permitted = permitted(&signers, &passed.manifest);
    if permitted.is_empty() {
        let none = refusal(
            "no-permitted-signer",
            &passed.manifest.model,
            "at least one permitted signer for this model",
            format!("{} signers, none for this model", signers.signers.len()),
            "Ask the namespace's authority to name the model's signers in trust/signers.json.",
        );
        return Flow::Stop(Stage::Provenance, none, trust.into_state());
    }
    let keyless = permitted
        .iter()
        .any(|s| matches!(s.identity, SignerIdentity::Sigstore { .. }));
    if keyless {
        match trust.top_level_target(signers::SIGSTORE_ROOT_TARGET) {
            Err(error) => return stop(Stage::Provenance, error, trust.into_state()),
            Ok(Some(target)) => {
                return Flow::Next(
                    Provenance {
                        trust,
                        passed,
                        due: Due::SigstoreRoot { signers, target },
                    }
                    .into(),
                );
            }
            Ok(None) => {}
        }
    }
    first_signature(trust, passed, signers, None, ctx)
}

fn first_signature(
    trust: Refreshed,
    passed: Passed,
    signers: Signers,
    sigstore_root: Option<Vec<u8>>,
    ctx: &mut Context,
) -> Flow {
    let mut rest: Vec<AttestationRef> = passed
        .manifest
        .attestations
        .iter()
        .filter(|a| a.predicate_type == PREDICATE_TYPE)
        .cloned()
        .collect();
    rest.reverse();
    ctx.reports
        .evidence(Stage::Provenance, "model_signatures", rest.len());
    next_signature(trust, passed, signers, sigstore_root, rest, None)
}

fn next_signature(
    trust: Refreshed,
    passed: Passed,
    signers: Signers,
    sigstore_root: Option<Vec<u8>>,
    mut rest: Vec<AttestationRef>,
    refused: Option<Refusal>,
) -> Flow {
    match rest.pop() {
        Some(current) => {
            let due = Due::Signature {
                signers,
                sigstore_root,
                current,
                rest,
                refused,
            };
            Flow::Next(Provenance { trust, passed, due }.into())
        }
        None => {
            let names: Vec<&str> = permitted(&signers, &passed.manifest)
                .iter()
                .map(|s| s.name.as_str())
                .collect();
            let refused = refused.unwrap_or_else(|| {
                refusal(
                    "signature-missing",
                    format!("{}@{}", passed.manifest.model, passed.manifest.version),
                    format!("a model signature by one of: {}", names.join(", ")),
                    "none",
                    "Ask the publisher to sign the release, or use another one.",
                )
            });
            Flow::Stop(Stage::Provenance, refused, trust.into_state())
        }
    }
}

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
    let permitted = permitted(signers, manifest);
    let verified = verify_model_signature(bundle, &permitted, sigstore_root, now)
        .map_err(|e| Box::new(signature_refusal(&permitted, &e)))?;
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

fn signature_refusal(permitted: &[&Signer], error: &assay_provenance::ProvenanceError) -> Refusal {
    let names: Vec<&str> = permitted.iter().map(|s| s.name.as_str()).collect();
    refusal(
        "signature-invalid",
        "model signature",
        format!("a signature by one of: {}", names.join(", ")),
        error,
        "Do not use the release. Ask the publisher who signed it, and the authority who may.",
    )
}

fn report(verified: &VerifiedSignature, ctx: &mut Context) {
    ctx.reports
        .evidence(Stage::Provenance, "signer", &verified.signer);
    let signed_by = match &verified.signed_by {
        SignedBy::Key {
            fingerprint,
            algorithm,
        } => format!("{algorithm:?} key {fingerprint}"),
        SignedBy::Sigstore { subject, issuer } => {
            format!("certificate of {subject}, issued through {issuer}")
        }
    };
    ctx.reports.evidence(Stage::Provenance, "signed_by", signed_by);
    ctx.reports
        .evidence(Stage::Provenance, "predicate_type", &verified.predicate_type);
    ctx.reports
        .evidence(Stage::Provenance, "files", verified.resources.len());
    if let Some(time) = verified.signed_at {
        ctx.reports.evidence(Stage::Provenance, "signed_at", time);
    }
    ctx.reports.pass(Stage::Provenance);
}
