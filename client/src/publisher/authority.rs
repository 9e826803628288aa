//! The authority's folder: private keys, the namespace's identity, and what this publisher last trusted.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_authority::token::NoTokens;
use assay_authority::{FoundKey, KeyError, KeyKind, PublicKey, SigningKey, TokenError, Tokens};
use assay_schema::api::CreateNamespace;
use assay_schema::{NamespaceName, Sha256Digest};
use assay_verifier::{DeviceState, Pin};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::token::{KeyFile, Remembering};
use super::{PublishError, folder_error};
use crate::folder::Folder;

const NAMESPACE: &str = "namespace.json";
const REQUEST: &str = "create.json";
const STATE: &str = "state.json";
/// Empty; locked by whoever reads the state to write it.
const TURN: &str = "state.lock";
/// A key file is some hundred bytes; one with comments a few thousand.
const MAX_KEY_FILE: u64 = 64 << 10;
const MAX_RECORD: u64 = 32 << 20;
/// Keys of one role that a folder holds at most, as `assay keygen` makes them.
const MOST_KEYS: u32 = 16;
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
    /// `status.pem`: signs what the authority restricts. A scheduled job will do.
    Status,
}

impl KeyRole {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Root,
        Self::Targets,
        Self::Publisher,
        Self::ModelSigning,
        Self::Status,
    ];

    /// `root`, `targets`, `publisher`, `model-signing` or `status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Publisher => "publisher",
            Self::ModelSigning => "model-signing",
            Self::Status => "status",
        }
    }

    /// The kind of key that is made unless another is asked for: P-256 where `model_signing` must be able to verify it.
    pub const fn default_kind(self) -> KeyKind {
        match self {
            Self::ModelSigning => KeyKind::P256,
            _ => KeyKind::Ed25519,
        }
    }

    /// The name of the `number`th key, counted from 1: `root`, `root-2`. Its file is `root.pem`, or `root.pkcs11` for a key in a
    /// token.
    pub fn key_name(self, number: u32) -> String {
        match number {
            0 | 1 => self.name().to_owned(),
            n => format!("{}-{n}", self.name()),
        }
    }
}

/// Where a key of the folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In the PEM file.
    File,
    /// In the token that this URI names.
    Token {
        /// RFC 7512.
        uri: String,
    },
}

/// A key of the folder, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// What it is for.
    pub role: KeyRole,
    /// Its file.
    pub file: String,
    /// Where it is.
    pub place: KeyPlace,
    /// Its public half; `None` where the file of a PEM key's public half is missing.
    pub public: Option<PublicKey>,
}

fn pem(name: &str) -> String {
    format!("{name}.pem")
}

fn in_token(name: &str) -> String {
    format!("{name}.pkcs11")
}

impl std::str::FromStr for KeyRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| {
                format!("expected root, targets, publisher, model-signing or status, found {text:?}")
            })
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
    tokens: Arc<dyn Tokens>,
}

impl AuthorityFolder {
    /// Opens the folder, making it if it is missing.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn open(path: &Path) -> Result<Self, PublishError> {
        Ok(Self {
            folder: Folder::ensure(path)?,
            tokens: Arc::new(NoTokens),
        })
    }

    /// Lets keys be used that are kept in tokens.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Arc<dyn Tokens>) -> Self {
        self.tokens = tokens;
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
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
        let name = role.key_name(number);
        self.vacant(&name)?;
        let file = pem(&name);
        let path = self.at(&file);
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
        self.write_key(&file, pem.as_bytes(), key.public_key())?;
        Ok(key.public_key().clone())
    }

    /// Makes the next key of a role in the token that the URI (RFC 7512) names, and writes down where it is in `<role>.pkcs11`.
    /// Its label is `assay-root` and so on, with the URI's `object` in place of `assay`.
    ///
    /// # Errors
    /// The file exists, or the token refuses.
    pub fn generate_in_token(
        &self,
        role: KeyRole,
        number: u32,
        kind: KeyKind,
        uri: &str,
    ) -> Result<PublicKey, PublishError> {
        let name = role.key_name(number);
        self.vacant(&name)?;
        let made = self.tokens.make(uri, &name, kind);
        self.take(&name, made)
    }

    /// Writes down a key that lies in a token already, as the next key of a role.
    ///
    /// # Errors
    /// The file exists, or the token has no such key.
    pub fn add_from_token(&self, role: KeyRole, number: u32, uri: &str) -> Result<PublicKey, PublishError> {
        let name = role.key_name(number);
        self.vacant(&name)?;
        let found = self.tokens.find(uri);
        self.take(&name, found)
    }

    fn take(&self, name: &str, found: Result<FoundKey, TokenError>) -> Result<PublicKey, PublishError> {
        let file = in_token(name);
        let path = self.at(&file);
        let fail = |source| PublishError::Key {
            path: path.clone(),
            source,
        };
        let FoundKey { uri, public } = found.map_err(|e| fail(e.into()))?;
        let text = KeyFile::text(&uri, &public.to_pem().map_err(fail)?);
        self.write_key(&file, text.as_bytes(), &public)?;
        Ok(public)
    }

    fn write_key(&self, file: &str, bytes: &[u8], public: &PublicKey) -> Result<(), PublishError> {
        // Created exclusively: two runs at once cannot overwrite each other's key.
        self.folder.create(file, bytes, PRIVATE)?;
        let public = public.to_pem().map_err(|source| PublishError::Key {
            path: self.at(file),
            source,
        })?;
        self.folder
            .replace(&format!("{file}.pub"), public.as_bytes(), PUBLIC)?;
        Ok(())
    }

    fn vacant(&self, name: &str) -> Result<(), PublishError> {
        for file in [pem(name), in_token(name)] {
            if self.folder.kind(&file)?.is_some() {
                return Err(PublishError::KeyExists { path: self.at(&file) });
            }
        }
        Ok(())
    }

    /// The lowest number of which the role has no key here.
    ///
    /// # Errors
    /// There are as many keys as a folder may hold, or it cannot be read.
    pub fn next_number(&self, role: KeyRole) -> Result<u32, PublishError> {
        for number in 1..=MOST_KEYS {
            match self.vacant(&role.key_name(number)) {
                Ok(()) => return Ok(number),
                Err(PublishError::KeyExists { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        let reason = format!("{MOST_KEYS} {} keys already; use another folder", role.name());
        Err(folder_error(self.path().to_owned(), reason))
    }

    /// The keys of the folder, without their secrets: nothing is decrypted, and no token is asked.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn list_keys(&self) -> Result<Vec<KeyView>, PublishError> {
        let mut keys = Vec::new();
        for role in KeyRole::ALL {
            for name in (1..=MOST_KEYS).map(|number| role.key_name(number)) {
                if let Some(found) = self.key_file(&name)? {
                    let (file, uri, public) = (in_token(&name), found.uri, Some(found.public));
                    let place = KeyPlace::Token { uri };
                    keys.push(KeyView {
                        role,
                        file,
                        place,
                        public,
                    });
                }
                let file = pem(&name);
                if self.folder.kind(&file)?.is_some() {
                    let public = self.public_half(&file)?;
                    let place = KeyPlace::File;
                    keys.push(KeyView {
                        role,
                        file,
                        place,
                        public,
                    });
                }
            }
        }
        Ok(keys)
    }

    fn public_half(&self, file: &str) -> Result<Option<PublicKey>, PublishError> {
        let file = format!("{file}.pub");
        let Some(bytes) = self.folder.read(&file, MAX_KEY_FILE)? else {
            return Ok(None);
        };
        PublicKey::from_pem(&String::from_utf8_lossy(&bytes))
            .map(Some)
            .map_err(|source| PublishError::Key {
                path: self.at(&file),
                source,
            })
    }

    fn key_file(&self, name: &str) -> Result<Option<KeyFile>, PublishError> {
        let file = in_token(name);
        let found = self.folder.read(&file, MAX_KEY_FILE)?;
        found
            .map(|bytes| KeyFile::parse(&self.at(&file), bytes))
            .transpose()
    }

    /// All keys of a role that the folder has: `root.pem`, `root-2.pkcs11` and so on. A key in a token is not touched before it
    /// signs.
    ///
    /// # Errors
    /// There is none, or one cannot be read or decrypted.
    pub fn keys(
        &self,
        role: KeyRole,
        passphrase: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<Vec<SigningKey>, PublishError> {
        let keys = self.keys_at_hand(role, passphrase)?;
        if keys.is_empty() {
            return Err(PublishError::NoKey {
                path: self.at(&pem(&role.key_name(1))),
            });
        }
        Ok(keys)
    }

    /// As [`AuthorityFolder::keys`], and none is no error. A number may be missing: its key was retired, or is kept elsewhere.
    ///
    /// # Errors
    /// One cannot be read or decrypted.
    pub fn keys_at_hand(
        &self,
        role: KeyRole,
        passphrase: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<Vec<SigningKey>, PublishError> {
        let mut keys = Vec::new();
        for number in 1..=MOST_KEYS {
            let name = role.key_name(number);
            let (here, in_token) = (self.key(&pem(&name), passphrase)?, self.key_in_token(&name)?);
            if here.is_some() && in_token.is_some() {
                let reason = "the key is in a file and in a token: remove the one that is not used";
                return Err(folder_error(self.at(&name), reason));
            }
            keys.extend(here.or(in_token));
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

    fn key_in_token(&self, name: &str) -> Result<Option<SigningKey>, PublishError> {
        let Some(KeyFile { uri, public }) = self.key_file(name)? else {
            return Ok(None);
        };
        let found = self.tokens.key(&uri, &public).map_err(|e| PublishError::Key {
            path: self.at(&in_token(name)),
            source: KeyError::from(e),
        })?;
        let token = Remembering::of(&self.folder, &public, found);
        Ok(Some(SigningKey::in_token(public, token)))
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

    /// Whether it belongs to a namespace, or signed the first root of one.
    pub(super) fn is_anybodys(&self) -> Result<bool, PublishError> {
        Ok(self.folder.kind(NAMESPACE)?.is_some() || self.folder.kind(REQUEST)?.is_some())
    }

    pub(super) fn save_pending(&self, body: &CreateNamespace) -> Result<(), PublishError> {
        self.save(REQUEST, body, PUBLIC)
    }

    /// What this publisher trusted last, or the first state from the root that the folder made.
    pub(super) fn state(&self, pin: &Pin) -> Result<DeviceState, PublishError> {
        if let Some(state) = self.load(STATE)? {
            return Ok(state);
        }
        // As on a device: with the state its floors are gone, and an older one would be taken for the newest.
        if self.trusted_before(pin.identity)? {
            return Err(folder_error(
                self.at(STATE),
                format!(
                    "missing, though this folder signed later versions: what it trusted last is gone. Restore it from a backup, or read \
                     it again from the registry: `assay namespace join {} --fingerprint {}`",
                    pin.namespace, pin.identity
                ),
            ));
        }
        let body = self.pending()?.ok_or_else(|| {
            folder_error(
                self.at(REQUEST),
                "the namespace's first root is missing. Restore it from a backup",
            )
        })?;
        Ok(DeviceState::first(pin, body.root.as_bytes())?)
    }

    /// A turn at the state, until it is dropped: of two runs that read, ask and write, the slower must not take the floors back.
    pub(super) fn turn(&self) -> Result<File, PublishError> {
        let file = self.folder.write_file(TURN)?;
        file.lock()
            .map_err(|e| folder_error(self.at(TURN), e.to_string()))?;
        Ok(file)
    }

    pub(super) fn has_state(&self) -> Result<bool, PublishError> {
        Ok(self.folder.kind(STATE)?.is_some())
    }

    pub(super) fn remove_state(&self) -> Result<(), PublishError> {
        Ok(self.folder.remove_file(STATE)?)
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
