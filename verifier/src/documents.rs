//! The documents that top-level targets list under `trust/`: one reading for devices, for the registry, and for whoever signs them.
//!
//! A document that cannot be read stops every device of the namespace, so nobody signs or publishes one.

use assay_log::policy::LogPolicy;
use assay_provenance::crypto::sha256;
use assay_provenance::key::PublicKey;
use assay_provenance::sigstore::TrustedRoot;
use assay_schema::log::{self, LogTrust};
use assay_schema::signers::{self, SignerIdentity, Signers};
use assay_schema::verdict::Refusal;
use assay_schema::{Sha256Digest, canonical, limits};

use crate::report::refusal;

/// A document that no device could use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: expected {expected}, found {found}; sign one that devices can read")]
pub struct BadDocument {
    /// The target's path.
    pub path: String,
    /// The rule.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl BadDocument {
    /// For a verdict.
    pub(crate) fn refusal(self) -> Refusal {
        refusal(
            "malformed",
            self.path,
            self.expected,
            self.found,
            "Ask the namespace's authority to sign a document of version 1, or update this software.",
        )
    }
}

/// Whether a target under this path has a form that devices know.
pub fn is_known(path: &str) -> bool {
    [signers::TARGET, signers::SIGSTORE_ROOT_TARGET, log::TARGET].contains(&path)
}

/// Judges the bytes of a target, be they inside its own entry or not: they must be the ones that its length and SHA-256 name (TUF
/// 5.7.2), and a document that devices know must have its form.
///
/// # Errors
/// [`BadDocument`]: devices would refuse it.
pub fn judge(path: &str, length: u64, digest: Sha256Digest, bytes: &[u8]) -> Result<(), BadDocument> {
    let found = sha256(bytes);
    if (found, bytes.len() as u64) != (digest, length) {
        return Err(bad(
            path,
            format!("{length} bytes with SHA-256 {digest}"),
            format!("{} with {found}", bytes.len()),
        ));
    }
    match path {
        signers::TARGET => read_signers(bytes)?.signers.iter().try_for_each(|signer| {
            let SignerIdentity::Key { spki } = &signer.identity else {
                return Ok(());
            };
            let read = PublicKey::from_spki_base64(spki);
            read.map(drop).map_err(|e| {
                let expected = format!("a key of signer {:?} that can be read", signer.name);
                bad(path, expected, e)
            })
        }),
        signers::SIGSTORE_ROOT_TARGET => TrustedRoot::read(bytes)
            .map(drop)
            .map_err(|e| bad(path, "a Sigstore trusted root", e)),
        log::TARGET => read_log(bytes).map(drop),
        _ => Ok(()),
    }
}

/// Reads `trust/signers.json`.
///
/// # Errors
/// [`BadDocument`]
pub fn read_signers(bytes: &[u8]) -> Result<Signers, BadDocument> {
    let expected = "permitted signers of version 1";
    match canonical::read::<Signers>(bytes, limits::MAX_TRUST_TARGET) {
        Ok(signers) if signers.v == 1 => Ok(signers),
        Ok(other) => Err(bad(signers::TARGET, expected, format!("version {}", other.v))),
        Err(error) => Err(bad(signers::TARGET, expected, error)),
    }
}

/// Reads `trust/log.json`.
///
/// # Errors
/// [`BadDocument`]
pub fn read_log(bytes: &[u8]) -> Result<(LogTrust, LogPolicy), BadDocument> {
    let fail = |found: String| {
        let expected = "a log of version 1 with its key, its witnesses' keys and a threshold";
        bad(log::TARGET, expected, found)
    };
    let trust: LogTrust =
        canonical::read(bytes, limits::MAX_TRUST_TARGET).map_err(|e| fail(e.to_string()))?;
    let policy = LogPolicy::try_from(&trust).map_err(|e| fail(e.to_string()))?;
    Ok((trust, policy))
}

fn bad(path: &str, expected: impl Into<String>, found: impl ToString) -> BadDocument {
    BadDocument {
        path: path.to_owned(),
        expected: expected.into(),
        found: found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_authority::{KeyKind, SigningKey};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn judged(path: &str, text: &str) -> Result<(), BadDocument> {
        judge(path, text.len() as u64, sha256(text.as_bytes()), text.as_bytes())
    }

    #[test]
    fn refuses_bytes_that_are_not_the_targets() {
        let text = r#"{"signers":[],"v":1}"#;
        for path in [signers::TARGET, "trust/other.json"] {
            assert_eq!(judged(path, text), Ok(()), "{path}");
            let (length, digest) = (text.len() as u64, sha256(text.as_bytes()));
            let other = r#"{"signers":[],"v":2}"#;
            assert!(judge(path, length, digest, other.as_bytes()).is_err());
            assert!(judge(path, length + 1, digest, text.as_bytes()).is_err());
        }
    }

    #[test]
    fn refuses_documents_that_no_device_could_read() {
        let signer = |spki: &str| {
            format!(r#"{{"signers":[{{"identity":{{"kind":"key","spki":"{spki}"}},"name":"a"}}],"v":1}}"#)
        };
        let key = SigningKey::generate(KeyKind::Ed25519).unwrap();
        let spki = STANDARD.encode(key.public_key().spki_der());
        assert_eq!(judged(signers::TARGET, &signer(&spki)), Ok(()));
        for (path, text) in [
            (signers::TARGET, "garbage"),
            (signers::TARGET, ""),
            (signers::TARGET, r#"{"signers":[],"v":2}"#),
            (signers::TARGET, r#"{"signers":[],"v":1,"x":1}"#),
            (signers::TARGET, &signer("AAAA")),
            (signers::SIGSTORE_ROOT_TARGET, "garbage"),
            (log::TARGET, "garbage"),
            (log::TARGET, r#"{"log":"nobody","v":1}"#),
        ] {
            let refused = judged(path, text).unwrap_err();
            assert_eq!(refused.path, path, "{text}");
        }
        assert_eq!(judged("trust/another.json", "garbage"), Ok(()));
    }
}
