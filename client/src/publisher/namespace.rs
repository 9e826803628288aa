//! Creating a namespace.

use std::path::Path;

use assay_authority::namespace::{NewNamespace, create_namespace, key_signer};
use assay_authority::{RoleKeys, SigningKey};
use assay_log::VerifierKey;
use assay_schema::NamespaceName;
use assay_schema::api::{CreateNamespace, OnlineKeys, Visibility};
use assay_schema::log::LogTrust;
use assay_schema::problem::ProblemKind;
use assay_schema::signers::{RequiredStatement, Signer, Signers};
use assay_schema::tuf::TufKey;
use assay_verifier::provenance::sigstore::TrustedRoot;
use jiff::Timestamp;

use super::authority::{KeyRole, NamespaceRecord};
use super::namespace_log::{self, offered};
use super::namespace_signers::check_certificates;
use super::proposal::mismatch;
use super::registry::Registry;
use super::{PublishError, Publisher, folder_error, journal};

/// How a namespace begins.
#[derive(Debug, Clone)]
pub struct NamespaceTerms {
    /// Its name.
    pub name: NamespaceName,
    /// The registry's address, as devices will reach it.
    pub registry: String,
    /// How many of the folder's root keys must sign.
    pub root_threshold: u64,
    /// How many of the folder's targets keys must sign.
    pub targets_threshold: u64,
    /// The name that devices show for the folder's model-signing key.
    pub signer: String,
    /// Others who may sign models.
    pub other_signers: Vec<Signer>,
    /// Statements that releases must have beside their model signature.
    pub require: Vec<RequiredStatement>,
    /// The Sigstore trusted root (JSON), where one of them is known by a Sigstore identity.
    pub sigstore_root: Option<String>,
    /// Name the registry's transparency log, if it offers one: devices then demand that every state is in it. Its key is taken from
    /// the registry this once.
    pub log: bool,
    /// The witnesses that devices demand of that log; none if empty.
    pub witnesses: Vec<VerifierKey>,
    /// How many of them must have cosigned; a majority where absent.
    pub witness_threshold: Option<u32>,
    /// Who may read the namespace.
    pub visibility: Visibility,
}

impl Publisher {
    /// Creates the namespace, or finds that an earlier run created it: running it again is safe.
    ///
    /// # Errors
    /// A key is missing, a signer cannot be used, an earlier run that was not finished had other terms, the registry refuses, or
    /// somebody else has the name.
    pub fn create_namespace(
        &self,
        terms: &NamespaceTerms,
        now: Timestamp,
    ) -> Result<NamespaceRecord, PublishError> {
        if let Some(record) = self.folder.find_namespace()? {
            if record.name != terms.name {
                let reason = format!(
                    "this folder belongs to namespace {}; use another folder for {}",
                    record.name, terms.name
                );
                return Err(folder_error(self.folder.path().to_owned(), reason));
            }
            return Ok(record);
        }
        let registry = Registry {
            transport: self.transport.as_ref(),
            namespace: &terms.name,
        };
        let pending = self.folder.pending()?;
        let earlier = pending.is_some();
        let body = match pending {
            Some(body) => {
                if !says(&body, terms) {
                    return Err(self.folder.other_terms());
                }
                body
            }
            None => {
                let body = self.sign_first(terms, registry, now)?;
                journal::begin(&self.folder)?;
                self.folder.save_pending(&body)?;
                body
            }
        };
        let own = crate::sha256(body.root.as_bytes());
        let body = journal::record(&self.folder, own, body, now, self.sign_again)?;
        let found = match registry.create(&body) {
            Ok(info) => info.identity,
            // An earlier run may have been killed between the answer and its record.
            Err(e)
                if e.problem()
                    .is_some_and(|p| p.kind == ProblemKind::NamespaceExists) =>
            {
                registry.info()?.ok_or(e)?.identity
            }
            // An earlier run's root is for the name that it was run with: another one has other online keys.
            Err(e)
                if earlier
                    && e.problem().is_some_and(|p| matches!(p.status, 400 | 422))
                    && !lists(body.get(), &registry.online_keys()?) =>
            {
                return Err(self.folder.other_terms());
            }
            Err(e) => return Err(e.into()),
        };
        if found != own {
            return Err(PublishError::NamespaceTaken {
                namespace: terms.name.clone(),
                found,
                own,
            });
        }
        let record = NamespaceRecord {
            v: 1,
            name: terms.name.clone(),
            identity: own,
            registry: terms.registry.clone(),
        };
        self.folder.save_namespace(&record)?;
        Ok(record)
    }

    fn sign_first(
        &self,
        terms: &NamespaceTerms,
        registry: Registry<'_>,
        now: Timestamp,
    ) -> Result<CreateNamespace, PublishError> {
        let ask: &dyn Fn(&Path) -> Option<String> = &*self.passphrase;
        let root = self.folder.keys(KeyRole::Root, ask)?;
        let targets = self.folder.keys(KeyRole::Targets, ask)?;
        let model = self.folder.keys(KeyRole::ModelSigning, ask)?;
        let mut signers: Vec<Signer> = model
            .iter()
            .map(|key| key_signer(&terms.signer, key.public_key()))
            .collect();
        signers.extend(terms.other_signers.iter().cloned());
        if let Some(root) = &terms.sigstore_root {
            TrustedRoot::read(root.as_bytes())?;
        }
        check_certificates(&signers)?;
        let keyless = |s: &&Signer| s.identity.is_sigstore();
        if let (Some(signer), None) = (signers.iter().find(keyless), &terms.sigstore_root) {
            return Err(PublishError::NoSigstoreRoot {
                signer: signer.name.clone(),
            });
        }
        let (root, targets) = (refs(&root), refs(&targets));
        let bad_key = |source| PublishError::Key {
            path: self.folder.path().to_owned(),
            source,
        };
        let online = registry.online_keys()?;
        let offered = if terms.log { offered(registry)? } else { None };
        if offered.is_none() && !terms.witnesses.is_empty() {
            let expected = "one, as witnesses are demanded of it";
            return Err(mismatch("log of the registry", expected, "none"));
        }
        let log = offered
            .map(|log| namespace_log::trust(log, &terms.witnesses, terms.witness_threshold))
            .transpose()?;
        let created = create_namespace(&NewNamespace {
            root: &RoleKeys::of(&root, terms.root_threshold).map_err(bad_key)?,
            root_signers: &root,
            targets: &RoleKeys::of(&targets, terms.targets_threshold).map_err(bad_key)?,
            targets_signers: &targets,
            online: &online,
            signers: &Signers {
                v: 1,
                signers,
                require: terms.require.clone(),
            },
            sigstore_root: terms.sigstore_root.as_deref(),
            log: log.as_ref(),
            visibility: terms.visibility,
            now,
        })?;
        Ok(created.body)
    }
}

/// Whether a request that an earlier run signed is what these terms ask for. Keys are not compared: the folder's are what they
/// were.
fn says(body: &CreateNamespace, terms: &NamespaceTerms) -> bool {
    let signers = body
        .blobs
        .first()
        .map(|text| serde_json::from_str::<Signers>(text));
    let Some(Ok(signers)) = signers else {
        return false;
    };
    let (mut logs, mut others) = (Vec::new(), Vec::new());
    for text in body.blobs.iter().skip(1) {
        match serde_json::from_str::<LogTrust>(text) {
            Ok(trust) => logs.push(trust),
            Err(_) => others.push(text),
        }
    }
    let demands = |found: &LogTrust| {
        let asked = namespace_log::trust(found.log.clone(), &terms.witnesses, terms.witness_threshold);
        asked.is_ok_and(|asked| asked == *found)
    };
    body.visibility == terms.visibility
        && others.first().copied() == terms.sigstore_root.as_ref()
        && (terms.log || logs.is_empty())
        && (terms.witnesses.is_empty() || !logs.is_empty())
        && logs.iter().all(demands)
        && signers.signers.first().is_some_and(|s| s.name == terms.signer)
        && signers.signers.ends_with(&terms.other_signers)
        && signers.require == terms.require
}

/// Whether the root of a request lists these online keys.
fn lists(body: &CreateNamespace, online: &OnlineKeys) -> bool {
    let root: serde_json::Value = serde_json::from_str(&body.root).unwrap_or_default();
    let keys = root
        .pointer("/signed/keys")
        .and_then(serde_json::Value::as_object);
    let listed = |key: &TufKey| {
        let public =
            |listed: &serde_json::Value| listed.pointer("/keyval/public")?.as_str().map(str::to_owned);
        keys.is_some_and(|keys| {
            keys.values()
                .any(|k| public(k).as_ref() == Some(&key.keyval.public))
        })
    };
    listed(&online.snapshot) && listed(&online.timestamp)
}

pub(super) fn refs(keys: &[SigningKey]) -> Vec<&SigningKey> {
    keys.iter().collect()
}
