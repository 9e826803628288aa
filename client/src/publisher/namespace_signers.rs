//! Who may sign a namespace's models: `trust/signers.json` and `trust/sigstore.json`, shown line by line, and changed.

use std::collections::BTreeSet;

use assay_authority::metadata::{Target, Targets};
use assay_authority::namespace::{check_signers, signers_target, trust_target};
use assay_schema::limits::MAX_TRUST_TARGET;
use assay_schema::signers::{
    RequiredStatement, SIGSTORE_ROOT_TARGET, Signer, SignerIdentity, Signers, TARGET,
};
use assay_schema::{Sha256Digest, canonical};
use assay_verifier::provenance::certificate::check_roots;
use assay_verifier::provenance::sigstore::TrustedRoot;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::authority::NamespaceRecord;
use super::proposal::{Proposal, mismatch};
use super::registry::Registry;
use super::upload::{Source, Upload, upload_all};
use super::{PublishError, Publisher};
use crate::folder::Folder;

/// What is to change of those who may sign models. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignersChange {
    /// The whole document, in the place of the present one; before anything else.
    pub document: Option<Signers>,
    /// Names of signers that may no longer sign; before any is added.
    pub remove: Vec<String>,
    /// Signers that may sign from now on.
    pub add: Vec<Signer>,
    /// The Sigstore trusted root (JSON) from now on; where absent, the present one.
    pub sigstore_root: Option<String>,
}

impl Publisher {
    /// The permitted signers, verified; `None` where the namespace names none.
    ///
    /// # Errors
    /// The registry's metadata does not verify.
    pub fn signers(&self, now: Timestamp) -> Result<Option<Signers>, PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, None, now)?;
        self.named_signers(&record, &Targets::read(&base.targets)?)
    }

    /// Targets metadata that permits other signers. Documents that are too long for it are uploaded first; they say nothing before it
    /// is signed.
    ///
    /// # Errors
    /// Nothing would change, no such signer is there to remove, a name is taken, no signer would remain, or one could not be used.
    pub fn propose_signers(&self, change: &SignersChange, now: Timestamp) -> Result<Proposal, PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, None, now)?;
        let mut top = Targets::read(&base.targets)?;
        let stands = readable(self.named_signers(&record, &top))?;
        let begin = change.document.clone().or_else(|| stands.clone());
        let next = changed(begin.unwrap_or_default(), change)?;
        let mut documents = Vec::new();
        if stands.as_ref() != Some(&next) {
            let (text, target) = signers_target(&next)?;
            documents.push((TARGET, text, target));
        }
        if let Some(text) = &change.sigstore_root {
            let target = trust_target(SIGSTORE_ROOT_TARGET, text)?;
            documents.push((SIGSTORE_ROOT_TARGET, text.clone(), target));
        }
        let mut news = false;
        for (path, _, target) in &documents {
            news |= top.target(path)?.as_ref() != Some(target);
            top.set_target(path, target)?;
        }
        if !news {
            return Err(mismatch(
                "change",
                "other signers or another Sigstore root",
                "what stands",
            ));
        }
        self.upload_documents(&record, &documents)?;
        self.propose_top(&record, &base, top, now)
    }

    fn upload_documents(
        &self,
        record: &NamespaceRecord,
        documents: &[(&str, String, Target)],
    ) -> Result<(), PublishError> {
        let long = documents
            .iter()
            .filter(|(_, _, target)| target.note.inline.is_none());
        let uploads: Vec<_> = long
            .map(|(_, text, target)| Upload {
                sha256: target.sha256,
                size: target.length,
                source: Source::Bytes(text.as_bytes()),
            })
            .collect();
        let registry = Registry {
            transport: self.transport.as_ref(),
            namespace: &record.name,
        };
        upload_all(
            registry,
            &Folder::open(self.folder.path())?,
            &uploads,
            &*self.progress,
        )
    }

    /// What other targets metadata changes of who may sign models, signer by signer and root by root.
    ///
    /// # Errors
    /// A document that no device could use, or that is not there.
    pub(super) fn signer_changes(
        &self,
        record: &NamespaceRecord,
        old: &Targets,
        new: &Targets,
    ) -> Result<Vec<String>, PublishError> {
        let digest = |top: &Targets, path: &str| -> Result<Option<Sha256Digest>, PublishError> {
            Ok(top.target(path)?.map(|target| target.sha256))
        };
        let mut lines = Vec::new();
        let mut touched = false;
        if digest(old, TARGET)? != digest(new, TARGET)? {
            touched = true;
            let before = readable(self.named_signers(record, old))?.unwrap_or_default();
            let after = self.named_signers(record, new)?.unwrap_or_default();
            lines.extend(compared(
                "signers",
                &shown_signers(&before),
                &shown_signers(&after),
            ));
            if after.signers.is_empty() {
                lines.push("signers: nobody may sign models from now on".to_owned());
            }
        }
        if digest(old, SIGSTORE_ROOT_TARGET)? != digest(new, SIGSTORE_ROOT_TARGET)? {
            touched = true;
            let before = readable(self.sigstore_root(record, old))?;
            let after = self.sigstore_root(record, new)?;
            lines.extend(compared("sigstore", &shown_root(before), &shown_root(after)));
        }
        let keyless = |s: &&Signer| s.identity.is_sigstore();
        if touched
            && new.target(SIGSTORE_ROOT_TARGET)?.is_none()
            && let Some(signers) = self.named_signers(record, new)?
            && let Some(signer) = signers.signers.iter().find(keyless)
        {
            return Err(PublishError::NoSigstoreRoot {
                signer: signer.name.clone(),
            });
        }
        Ok(lines)
    }

    /// The permitted signers that targets metadata names, each of which a device can use.
    pub(super) fn named_signers(
        &self,
        record: &NamespaceRecord,
        top: &Targets,
    ) -> Result<Option<Signers>, PublishError> {
        let Some(bytes) = self.document(record, top, TARGET)? else {
            return Ok(None);
        };
        let read = canonical::read::<Signers>(&bytes, MAX_TRUST_TARGET);
        let signers = read.map_err(|e| mismatch(TARGET, "permitted signers", e))?;
        let unusable = |e: &dyn ToString| mismatch(TARGET, "signers that a device can use", e.to_string());
        check_signers(&signers).map_err(|e| unusable(&e))?;
        check_certificates(&signers.signers).map_err(|e| unusable(&e))?;
        Ok(Some(signers))
    }

    /// The Sigstore trusted root that targets metadata names, as JSON.
    fn sigstore_root(&self, record: &NamespaceRecord, top: &Targets) -> Result<Option<Value>, PublishError> {
        let Some(bytes) = self.document(record, top, SIGSTORE_ROOT_TARGET)? else {
            return Ok(None);
        };
        let bad = |found: String| mismatch(SIGSTORE_ROOT_TARGET, "a Sigstore trusted root", found);
        TrustedRoot::read(&bytes).map_err(|e| bad(e.to_string()))?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| bad(e.to_string()))
    }
}

/// Whether devices can use the root certificates of signers that are known by one.
pub(super) fn check_certificates(signers: &[Signer]) -> Result<(), PublishError> {
    for signer in signers {
        if let SignerIdentity::Certificate { roots, .. } = &signer.identity {
            check_roots(roots).map_err(|e| PublishError::Roots {
                signer: signer.name.clone(),
                reason: e.to_string(),
            })?;
        }
    }
    Ok(())
}

/// What stands; a document that nobody can read names nothing, so that it can be replaced.
fn readable<T>(read: Result<Option<T>, PublishError>) -> Result<Option<T>, PublishError> {
    match read {
        Err(PublishError::Proposal { .. }) => Ok(None),
        read => read,
    }
}

fn changed(mut signers: Signers, change: &SignersChange) -> Result<Signers, PublishError> {
    signers.v = 1;
    for name in &change.remove {
        let stood = signers.signers.len();
        signers.signers.retain(|signer| signer.name != *name);
        if signers.signers.len() == stood {
            return Err(mismatch(
                "signer to remove",
                "the name of a permitted signer",
                name,
            ));
        }
    }
    for signer in &change.add {
        if signers.signers.iter().any(|s| s.name == signer.name) {
            let expected = "one that no other signer has; remove that one in the same change";
            return Err(mismatch("name of the new signer", expected, &signer.name));
        }
        signers.signers.push(signer.clone());
    }
    match signers.signers.is_empty() {
        true => Err(mismatch("permitted signers", "one at least", "none")),
        false => Ok(signers),
    }
}

/// Every signer, and every statement that is required. Nothing of the document is left out.
fn shown_signers(document: &Signers) -> BTreeSet<String> {
    let Signers {
        v: _,
        signers,
        require,
    } = document;
    signers
        .iter()
        .map(shown)
        .chain(require.iter().map(required))
        .collect()
}

/// A signer as people compare it: a key is shown as it stands in its PEM file.
fn shown(signer: &Signer) -> String {
    let Signer {
        name,
        models,
        statements,
        identity,
    } = signer;
    let identity = match identity {
        SignerIdentity::Key { spki } => format!("public key {spki}"),
        SignerIdentity::Certificate { roots, subject } => {
            let roots = roots.iter().map(|root| match STANDARD.decode(root) {
                Ok(der) => crate::sha256(&der).to_hex(),
                Err(_) => root.clone(),
            });
            let roots = roots.collect::<Vec<_>>().join(", ");
            format!("certificate of {subject}, under roots with SHA-256 {roots}")
        }
        SignerIdentity::Sigstore { issuer, subject } => {
            format!("Sigstore certificate of {subject}, issued by {issuer}")
        }
        SignerIdentity::SigstorePattern { issuer, subject } => {
            format!("Sigstore certificate of whoever fits {subject}, issued by {issuer}")
        }
    };
    let signs = match statements.as_slice() {
        [] => "signs models".to_owned(),
        some => format!("signs statements {}", list(some, "")),
    };
    format!(
        "{name:?}, for {}, {signs}: {identity}",
        list(models, "every model")
    )
}

fn required(statement: &RequiredStatement) -> String {
    let RequiredStatement {
        predicate_type,
        signers,
        models,
        files,
    } = statement;
    let signers: Vec<_> = signers.iter().map(|name| format!("{name:?}")).collect();
    format!(
        "demand: {predicate_type} by {}, for {}, about {}",
        signers.join(" or "),
        list(models, "every model"),
        list(files, "every file")
    )
}

fn list<T: ToString>(items: &[T], none: &str) -> String {
    match items {
        [] => none.to_owned(),
        some => some
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// Every certificate authority, log and timestamp authority of a trusted root, and whatever else it says.
fn shown_root(root: Option<Value>) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let Some(Value::Object(root)) = root else {
        return lines;
    };
    for (name, value) in root {
        match value {
            Value::Array(entries) => {
                lines.extend(
                    entries
                        .into_iter()
                        .map(|entry| format!("{name} {}", fingerprinted(entry))),
                );
            }
            other => drop(lines.insert(format!("{name} {}", fingerprinted(other)))),
        }
    }
    lines
}

/// Certificates and keys are shown by the SHA-256 of their DER, as other tools name them.
fn fingerprinted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let der = value.as_str().filter(|_| name == "rawBytes");
                match der.and_then(|text| STANDARD.decode(text).ok()) {
                    Some(der) => ("sha256".to_owned(), crate::sha256(&der).to_hex().into()),
                    None => (name, fingerprinted(value)),
                }
            });
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(values) => values.into_iter().map(fingerprinted).collect(),
        other => other,
    }
}

fn compared(what: &str, before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let added = after
        .difference(before)
        .map(|line| format!("{what}: adds {line}"));
    let removed = before
        .difference(after)
        .map(|line| format!("{what}: removes {line}"));
    added.chain(removed).collect()
}
