//! Statements about a release beside its model signature: who made it from what, how it was evaluated, what it consists of.
//!
//! An attestation is an in-toto Statement v1 in a Sigstore bundle, signed by key, certificate or Sigstore identity like a model
//! signature. What its predicate says is typed for the kinds that Assay knows ([`Predicate`]); others are kept as they are. What counts
//! for a release is [`VerifiedStatement::about`]: a statement binds a release's content by its subjects' SHA-256 digests, either that of
//! the whole model as a model signature has it, or those of its files. Names of subjects are the signer's words and bind nothing.

mod predicates;

use std::collections::BTreeSet;

use assay_schema::Sha256Digest;
use assay_schema::manifest::FileEntry;
use assay_schema::signers::Signer;
use jiff::Timestamp;
use serde_json::Value;

pub use predicates::{
    BillOfMaterials, BuildDefinition, Builder, Component, Predicate, Resource, RunDetails, SlsaProvenance,
    SpdxDocument, SpdxPackage, TestOutcome, TestResult, VerificationSummary, VerifiedPolicy, kinds,
};

use crate::bundle;
use crate::crypto;
use crate::error::ProvenanceError;
use crate::oms::{MODEL_SIGNATURES, subject_digest};
use crate::signer::{self, Claim, SignedBy};
use crate::statement::{self, Statement, Subject, shown};

/// A statement that a permitted signer made.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedStatement {
    /// The permitted signer's name.
    pub signer: String,
    /// What proved to be them.
    pub signed_by: SignedBy,
    /// What kind of statement it is.
    pub predicate_type: String,
    /// What it is about, in the signer's words.
    pub subjects: Vec<Subject>,
    /// What it says.
    pub predicate: Predicate,
    /// The earliest verified time of signing; none for a key or certificate, whose signatures prove no time.
    pub signed_at: Option<Timestamp>,
}

/// How much of a release a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// All of it: its subject is the whole model, or every file is a subject.
    Everything,
    /// Some files, by their paths in the release.
    Files(Vec<String>),
    /// Nothing of it.
    Nothing,
}

/// The digest by which statements name a whole release: that of its files' digests in the order of a model signature (OMS 1.0).
pub fn model_digest(files: &[FileEntry]) -> Sha256Digest {
    let mut files: Vec<_> = files.iter().collect();
    // By components, as the reference sorts: `a/x` comes before `a-b`.
    files.sort_by(|a, b| a.path.components().cmp(b.path.components()));
    subject_digest(files.into_iter().map(|file| &file.sha256))
}

impl VerifiedStatement {
    /// How much of the release with these files the statement is about.
    pub fn about(&self, files: &[FileEntry]) -> About {
        about(&self.subjects, files)
    }
}

fn about(subjects: &[Subject], files: &[FileEntry]) -> About {
    let named: BTreeSet<Sha256Digest> = subjects
        .iter()
        .filter_map(|subject| subject.digest.get("sha256")?.parse().ok())
        .collect();
    let covered: Vec<String> = files
        .iter()
        .filter(|file| named.contains(&file.sha256))
        .map(|file| file.path.to_string())
        .collect();
    if covered.len() == files.len() || named.contains(&model_digest(files)) {
        About::Everything
    } else if covered.is_empty() {
        About::Nothing
    } else {
        About::Files(covered)
    }
}

/// What a bundle *claims* to state. Nobody has checked a signature: for whoever publishes it or shows it, never for a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct UnverifiedStatement {
    /// What kind of statement it is.
    pub predicate_type: String,
    /// What it is about.
    pub subjects: Vec<Subject>,
    /// What it says.
    pub predicate: Predicate,
}

impl UnverifiedStatement {
    /// Reads a bundle.
    ///
    /// # Errors
    /// Not a bundle around an in-toto Statement v1, or a known kind that does not have its kind's form.
    pub fn read(bundle: &[u8]) -> Result<Self, ProvenanceError> {
        let bundle = bundle::read(bundle)?;
        let payload = bundle::in_toto(bundle::envelope(&bundle)?)?;
        let predicate_type = statement::predicate_type(payload)?;
        let Statement {
            subject, predicate, ..
        } = statement::read::<Value>(payload, &predicate_type)?;
        Ok(Self {
            predicate: Predicate::read(&predicate_type, predicate)?,
            predicate_type,
            subjects: subject,
        })
    }

    /// How much of the release with these files it says it is about.
    pub fn about(&self, files: &[FileEntry]) -> About {
        about(&self.subjects, files)
    }
}

/// Verifies an attestation of any kind but a model signature: one of the permitted signers, who may sign that kind, made it.
///
/// `sigstore_root` is the `trusted_root.json` that Sigstore identities are judged by. Whether the statement is about a release is for
/// [`VerifiedStatement::about`] to say.
///
/// # Errors
/// Not a statement, a known kind that does not have its kind's form, or none of the permitted signers made it; the error lists them all
/// with reasons.
pub fn verify_statement(
    bundle: &[u8],
    permitted: &[&Signer],
    sigstore_root: Option<&[u8]>,
    now: Timestamp,
) -> Result<VerifiedStatement, ProvenanceError> {
    crypto::install()?;
    let bundle = bundle::read(bundle)?;
    let envelope = bundle::envelope(&bundle)?;
    let payload = bundle::in_toto(envelope)?;
    // Which signers come into question depends on the kind; the signature covers it.
    let predicate_type = statement::predicate_type(payload)?;
    let may: Vec<&Signer> = permitted
        .iter()
        .copied()
        .filter(|signer| signer.may_sign(&predicate_type, &MODEL_SIGNATURES))
        .collect();
    if may.is_empty() {
        return Err(ProvenanceError::NotForThis {
            predicate_type: shown(&predicate_type),
        });
    }
    let claim = Claim {
        bundle: &bundle,
        envelope,
        legacy: false,
    };
    let (signer, signed_by, signed_at) = signer::find(&claim, &may, sigstore_root, now)?;
    let Statement {
        subject, predicate, ..
    } = statement::read::<Value>(payload, &predicate_type)?;
    Ok(VerifiedStatement {
        signer: signer.name.clone(),
        signed_by,
        predicate: Predicate::read(&predicate_type, predicate)?,
        predicate_type,
        subjects: subject,
        signed_at,
    })
}
