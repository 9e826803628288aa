//! The authority's folder: private keys, the namespace's identity, and what this publisher last trusted.

use std::path::{Path, PathBuf};

use assay_authority::{KeyKind, PublicKey, SigningKey};
use assay_schema::api::CreateNamespace;
use assay_schema::{NamespaceName, Sha256Digest};
use assay_verifier::{DeviceState, Pin};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{PublishError, folder_error};
use crate::folder::Folder;

const NAMESPACE: &str = "namespace.json";
const REQUEST: &str = "create.json";
const STATE: &str = "state.json";
/// A key file is some hundred bytes; one with comments a few thousand.
const MAX_KEY_FILE: u64 = 64 << 10;
const MAX_RECORD: u64 = 32 << 20;
/// Private files are their owner's only.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// What a key is for; the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRole {
    /// `root.pem`: changes the namespace's keys. Best kept offline.
    Root,
    /// `targets.pem`: delegates to publishers, permits signers. Best kept offline.
    Targets,
    /// `publisher.pem`: signs release manifests into the model's role.
    Publisher,
    /// `model-signing.pem`: signs the files (OpenSSF Model Signing).
    ModelSigning,
}

impl KeyRole {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Publisher, Self::ModelSigning];

    /// `root`, `targets`, `publisher` or `model-signing`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Publisher => "publisher",
            Self::ModelSigning => "model-signing",
        }
    }

    /// The kind of key that is made unless another is asked for: P-256 where `model_signing` must be able to verify it.
    pub const fn default_kind(self) -> KeyKind {
        match self {
            Self::ModelSigning => KeyKind::P256,
            _ => KeyKind::Ed25519,
        }
    }

    /// The file of the `number`th key, counted from 1: `root.pem`, `root-2.pem`.
    fn file(self, number: u32) -> String {
        match number {
            0 | 1 => format!("{}.pem", self.name()),
            n => format!("{}-{n}.pem", self.name()),
        }
    }
}

impl std::str::FromStr for KeyRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("expected root, targets, publisher or model-signing, found {text:?}"))
    }
}

/// `namespace.json`: whose folder this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceRecord {
    /// The record's version: 1.
    pub v: u32,
    /// The namespace's name on its registry.
    pub name: NamespaceName,
    /// SHA-256 of its first root file: what devices pin.
    pub identity: Sha256Digest,
    /// The registry's address.
    pub registry: String,
}

/// An authority's folder.
#[derive(Debug, Clone)]
pub struct AuthorityFolder {
    folder: Folder,
}

impl AuthorityFolder {
    /// Opens the folder, making it if it is missing.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn open(path: &Path) -> Result<Self, PublishError> {
        Ok(Self {
            folder: Folder::ensure(path)?,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes the next key of a role: private in `<role>.pem` (readable by its owner only, encrypted if there is a passphrase),
    /// public in `<role>.pem.pub`. `number` counts the keys of a role from 1.
    ///
    /// # Errors
    /// The file exists, or cannot be written.
    pub fn generate(
        &self,
        role: KeyRole,
        number: u32,
        kind: KeyKind,
        passphrase: Option<&str>,
    ) -> Result<PublicKey, PublishError> {
        let file = role.file(number);
        let path = self.at(&file);
        if self.folder.kind(&file)?.is_some() {
            return Err(PublishError::KeyExists { path });
        }
        let fail = |source| PublishError::Key {
            path: path.clone(),
            source,
        };
        let key = SigningKey::generate(kind).map_err(fail)?;
        let pem = match passphrase {
            Some(passphrase) => key.to_encrypted_pem(passphrase),
            None => key.to_pem(),
        }
        .map_err(fail)?;
        // Created exclusively: two runs at once cannot overwrite each other's key.
        self.folder.create(&file, pem.as_bytes(), PRIVATE)?;
        let public = key.public_key_pem().map_err(fail)?;
        self.folder
            .replace(&format!("{file}.pub"), public.as_bytes(), PUBLIC)?;
        Ok(key.public_key().clone())
    }

    /// All keys of a role that lie in the folder: `root.pem`, `root-2.pem` and so on.
    ///
    /// # Errors
    /// There is none, or one cannot be read or decrypted.
    pub fn keys(
        &self,
        role: KeyRole,
        passphrase: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<Vec<SigningKey>, PublishError> {
        let mut keys = Vec::new();
        for number in 1.. {
            match self.key(&role.file(number), passphrase)? {
                Some(key) => keys.push(key),
                None => break,
            }
        }
        if keys.is_empty() {
            return Err(PublishError::NoKey {
                path: self.at(&role.file(1)),
            });
        }
        Ok(keys)
    }

    fn key(
        &self,
        file: &str,
        passphrase: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<Option<SigningKey>, PublishError> {
        let path = self.at(file);
        let Some(bytes) = self.folder.read(file, MAX_KEY_FILE)? else {
            return Ok(None);
        };
        let pem =
            String::from_utf8(bytes).map_err(|_| folder_error(path.clone(), "expected a key in PEM"))?;
        let asked = if SigningKey::is_encrypted(&pem) {
            passphrase(&path)
        } else {
            None
        };
        let key = SigningKey::from_pem(&pem, asked.as_deref())
            .map_err(|source| PublishError::Key { path, source })?;
        Ok(Some(key))
    }

    /// Which namespace this is.
    ///
    /// # Errors
    /// There is none yet, or the record is damaged.
    pub fn namespace(&self) -> Result<NamespaceRecord, PublishError> {
        let found: Option<NamespaceRecord> = self.load(NAMESPACE)?;
        found.ok_or_else(|| {
            folder_error(
                self.at(NAMESPACE),
                "no namespace yet. Run `assay namespace create` first",
            )
        })
    }

    pub(super) fn find_namespace(&self) -> Result<Option<NamespaceRecord>, PublishError> {
        self.load(NAMESPACE)
    }

    pub(super) fn save_namespace(&self, record: &NamespaceRecord) -> Result<(), PublishError> {
        self.save(NAMESPACE, record, PUBLIC)
    }

    /// The request that creates the namespace, kept until it is answered: made again it would have another identity.
    pub(super) fn pending(&self) -> Result<Option<CreateNamespace>, PublishError> {
        self.load(REQUEST)
    }

    /// The request that is kept is not the one that is wanted now.
    pub(super) fn other_terms(&self) -> PublishError {
        folder_error(
            self.at(REQUEST),
            "an earlier run signed another request here and did not finish. Run `assay namespace create` with the name and \
             options of that run, or remove this file to sign anew",
        )
    }

    pub(super) fn save_pending(&self, body: &CreateNamespace) -> Result<(), PublishError> {
        self.save(REQUEST, body, PUBLIC)
    }

    /// What this publisher trusted last, or the first state from the root that the folder made.
    pub(super) fn state(&self, pin: &Pin) -> Result<DeviceState, PublishError> {
        if let Some(state) = self.load(STATE)? {
            return Ok(state);
        }
        let body = self.pending()?.ok_or_else(|| {
            folder_error(
                self.at(REQUEST),
                "the namespace's first root is missing. Restore it from a backup",
            )
        })?;
        Ok(DeviceState::first(pin, body.root.as_bytes())?)
    }

    pub(super) fn save_state(&self, state: &DeviceState) -> Result<(), PublishError> {
        self.save(STATE, state, PUBLIC)
    }

    fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, PublishError> {
        let Some(bytes) = self.folder.read(name, MAX_RECORD)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| folder_error(self.at(name), format!("damaged ({e}). Restore it from a backup")))
    }

    fn save<T: Serialize>(&self, name: &str, value: &T, mode: u32) -> Result<(), PublishError> {
        let bytes =
            serde_json::to_vec_pretty(value).map_err(|e| folder_error(self.at(name), e.to_string()))?;
        Ok(self.folder.replace(name, &bytes, mode)?)
    }
}
