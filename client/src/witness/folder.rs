//! A witness's folder: its key, its name, the logs that it follows.

use std::collections::BTreeMap;
use std::path::Path;

use assay_authority::{KeyKind, SigningKey};
use assay_log::checkpoint::Origin;
use assay_log::note::{KeyName, NoteError, SignatureType};
use assay_log::{SignedCheckpoint, VerifierKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::answer::Witness;
use super::log::{self, Log};
use super::{StepHook, WitnessError, WitnessStep};
use crate::exclusive::ExclusiveFolder;
use crate::folder::{Folder, Kind};
use crate::store::records;

const KEY: &str = "witness.pem";
const RECORD: &str = "witness.json";
const LOGS: &str = "logs";
/// A key file is some hundred bytes.
const MAX_KEY_FILE: u64 = 64 << 10;
const PRIVATE: u32 = 0o600;

/// `witness.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// The record's version: 1.
    v: u32,
    /// What logs and devices know the witness by.
    key: VerifierKey,
}

/// A log that a witness follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedLog {
    /// Its unique name.
    pub origin: Origin,
    /// The keys of which one must have signed its checkpoints.
    pub keys: Vec<VerifierKey>,
    /// The last checkpoint that was cosigned; `None` before the first.
    pub last: Option<SignedCheckpoint>,
    /// Requests that are kept because they show two histories.
    pub equivocations: usize,
    /// Requests that are kept because they may: their proof does not hold.
    pub unproven: usize,
}

/// The witness that a folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWitness {
    /// What logs and devices know it by.
    pub key: VerifierKey,
    /// Whether its private key lies there under a passphrase.
    pub encrypted: bool,
}

/// A witness's folder, which no other process uses as long as this value lives.
pub struct WitnessFolder(ExclusiveFolder<WitnessStep, WitnessError>);

impl std::fmt::Debug for WitnessFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WitnessFolder").field(&self.path()).finish()
    }
}

impl WitnessFolder {
    /// Opens a folder, making it if it is missing.
    ///
    /// # Errors
    /// It cannot be made or opened, or another process uses it.
    pub fn open(path: &Path) -> Result<Self, WitnessError> {
        Ok(Self(ExclusiveFolder::open(path)?))
    }

    /// Calls `hook` right behind each durable step. Tests stop there.
    #[must_use]
    pub fn on_step(self, hook: StepHook) -> Self {
        Self(self.0.on_step(hook))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn root(&self) -> &Folder {
        &self.0.root
    }

    /// Makes the witness: a key, and the verifier key by which logs and devices know it. A run that was interrupted is gone on with,
    /// but not with a key that lies open where a passphrase is given: nobody was told that one, and another takes its place.
    ///
    /// # Errors
    /// A bad name, a witness in the folder, an encrypted key of another passphrase, or a file that cannot be written.
    pub fn init(&self, name: &str, passphrase: Option<&str>) -> Result<NewWitness, WitnessError> {
        let name = KeyName::new(name)?;
        if let Some(record) = record(self.root())? {
            return Err(WitnessError::Exists {
                path: self.path().to_owned(),
                name: record.key.name().to_string(),
            });
        }
        let usable = |pem: &Zeroizing<String>| passphrase.is_none() || SigningKey::is_encrypted(pem);
        let secret = match self.pem()?.filter(usable) {
            Some(pem) => self.decode(&pem, &|_| passphrase.map(str::to_owned))?,
            None => self.make_key(passphrase)?,
        };
        let key = self.verifier_key(name, &secret)?;
        let record = Record {
            v: 1,
            key: key.clone(),
        };
        records::save(self.root(), RECORD, &record)?;
        self.0.steps.done(WitnessStep::Name)?;
        let encrypted = self.pem()?.is_some_and(|pem| SigningKey::is_encrypted(&pem));
        Ok(NewWitness { key, encrypted })
    }

    fn make_key(&self, passphrase: Option<&str>) -> Result<SigningKey, WitnessError> {
        let fail = |source| WitnessError::Key {
            path: self.path().join(KEY),
            source,
        };
        let secret = SigningKey::generate(KeyKind::Ed25519).map_err(fail)?;
        let pem = match passphrase {
            Some(passphrase) => secret.to_encrypted_pem(passphrase),
            None => secret.to_pem(),
        };
        self.root().replace(KEY, pem.map_err(fail)?.as_bytes(), PRIVATE)?;
        self.0.steps.done(WitnessStep::Key)?;
        Ok(secret)
    }

    /// The private key's file; `None` where there is none yet.
    fn pem(&self) -> Result<Option<Zeroizing<String>>, WitnessError> {
        let bytes = self.root().read(KEY, MAX_KEY_FILE)?.map(Zeroizing::new);
        Ok(bytes.map(|bytes| Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())))
    }

    fn decode(
        &self,
        pem: &str,
        passphrase: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<SigningKey, WitnessError> {
        let path = self.path().join(KEY);
        let asked = match SigningKey::is_encrypted(pem) {
            true => passphrase(&path).map(Zeroizing::new),
            false => None,
        };
        let secret = SigningKey::from_pem(pem, asked.as_ref().map(|text| text.as_str()));
        secret.map_err(|source| WitnessError::Key { path, source })
    }

    fn verifier_key(&self, name: KeyName, secret: &SigningKey) -> Result<VerifierKey, WitnessError> {
        let raw = secret.public_key().ed25519_bytes();
        let raw = raw.map_err(|source| WitnessError::Key {
            path: self.path().join(KEY),
            source,
        })?;
        Ok(VerifierKey::witness(name, &raw)?)
    }

    /// The verifier key, for logs and devices.
    ///
    /// # Errors
    /// There is no witness here, or its record is damaged.
    pub fn key(&self) -> Result<VerifierKey, WitnessError> {
        key(self.root())
    }

    /// Follows a log from now on; a further key of a log that is followed counts beside its others.
    ///
    /// # Errors
    /// There is no witness here, the key is no log's, or the record cannot be written.
    pub fn add_log(&self, key: &VerifierKey) -> Result<FollowedLog, WitnessError> {
        self.key()?;
        let origin = origin(key)?;
        let folder = self
            .root()
            .ensure_sub(LOGS)?
            .ensure_sub(log::folder_name(&origin))?;
        let known = log::load(&folder)?;
        if known.is_none() {
            log::begin(&folder)?;
        }
        let mut followed = known.unwrap_or(FollowedLog {
            origin,
            keys: Vec::new(),
            last: None,
            equivocations: 0,
            unproven: 0,
        });
        if !followed.keys.contains(key) {
            followed.keys.push(key.clone());
            log::save_keys(&folder, &followed)?;
            // The folders themselves, which the record's own sync does not cover.
            self.root().sub(LOGS)?.sync()?;
            self.root().sync()?;
            self.0.steps.done(WitnessStep::Follow)?;
        }
        Ok(followed)
    }

    /// Begins to witness the logs that are followed. `passphrase` is asked for that of an encrypted key.
    ///
    /// # Errors
    /// There is no witness here, its key cannot be read or is another one, or a record is damaged.
    pub fn witness(self, passphrase: &dyn Fn(&Path) -> Option<String>) -> Result<Witness, WitnessError> {
        let key = self.key()?;
        let pem = self.pem()?.ok_or_else(|| WitnessError::NoWitness {
            path: self.path().join(KEY),
        })?;
        let secret = self.decode(&pem, passphrase)?;
        let found = self.verifier_key(key.name().clone(), &secret)?;
        if found != key {
            return Err(WitnessError::OtherKey {
                path: self.path().join(KEY),
                expected: key.to_string(),
                found: found.to_string(),
            });
        }
        let mut witnessed = BTreeMap::new();
        for followed in logs(self.root())? {
            let folder = self.root().sub(LOGS)?.sub(log::folder_name(&followed.origin))?;
            let steps = self.0.steps.clone();
            witnessed.insert(followed.origin.clone(), Log::new(folder, followed, steps));
        }
        Ok(Witness::new(key, secret, witnessed, self.0))
    }
}

fn record(root: &Folder) -> Result<Option<Record>, WitnessError> {
    let advice = "Restore it from a backup of this folder";
    Ok(records::load(root, RECORD, advice)?)
}

fn key(root: &Folder) -> Result<VerifierKey, WitnessError> {
    let record = record(root)?.ok_or_else(|| WitnessError::NoWitness {
        path: root.path().to_owned(),
    })?;
    Ok(record.key)
}

/// By origin.
fn logs(root: &Folder) -> Result<Vec<FollowedLog>, WitnessError> {
    let mut found = BTreeMap::new();
    if let Some(logs) = root.find(LOGS)? {
        for (name, kind) in logs.entries()? {
            if kind == Kind::Folder
                && let Some(log) = log::load(&logs.sub(&name)?)?
            {
                found.insert(log.origin.clone(), log);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The verifier key and the logs of the witness in a folder, also while another process runs it.
///
/// # Errors
/// There is no witness there, or a record is damaged.
pub fn view(path: &Path) -> Result<(VerifierKey, Vec<FollowedLog>), WitnessError> {
    let root = Folder::open(path)?;
    Ok((key(&root)?, logs(&root)?))
}

/// The origin of the log whose key this is (tlog-checkpoint: the key's name).
pub(super) fn origin(key: &VerifierKey) -> Result<Origin, WitnessError> {
    if key.kind() != SignatureType::Ed25519 {
        return Err(WitnessError::NotALog {
            key: key.to_string(),
            found: key.kind().to_string(),
        });
    }
    let name = key.name().to_string();
    Origin::try_from(name).map_err(|e| {
        WitnessError::Name(NoteError::Key {
            expected: "a name that can be a log's origin",
            found: e.to_string(),
        })
    })
}
