//! Every library error as an exit code, a name for programs, and words for people. The one place that maps them.

use assay_authority::attestation::AttestationError;
use assay_authority::oms::OmsError;
use assay_authority::release::PublishError as SigningError;
use assay_authority::{KeyError, TokenError};
use assay_client::device::DeviceError;
use assay_client::publisher::PublishError;
use assay_client::scan::ScanError;
use assay_client::witness::WitnessError;
use assay_client::{FileError, StoreError, TransportError};
use assay_schema::problem::ProblemKind;
use assay_schema::verdict::{Outcome, StageOutcome, Verdict};
use serde_json::{Map, Value};

use crate::exit::Exit;
use crate::verdict::{conclusion, printable};

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Stable, for programs.
    pub(crate) code: String,
    pub(crate) message: String,
    /// What a person can do, where the message does not say it already.
    pub(crate) advice: Option<String>,
    pub(crate) verdict: Option<Box<Verdict>>,
    /// Further fields of the JSON document.
    pub(crate) fields: Map<String, Value>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.into(),
            message: message.into(),
            advice: None,
            verdict: None,
            fields: Map::new(),
        }
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The failure that a verdict other than *permit* is.
    pub(crate) fn of_verdict(verdict: Verdict) -> Self {
        let failure = match verdict.refusal() {
            Some((stage, refusal)) => {
                let what = format!(
                    "{stage}: {}: expected {}, found {}",
                    refusal.subject, refusal.expected, refusal.found
                );
                Self::new(Exit::Refused, refusal.code.clone(), printable(&what))
                    .advise(printable(&refusal.advice))
            }
            None => match verdict.stages.iter().find_map(deferral) {
                Some(message) if verdict.outcome == Outcome::Defer => {
                    Self::new(Exit::Deferred, "deferred", message)
                }
                _ => Self::new(Exit::Refused, "refused", conclusion(&verdict)),
            },
        };
        Self {
            verdict: Some(Box::new(verdict)),
            ..failure
        }
    }
}

fn deferral(report: &assay_schema::verdict::StageReport) -> Option<String> {
    match &report.outcome {
        StageOutcome::Deferred { until, reason } => Some(format!(
            "{}: not before {until}: {}",
            report.stage,
            printable(reason)
        )),
        _ => None,
    }
}

impl Failure {
    /// Exit code, name and advice of what a registry, or the way to it, said.
    pub(crate) fn of_transport(error: &TransportError) -> (Exit, &'static str, Option<&'static str>) {
        match error {
            TransportError::Address { .. } => (Exit::Usage, "registry-address", None),
            TransportError::PlainToken { .. } => (Exit::Usage, "plain-token", None),
            TransportError::Unreachable { .. } => (
                Exit::Network,
                "unreachable",
                Some("Check the address and the connection, then try again"),
            ),
            TransportError::Status {
                status: 401 | 403, ..
            } => (Exit::Denied, "unauthorized", None),
            TransportError::Status { .. } => (Exit::Network, "not-a-registry", None),
            TransportError::TooLong { .. } => (Exit::Network, "answer-too-long", None),
            TransportError::Malformed { .. } => (Exit::Network, "malformed-answer", None),
            TransportError::Problem { problem, .. } => {
                let (exit, advice) = of_problem(problem.kind);
                (exit, problem_code(problem.kind), advice)
            }
        }
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        let (exit, code, advice) = Self::of_transport(&error);
        let failure = Self::new(exit, code, printable(&error.to_string()));
        let verdict = match error {
            TransportError::Problem { problem, .. } => problem.verdict,
            _ => None,
        };
        Self {
            advice: advice.map(str::to_owned),
            verdict,
            ..failure
        }
    }
}

/// The kind's own part of its URI: `release-exists`.
fn problem_code(kind: ProblemKind) -> &'static str {
    kind.uri().rsplit(':').next().unwrap_or("problem")
}

/// Exhaustive, so that a new kind of problem gets its exit code when it is made.
fn of_problem(kind: ProblemKind) -> (Exit, Option<&'static str>) {
    use ProblemKind as P;
    match kind {
        P::Unauthorized => (
            Exit::Denied,
            Some("Give a token with ASSAY_TOKEN or --token-file (ASSAY_TOKEN goes to ASSAY_REGISTRY only)"),
        ),
        P::Forbidden => (
            Exit::Denied,
            Some("Ask the registry's operator for a token with the scope that this needs"),
        ),
        P::NotFound => (
            Exit::NotFound,
            Some("Check the name; a private namespace needs a token"),
        ),
        P::NamespaceExists => (Exit::Conflict, Some("Take another name")),
        P::ReleaseExists => (
            Exit::Conflict,
            Some("A release never changes. Publish under a new version"),
        ),
        P::TooManyProposals => (
            Exit::Conflict,
            Some("Look at them with `assay proposals`, and withdraw those that nobody goes on with"),
        ),
        P::StaleParent | P::UploadBusy | P::OffsetMismatch => (Exit::Conflict, Some("Try again")),
        P::MetadataRefused => (Exit::Refused, None),
        P::RateLimited | P::Unavailable => (Exit::Network, Some("Try again later")),
        P::Internal | P::StorageFull => (Exit::Network, Some("Tell the registry's operator")),
        P::BadRequest
        | P::BadName
        | P::MethodNotAllowed
        | P::TooLarge
        | P::RangeNotSatisfiable
        | P::DigestMismatch
        | P::BadManifest
        | P::BadDelta
        | P::BlobsMissing => (Exit::Failed, None),
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let code = match &error {
            e if e.is_full() => "disk-full",
            e if e.is_absent() => return Self::new(Exit::NotFound, "no-file", printable(&error.to_string())),
            FileError::Planted { .. } => "planted-file",
            FileError::Io { .. } | FileError::TooLong { .. } => "file",
        };
        Self::new(Exit::Store, code, printable(&error.to_string()))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = printable(&error.to_string());
        let (exit, code) = match error {
            // A file of the store that is missing is damage, not a wrong name.
            StoreError::File(e) => {
                return Self {
                    exit: Exit::Store,
                    ..Self::from(e)
                };
            }
            StoreError::Full { .. } => (Exit::Store, "disk-full"),
            StoreError::Busy { .. } => (Exit::Store, "store-locked"),
            StoreError::InUse { .. } => (Exit::Store, "in-use"),
            StoreError::Damaged { .. } => (Exit::Store, "store-damaged"),
            StoreError::Stopped(_) => (Exit::Store, "stopped"),
            StoreError::NotTrusted(_) => (Exit::NotFound, "not-trusted"),
            StoreError::NotActive(_) => (Exit::NotFound, "not-active"),
            StoreError::NotKept { .. } => (Exit::NotFound, "not-kept"),
            StoreError::OtherIdentity { .. } => (Exit::Conflict, "other-identity"),
            StoreError::NotEndorsed(_) => (Exit::Refused, "consensus-missing"),
            StoreError::TrustPolicy(_) => (Exit::Usage, "bad-trust-policy"),
            StoreError::OwnAuthority { .. } => (Exit::Usage, "own-authority"),
            StoreError::Held { .. } => (Exit::Deferred, "held"),
        };
        Self::new(exit, code, message)
    }
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        let message = printable(&error.to_string());
        let code = match error {
            ScanError::File(e) => return e.into(),
            ScanError::Name { .. } | ScanError::NotUnicode { .. } => "bad-path",
            ScanError::Collision { .. } => "path-collision",
            ScanError::NotAFile { .. } => "not-a-file",
            ScanError::Changed { .. } => "file-changed",
            ScanError::Size { .. } => "file-size",
            ScanError::Count { .. } => "file-count",
        };
        Self::new(Exit::Failed, code, message)
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let message = printable(&error.to_string());
        let key = key_beneath(&error).map(of_key);
        let (exit, code) = match error {
            PublishError::File(e) => return e.into(),
            PublishError::Scan(e) => return e.into(),
            PublishError::Transport(e) => return e.into(),
            _ if let Some(of_key) = key => of_key,
            PublishError::Key { source, .. } => of_key(&source),
            PublishError::NoKey { .. } => (Exit::NotFound, "no-key"),
            PublishError::KeyExists { .. } => (Exit::Conflict, "key-exists"),
            PublishError::Folder { .. } => (Exit::Store, "authority-folder"),
            PublishError::Release(SigningError::OrderTaken { .. }) => (Exit::Conflict, "order-taken"),
            PublishError::Release(SigningError::NotDelegated { .. } | SigningError::Epoch { .. }) => {
                (Exit::Denied, "not-delegated")
            }
            PublishError::SigstoreRoot(_) => (Exit::Failed, "sigstore-root"),
            PublishError::Document(_) => (Exit::Refused, "bad-document"),
            PublishError::LogPolicy(_) => (Exit::Usage, "bad-log"),
            PublishError::NoSigstoreRoot { .. } => (Exit::Usage, "sigstore-root"),
            PublishError::Roots { .. } => (Exit::Usage, "signer-roots"),
            PublishError::Attestation { .. } => (Exit::Usage, "bad-attestation"),
            PublishError::Metadata(_)
            | PublishError::Namespace(_)
            | PublishError::ModelSignature(_)
            | PublishError::Statement(_)
            | PublishError::Release(_)
            | PublishError::Manifest(_) => (Exit::Failed, "signing"),
            PublishError::Untrusted(e) => {
                let advice = printable(&e.refusal().advice);
                return Self::new(Exit::Refused, "registry-metadata-refused", message).advise(advice);
            }
            PublishError::Missing { .. } | PublishError::NotListed { .. } => {
                (Exit::Network, "registry-incomplete")
            }
            PublishError::NamespaceTaken { .. } => (Exit::Conflict, "namespace-exists"),
            PublishError::VersionTaken { .. } => (Exit::Conflict, "release-exists"),
            PublishError::OrderTooLow { .. } => (Exit::Conflict, "order-too-low"),
            PublishError::Conflict { .. } => (Exit::Conflict, "trust-changed"),
            PublishError::SignedBefore { .. } => (Exit::Conflict, "signed-before"),
            PublishError::Proposal { .. } => (Exit::Refused, "bad-proposal"),
            PublishError::PublishedAlready(_) => (Exit::Conflict, "published-already"),
            PublishError::Superseded { .. } => (Exit::Conflict, "superseded"),
            PublishError::ProposalId { .. } => (Exit::Usage, "bad-proposal-id"),
            PublishError::StopsDevices { .. } => (Exit::Refused, "stops-devices"),
            PublishError::Doubtful { .. } => (Exit::Refused, "doubtful-restriction"),
            PublishError::NoProposal { .. } => (Exit::NotFound, "no-proposal"),
            PublishError::Crowded(_) => (Exit::Conflict, "stale-parent"),
            PublishError::Delta(e) => return (*e).into(),
            PublishError::OtherFiles { .. } => (Exit::Conflict, "other-files"),
            PublishError::NotPublished { .. } | PublishError::NoBase { .. } => (Exit::NotFound, "no-release"),
            PublishError::NoNamespace(_) => (Exit::NotFound, "no-namespace"),
            PublishError::Damaged { .. } => (Exit::Refused, "damaged"),
            PublishError::DamagedExport { .. } => (Exit::Store, "export-damaged"),
            PublishError::StaleExport(_) => (Exit::Refused, "export-stale"),
            PublishError::OlderExport { .. } => (Exit::Refused, "export-older"),
            PublishError::OlderRegistry { .. } => (Exit::Refused, "registry-older"),
            PublishError::OtherHistory { .. } => (Exit::Conflict, "other-history"),
            PublishError::BytesChanged { .. } => (Exit::Failed, "file-changed"),
        };
        let failure = Self::new(exit, code, message);
        if code == "passphrase" {
            failure.advise("Give the passphrase with --passphrase-file, or in ASSAY_PASSPHRASE")
        } else {
            failure
        }
    }
}

impl From<WitnessError> for Failure {
    fn from(error: WitnessError) -> Self {
        let message = printable(&error.to_string());
        let (exit, code) = match error {
            WitnessError::Record(e) => return e.into(),
            WitnessError::Name(_) => (Exit::Usage, "bad-key"),
            WitnessError::NotALog { .. } => (Exit::Usage, "not-a-log"),
            WitnessError::Key { source, .. } => of_key(&source),
            WitnessError::OtherKey { .. } => (Exit::Store, "other-key"),
            WitnessError::NoWitness { .. } => (Exit::NotFound, "no-witness"),
            WitnessError::Exists { .. } => (Exit::Conflict, "witness-exists"),
            WitnessError::Signing { .. } | WitnessError::ClockSetBack { .. } | WitnessError::Stopped(_) => {
                (Exit::Failed, "signing")
            }
        };
        Self::new(exit, code, message)
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        let message = printable(&error.to_string());
        match error {
            DeviceError::Store(e) => e.into(),
            DeviceError::Transport(e) => e.into(),
            DeviceError::Scan(ScanError::File(e)) => e.into(),
            // A folder that no release can be is not the one that was expected.
            DeviceError::Scan(e) => Self {
                exit: Exit::Refused,
                ..e.into()
            },
            DeviceError::Root { source, .. } => {
                let refusal = source.refusal();
                Self::new(Exit::Refused, refusal.code, message).advise(printable(&refusal.advice))
            }
            DeviceError::NoNamespace { .. } => Self::new(Exit::NotFound, "no-namespace", message),
            DeviceError::FingerprintNeeded { .. } => Self::new(Exit::Usage, "fingerprint-needed", message),
            DeviceError::Refused(refusal) => {
                let what = format!(
                    "{}: expected {}, found {}",
                    refusal.subject, refusal.expected, refusal.found
                );
                Self::new(Exit::Refused, refusal.code, printable(&what)).advise(printable(&refusal.advice))
            }
            DeviceError::Signature(_) => Self::new(Exit::Refused, "signature-invalid", message)
                .advise("Do not use the files unless their signer explains this"),
            DeviceError::Log(_) => Self::new(Exit::Usage, "bad-log", message),
            DeviceError::Marks { .. } => Self::new(Exit::Store, "bad-record", message),
            DeviceError::Signers(_) => Self::new(Exit::Usage, "bad-signers", message),
            DeviceError::Stuck => Self::new(Exit::Failed, "internal", message),
        }
    }
}

fn of_key(error: &KeyError) -> (Exit, &'static str) {
    match error {
        KeyError::PassphraseNeeded | KeyError::WrongPassphrase | KeyError::EmptyPassphrase => {
            (Exit::Denied, "passphrase")
        }
        KeyError::Token(error) => of_token(error),
        KeyError::WrongSignature { .. } => (Exit::Refused, "token-signature"),
        _ => (Exit::Failed, "bad-key"),
    }
}

fn of_token(error: &TokenError) -> (Exit, &'static str) {
    use TokenError as T;
    match error {
        T::NotBuilt | T::NoModule { .. } | T::Uri { .. } => (Exit::Usage, "token-uri"),
        T::Ambiguous { .. } => (Exit::Usage, "token-ambiguous"),
        T::Module { .. } => (Exit::Failed, "token-module"),
        T::Absent { .. } => (Exit::NotFound, "no-token"),
        T::NoKey { .. } => (Exit::NotFound, "no-key"),
        T::PinNeeded { .. } | T::WrongPin { .. } | T::PinFile { .. } => (Exit::Denied, "pin"),
        T::PinLocked { .. } => (Exit::Denied, "pin-locked"),
        T::KeyExists { .. } => (Exit::Conflict, "key-exists"),
        T::OtherKey { .. } => (Exit::Refused, "other-key"),
        T::Unsupported { .. } => (Exit::Failed, "bad-key"),
        T::Removed { .. } => (Exit::Failed, "token-removed"),
        T::Failed { .. } => (Exit::Failed, "token"),
        T::Memory(_) => (Exit::Store, "authority-folder"),
    }
}

/// The key error beneath a signature that was not made, if it is one: metadata and model signatures carry it along.
fn key_beneath(error: &PublishError) -> Option<&KeyError> {
    use assay_authority::MetadataError as M;
    use assay_authority::namespace::NamespaceError as N;
    match error {
        PublishError::Key { source, .. } => Some(source),
        PublishError::Metadata(M::Key(key))
        | PublishError::ModelSignature(OmsError::Statement(AttestationError::Key(key)))
        | PublishError::Statement(AttestationError::Key(key))
        | PublishError::Namespace(N::Metadata(M::Key(key)))
        | PublishError::Release(SigningError::Metadata(M::Key(key))) => Some(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_schema::problem::Problem;

    fn of(kind: ProblemKind) -> Failure {
        let problem = Box::new(Problem::new(kind, "detail"));
        TransportError::Problem {
            path: "/v1/x".to_owned(),
            problem,
        }
        .into()
    }

    #[test]
    fn every_problem_has_the_exit_code_of_its_meaning() {
        use ProblemKind as P;
        for (kinds, exit) in [
            (vec![P::Unauthorized, P::Forbidden], Exit::Denied),
            (vec![P::NotFound], Exit::NotFound),
            (
                vec![
                    P::NamespaceExists,
                    P::ReleaseExists,
                    P::StaleParent,
                    P::TooManyProposals,
                    P::UploadBusy,
                    P::OffsetMismatch,
                ],
                Exit::Conflict,
            ),
            (vec![P::MetadataRefused], Exit::Refused),
            (
                vec![P::RateLimited, P::Unavailable, P::Internal, P::StorageFull],
                Exit::Network,
            ),
            (
                vec![
                    P::BadRequest,
                    P::TooLarge,
                    P::BadManifest,
                    P::BlobsMissing,
                    P::DigestMismatch,
                ],
                Exit::Failed,
            ),
        ] {
            for kind in kinds {
                assert_eq!(of(kind).exit, exit, "{kind:?}");
            }
        }
        assert_eq!(of(P::ReleaseExists).code, "release-exists");
    }

    #[test]
    fn a_stores_trouble_is_told_apart_from_names_that_are_not_there() {
        let (namespace, model) = ("acme".parse().unwrap(), "acme/m".parse().unwrap());
        let failure = |error: StoreError| {
            let failure = Failure::from(error);
            (failure.exit, failure.code)
        };
        let busy = StoreError::Busy {
            path: "s".into(),
            waited: std::time::Duration::ZERO,
        };
        assert_eq!(failure(busy), (Exit::Store, "store-locked".into()));
        let full = StoreError::Full {
            path: "s".into(),
            needed: 2,
            available: 1,
        };
        assert_eq!(failure(full), (Exit::Store, "disk-full".into()));
        assert_eq!(
            failure(StoreError::NotTrusted(namespace)),
            (Exit::NotFound, "not-trusted".into())
        );
        assert_eq!(
            failure(StoreError::NotActive(model)),
            (Exit::NotFound, "not-active".into())
        );
        let held = StoreError::Held {
            model: "acme/m".parse().unwrap(),
            version: "1".parse().unwrap(),
        };
        assert_eq!(failure(held), (Exit::Deferred, "held".into()));
        let absent = || FileError::Io {
            doing: "read",
            path: "f".into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        // A missing record of the store is damage, a missing folder of the user's a wrong name.
        assert_eq!(failure(absent().into()).0, Exit::Store);
        assert_eq!(Failure::from(absent()).exit, Exit::NotFound);
    }

    #[test]
    fn a_registry_cannot_move_the_terminals_cursor() {
        let problem = Box::new(Problem::new(ProblemKind::Internal, "\u{1b}[2Jall is well"));
        let failure = Failure::from(TransportError::Problem {
            path: "/v1/x".to_owned(),
            problem,
        });
        assert!(!failure.message.contains('\u{1b}'), "{:?}", failure.message);
    }
}
