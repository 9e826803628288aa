//! Stage 5: who made the release, by named signers, and what else they say of it.
//!
//! Permitted signers and the Sigstore root come from `trust/*`, which the top-level targets role signs, and from the owner's terms -
//! never from what is being judged. The authority signed that the manifest's file digests are right, and the model signature must name
//! the same files with the same digests, so that chunks checked against the manifest are checked against the signature too.
//!
//! Statements beside the model signature are judged if they are required, and fetched for that. Others are judged if the check bundle
//! brought them along, for the verdict to show; nothing is asked of the registry for them, and they decide nothing.

mod judge;

use assay_provenance::attestation::About;
use assay_provenance::crypto::sha256;
use assay_provenance::oms::VerifiedSignature;
use assay_schema::manifest::AttestationRef;
use assay_schema::signers::{self, Signers};
use assay_schema::{Stage, limits};
use assay_trust::releases::TargetRef;
use assay_trust::{DeviceState, Refreshed};

use self::judge::{Document, Judged, is_model_signature, model_signers};
use super::log::Log;
use super::phase::{Phase, stop};
use super::release::Passed;
use super::{Context, Flow};
use crate::documents;
use crate::report::refusal;
use crate::request::{Fetch, Resource};

pub use judge::{judge_signature, judge_statement};

/// What the owner's own document is called in messages.
const OWNERS: &str = "the owner's terms";

/// Judging provenance: what is due is not there yet.
#[derive(Debug)]
pub(super) struct Provenance {
    trust: Refreshed,
    passed: Passed,
    /// Whose word counts: the namespace's document first.
    documents: Vec<Document>,
    due: Due,
}

#[derive(Debug)]
enum Due {
    /// `trust/signers.json`.
    Signers(TargetRef),
    /// `trust/sigstore.json`.
    SigstoreRoot(TargetRef),
    /// An attestation; those in `rest` come after it, the last one first.
    Attestation {
        current: AttestationRef,
        rest: Vec<AttestationRef>,
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
                    documents: Vec::new(),
                    due: Due::Signers(target),
                }
                .into(),
            ),
            Ok(None) => owners(trust, passed, Vec::new(), ctx),
        }
    }

    pub(super) fn step(self: Box<Self>, ctx: &mut Context) -> Flow {
        let (digest, fetch) = match &self.due {
            Due::Signers(target) | Due::SigstoreRoot(target) => {
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
            Due::Attestation { current, .. } => {
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
            None if self.wants_due() => Flow::Need(Phase::Provenance(self), fetch),
            None => self.pass_over(ctx),
        }
    }

    /// Whether what is due decides anything.
    fn wants_due(&self) -> bool {
        match &self.due {
            Due::Signers(_) | Due::SigstoreRoot(_) => true,
            Due::Attestation { current, .. } => self.documents.iter().any(|document| document.wants(current)),
        }
    }

    /// An attestation that nothing depends on, and that nobody brought along.
    fn pass_over(self: Box<Self>, ctx: &mut Context) -> Flow {
        let Self {
            trust,
            passed,
            documents,
            due,
        } = *self;
        match due {
            Due::Attestation { current, rest } => {
                note(ctx, &current, "not required, and not read");
                next(trust, passed, documents, rest, ctx)
            }
            // These are always wanted.
            due => Flow::Next(
                Self {
                    trust,
                    passed,
                    documents,
                    due,
                }
                .into(),
            ),
        }
    }

    pub(super) fn accept(self: Box<Self>, bytes: Vec<u8>, ctx: &mut Context) -> Flow {
        let Self {
            trust,
            passed,
            mut documents,
            due,
        } = *self;
        let digest = sha256(&bytes);
        let (name, expected) = match &due {
            Due::Signers(t) | Due::SigstoreRoot(t) => (t.path.clone(), (t.sha256, t.length)),
            Due::Attestation { current, .. } if is_model_signature(current) => {
                ("model signature".to_owned(), (current.sha256, current.size))
            }
            Due::Attestation { current, .. } => {
                (current.predicate_type.clone(), (current.sha256, current.size))
            }
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
            Due::Signers(_) => match documents::read_signers(&bytes) {
                Ok(signers) => with_signers(trust, passed, signers, ctx),
                Err(error) => Flow::Stop(Stage::Provenance, error.refusal(), trust.into_state()),
            },
            Due::SigstoreRoot(_) => {
                for document in &mut documents {
                    // The owner's own root counts before the namespace's.
                    document.sigstore_root.get_or_insert_with(|| bytes.clone());
                }
                first(trust, passed, documents, ctx)
            }
            Due::Attestation { current, rest } => {
                judge_one(&mut documents, &current, &bytes, &passed, ctx);
                next(trust, passed, documents, rest, ctx)
            }
        }
    }
}

impl From<Provenance> for Phase {
    fn from(provenance: Provenance) -> Self {
        Self::Provenance(Box::new(provenance))
    }
}

fn with_signers(trust: Refreshed, passed: Passed, signers: Signers, ctx: &mut Context) -> Flow {
    if model_signers(&signers, &passed.manifest).is_empty() {
        let none = refusal(
            "no-permitted-signer",
            &passed.manifest.model,
            "at least one permitted signer for this model",
            format!("{} signers, none for this model", signers.signers.len()),
            "Ask the namespace's authority to name the model's signers in trust/signers.json.",
        );
        return Flow::Stop(Stage::Provenance, none, trust.into_state());
    }
    let document = Document::new(signers::TARGET, signers, &passed.manifest, true);
    owners(trust, passed, vec![document], ctx)
}

/// The owner's document beside the namespace's, and the Sigstore root if anybody is judged by it.
fn owners(trust: Refreshed, passed: Passed, mut documents: Vec<Document>, ctx: &mut Context) -> Flow {
    let terms = &ctx.pin.terms;
    if let Some(signers) = &terms.signers {
        let mut document = Document::new(OWNERS, signers.clone(), &passed.manifest, false);
        document.sigstore_root = terms.sigstore_root.clone().map(String::into_bytes);
        documents.push(document);
    }
    let needs_root =
        |document: &Document| document.sigstore_root.is_none() && document.needs_sigstore(&passed.manifest);
    if documents.iter().any(needs_root) {
        match trust.top_level_target(signers::SIGSTORE_ROOT_TARGET) {
            Err(error) => return stop(Stage::Provenance, error, trust.into_state()),
            Ok(Some(target)) => {
                let due = Due::SigstoreRoot(target);
                return Flow::Next(
                    Provenance {
                        trust,
                        passed,
                        documents,
                        due,
                    }
                    .into(),
                );
            }
            Ok(None) => {}
        }
    }
    first(trust, passed, documents, ctx)
}

fn first(trust: Refreshed, passed: Passed, documents: Vec<Document>, ctx: &mut Context) -> Flow {
    let mut rest = passed.manifest.attestations.clone();
    let signatures = rest.iter().filter(|a| is_model_signature(a)).count();
    ctx.reports
        .evidence(Stage::Provenance, "model_signatures", signatures);
    rest.reverse();
    next(trust, passed, documents, rest, ctx)
}

fn next(
    trust: Refreshed,
    passed: Passed,
    documents: Vec<Document>,
    mut rest: Vec<AttestationRef>,
    ctx: &mut Context,
) -> Flow {
    while let Some(current) = rest.pop() {
        // One model signature is enough for each document, and says the same as another.
        if is_model_signature(&current) && !documents.iter().any(|document| document.wants(&current)) {
            continue;
        }
        return Flow::Next(
            Provenance {
                trust,
                passed,
                documents,
                due: Due::Attestation { current, rest },
            }
            .into(),
        );
    }
    if let Some(refused) = documents
        .iter()
        .find_map(|document| document.refusal(&passed.manifest))
    {
        return Flow::Stop(Stage::Provenance, refused, trust.into_state());
    }
    let signed = ctx.reports.found(Stage::Provenance, "signer").is_some();
    match signed {
        true => ctx.reports.pass(Stage::Provenance),
        // The owner may require statements alone; that says nothing about who made the files.
        false => ctx.reports.skip(
            Stage::Provenance,
            format!(
                "the namespace names no permitted signers ({} is not among its targets)",
                signers::TARGET
            ),
        ),
    }
    Log::begin(trust, passed, ctx)
}

/// Judges an attestation by every document, and says in the verdict what came of it.
fn judge_one(
    documents: &mut [Document],
    current: &AttestationRef,
    bytes: &[u8],
    passed: &Passed,
    ctx: &mut Context,
) {
    let model = is_model_signature(current);
    let (mut accepted, mut refused_by) = (None, None);
    for document in documents {
        // A model signature that a document has no use for any more needs no verification.
        if model && !document.wants(current) {
            continue;
        }
        match document.judge(current, bytes, &passed.manifest, ctx.now) {
            Ok(Judged::Model(verified)) => report(&verified, document.source, ctx),
            Ok(Judged::Statement(verified, about)) => {
                let part = match about {
                    About::Files(files) => {
                        format!(", about {} of {} files", files.len(), passed.manifest.files.len())
                    }
                    About::Everything | About::Nothing => String::new(),
                };
                accepted.get_or_insert(format!(
                    "by {} ({}){part}: {}",
                    verified.signer, verified.signed_by, verified.predicate
                ));
            }
            Err(refused) if !model => {
                refused_by.get_or_insert(format!("not accepted: {}: {}", refused.code, refused.found));
            }
            Err(_) => {}
        }
    }
    if !model {
        let nobody = || "not accepted: nobody is named who may sign it".to_owned();
        note(ctx, current, &accepted.or(refused_by).unwrap_or_else(nobody));
    }
}

/// One line of the verdict for each statement, in the manifest's order.
fn note(ctx: &mut Context, current: &AttestationRef, what: &str) {
    if is_model_signature(current) {
        return;
    }
    let number = (1..=limits::MAX_ATTESTATIONS)
        .find(|n| ctx.reports.found(Stage::Provenance, &key(*n)).is_none())
        .unwrap_or(limits::MAX_ATTESTATIONS);
    let line = format!("{} {what}", current.predicate_type);
    ctx.reports.evidence(Stage::Provenance, &key(number), line);
}

fn key(number: usize) -> String {
    format!("attestation_{number:02}")
}

fn report(verified: &VerifiedSignature, source: &str, ctx: &mut Context) {
    let stage = Stage::Provenance;
    // What the namespace's own signer signed stands already; the owner's is named beside it.
    if ctx.reports.found(stage, "signer").is_some() {
        let line = format!("{} ({})", verified.signer, verified.signed_by);
        ctx.reports.evidence(stage, "signer_of_the_owner", line);
        return;
    }
    if source == OWNERS {
        ctx.reports.evidence(stage, "signers_from", source);
    }
    ctx.reports.evidence(stage, "signer", &verified.signer);
    ctx.reports.evidence(stage, "signed_by", &verified.signed_by);
    ctx.reports
        .evidence(stage, "predicate_type", &verified.predicate_type);
    ctx.reports.evidence(stage, "files", verified.resources.len());
    if let Some(time) = verified.signed_at {
        ctx.reports.evidence(stage, "signed_at", time);
    }
}
