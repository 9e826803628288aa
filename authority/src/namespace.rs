//! The first metadata of a namespace, and the documents under `trust/`.

use std::collections::BTreeMap;

use assay_schema::api::{CreateNamespace, OnlineKeys, Visibility};
use assay_schema::canonical::{self, JsonError};
use assay_schema::limits::{MAX_INLINE_TARGET, MAX_TRUST_TARGET};
use assay_schema::log::{self, LogTrust};
use assay_schema::signers::{SIGSTORE_ROOT_TARGET, Signer, SignerIdentity, Signers, TARGET};
use assay_schema::{Pattern, Sha256Digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::key::{KeyError, SigningKey};
use crate::metadata::{MetadataError, RoleKeys, Root, Target, Targets, TopRole, default_expiry};
use crate::public::PublicKey;

/// The version of `trust/signers.json` that this software writes.
const SIGNERS_VERSION: u32 = 1;

/// What a namespace begins with.
#[derive(Debug, Clone, Copy)]
pub struct NewNamespace<'a> {
    /// The authority's root keys.
    pub root: &'a RoleKeys,
    /// At least its threshold of them, to sign with.
    pub root_signers: &'a [&'a SigningKey],
    /// The authority's targets keys.
    pub targets: &'a RoleKeys,
    /// At least their threshold of them, to sign with.
    pub targets_signers: &'a [&'a SigningKey],
    /// The registry's keys for this namespace.
    pub online: &'a OnlineKeys,
    /// Who may sign the provenance of the models.
    pub signers: &'a Signers,
    /// The Sigstore trusted root (JSON), if a signer is known by a Sigstore identity.
    pub sigstore_root: Option<&'a str>,
    /// The transparency log that every state of the namespace must be in, if it names one.
    pub log: Option<&'a LogTrust>,
    /// Who may read it.
    pub visibility: Visibility,
    /// The time from which expiry counts.
    pub now: Timestamp,
}

/// A namespace to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedNamespace {
    /// The body of the request that creates it.
    pub body: CreateNamespace,
    /// SHA-256 of `1.root.json`: what devices pin.
    pub identity: Sha256Digest,
}

/// A namespace that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// Its metadata cannot be signed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The permitted signers cannot be written.
    #[error("trust/signers.json: {0}")]
    Signers(#[from] JsonError),
    /// The log cannot be written.
    #[error("trust/log.json: {0}")]
    Log(#[source] JsonError),
    /// A signer that no verifier could use.
    #[error("trust/signers.json: signer {name:?}: expected {expected}, found {found}")]
    Signer {
        /// The signer.
        name: String,
        /// The rule.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A document under `trust/` that is too long.
    #[error("{path}: expected at most {limit} bytes, found {found}", limit = MAX_TRUST_TARGET)]
    TooLong {
        /// Its path.
        path: &'static str,
        /// Its bytes.
        found: usize,
    },
}

/// Makes and signs `1.root.json` and `1.targets.json`.
///
/// # Errors
/// [`NamespaceError::Metadata`]: a key in two roles, a threshold that cannot be or is not met, a key that the role does not
/// list; the others for bad signers.
pub fn create_namespace(new: &NewNamespace<'_>) -> Result<CreatedNamespace, NamespaceError> {
    new.root.require("root", new.root_signers)?;
    new.targets.require("targets", new.targets_signers)?;
    let snapshot = RoleKeys::single(new.online.snapshot.clone());
    let timestamp = RoleKeys::single(new.online.timestamp.clone());
    let root_expires = default_expiry(TopRole::Root.as_str(), new.now)?;
    let root = Root::new(new.root, new.targets, &snapshot, &timestamp, root_expires)?
        .sign(new.root_signers, None)?;
    let identity = root.sha256();

    let mut targets = Targets::top_level(identity, default_expiry(TopRole::Targets.as_str(), new.now)?)?;
    let (signers, target) = signers_target(new.signers)?;
    targets.set_target(TARGET, &target)?;
    let mut blobs = vec![signers];
    if let Some(text) = new.sigstore_root {
        targets.set_target(SIGSTORE_ROOT_TARGET, &trust_target(SIGSTORE_ROOT_TARGET, text)?)?;
        blobs.push(text.to_owned());
    }
    if let Some(trust) = new.log {
        let text = canonical::document(trust).map_err(NamespaceError::Log)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        targets.set_target(log::TARGET, &trust_target(log::TARGET, &text)?)?;
        blobs.push(text);
    }
    let targets = targets.sign(new.targets_signers, Some(new.targets))?;
    let body = CreateNamespace {
        root: root.text()?,
        later_roots: Vec::new(),
        targets: targets.text()?,
        roles: BTreeMap::new(),
        blobs,
        visibility: new.visibility,
    };
    Ok(CreatedNamespace { body, identity })
}

/// The permitted signer that is this public key.
pub fn key_signer(name: &str, key: &PublicKey) -> Signer {
    Signer {
        name: name.to_owned(),
        models: Vec::new(),
        statements: Vec::new(),
        identity: SignerIdentity::Key {
            spki: STANDARD.encode(key.spki_der()),
        },
    }
}

/// The bytes of `trust/signers.json` and the target that lists them.
///
/// # Errors
/// [`NamespaceError::Signers`], [`NamespaceError::Signer`] or [`NamespaceError::TooLong`].
pub fn signers_target(signers: &Signers) -> Result<(String, Target), NamespaceError> {
    check_signers(signers)?;
    let bytes = canonical::document(signers)?;
    let text = String::from_utf8(bytes).map_err(|e| NamespaceError::Signer {
        name: "all".to_owned(),
        expected: "UTF-8",
        found: e.to_string(),
    })?;
    let target = trust_target(TARGET, &text)?;
    Ok((text, target))
}

/// Whether a document of signers can be followed: by a namespace, or by the owner of a device who pins it.
///
/// # Errors
/// [`NamespaceError::Signer`]: another version, a signer who cannot be known by what is said, or a requirement that
/// nobody can meet.
pub fn check_signers(signers: &Signers) -> Result<(), NamespaceError> {
    let bad = |expected, found: String| NamespaceError::Signer {
        name: "all".to_owned(),
        expected,
        found,
    };
    if signers.v != SIGNERS_VERSION {
        return Err(bad("v 1", signers.v.to_string()));
    }
    signers.signers.iter().try_for_each(check_signer)?;
    check_required(signers)
}

/// The target of a document under `trust/`; a short one carries its own bytes.
///
/// # Errors
/// [`NamespaceError::TooLong`].
pub fn trust_target(path: &'static str, text: &str) -> Result<Target, NamespaceError> {
    if text.len() as u64 > MAX_TRUST_TARGET {
        return Err(NamespaceError::TooLong {
            path,
            found: text.len(),
        });
    }
    let mut target = Target::of(text.as_bytes());
    if target.length <= MAX_INLINE_TARGET {
        target.note.inline = Some(text.to_owned());
    }
    Ok(target)
}

fn check_signer(signer: &Signer) -> Result<(), NamespaceError> {
    let bad = |expected, found: String| NamespaceError::Signer {
        name: signer.name.clone(),
        expected,
        found,
    };
    if signer.name.trim().is_empty() {
        return Err(bad("a name that people know", "none".to_owned()));
    }
    let named = |subject: &Pattern| match subject.names_somebody() {
        true => Ok(()),
        false => Err(bad(
            "a subject whose host, mail domain or beginning has no wildcard",
            subject.to_string(),
        )),
    };
    match &signer.identity {
        SignerIdentity::Key { spki } => {
            let der = STANDARD
                .decode(spki)
                .map_err(|e| bad("base64 of a DER SubjectPublicKeyInfo", e.to_string()))?;
            PublicKey::from_spki_der(&der)
                .map(drop)
                .map_err(|e: KeyError| bad("base64 of a DER SubjectPublicKeyInfo", e.to_string()))
        }
        SignerIdentity::Certificate { roots, subject } => {
            if roots.is_empty() {
                return Err(bad("a root certificate", "none".to_owned()));
            }
            for root in roots {
                STANDARD
                    .decode(root)
                    .map_err(|e| bad("base64 of root certificates in DER", e.to_string()))?;
            }
            named(subject)
        }
        SignerIdentity::Sigstore { issuer, subject } if issuer.is_empty() || subject.is_empty() => Err(bad(
            "an issuer and a subject",
            format!("issuer {issuer:?}, subject {subject:?}"),
        )),
        SignerIdentity::Sigstore { .. } => Ok(()),
        SignerIdentity::SigstorePattern { issuer, .. } if issuer.is_empty() => {
            Err(bad("an issuer", "none".to_owned()))
        }
        SignerIdentity::SigstorePattern { subject, .. } => named(subject),
    }
}

/// What is required can be met: somebody is named, and may sign it.
fn check_required(signers: &Signers) -> Result<(), NamespaceError> {
    for required in &signers.require {
        let bad = |expected, found: String| NamespaceError::Signer {
            name: format!("require {}", required.predicate_type),
            expected,
            found,
        };
        if required.signers.is_empty() {
            return Err(bad("the names of signers", "none".to_owned()));
        }
        for name in &required.signers {
            let Some(signer) = signers.signers.iter().find(|s| s.name == *name) else {
                return Err(bad("names of signers of this document", name.clone()));
            };
            if signer.statements.is_empty() {
                return Err(bad(
                    "signers whose `statements` name the kind",
                    format!("{name}, who signs models only"),
                ));
            }
        }
    }
    Ok(())
}
