//! Sealing of the registry's online keys: the database holds only ciphertext, so that a copy of it signs nothing.
//!
//! Trusted with: the confidentiality of snapshot and timestamp keys against whoever reads the database alone. A thief of both
//! the database and the seal key's file can withhold, freeze, or choose among unexpired approved states; nothing more.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use assay_schema::NamespaceName;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};

const KEY: usize = 32;
const NONCE: usize = 12;
/// What the log's key is sealed as; a namespace's name is never empty.
const LOG: &str = "|log";

/// The sealing key, read once at start.
#[derive(Clone)]
pub struct SealKey(ChaCha20Poly1305);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(redacted)")
    }
}

/// The sealing key, read from its file when it is first needed.
#[derive(Debug, Clone)]
pub struct Sealing {
    path: PathBuf,
    key: Arc<OnceLock<SealKey>>,
}

impl Sealing {
    /// The key in this file.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            key: Arc::default(),
        }
    }

    /// The key; its file is made if there is none.
    ///
    /// # Errors
    /// See [`SealKey::load_or_create`].
    pub fn key(&self) -> Result<&SealKey, SealError> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let key = SealKey::load_or_create(&self.path)?;
        Ok(self.key.get_or_init(|| key))
    }
}

/// Why the sealing key cannot be used, or a sealed key not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or made.
    #[error("online key file {path}: {source}; see that the registry's user may read and write it")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file is not 32 bytes.
    #[error("online key file {path}: expected 32 bytes, found {found}; restore it from a backup")]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes found, at most 33.
        found: usize,
    },
    /// The system gives no random numbers.
    #[error("sealing an online key: the system's random numbers are not available: {0}")]
    Random(getrandom::Error),
    /// Encryption failed, which only an over-long input can bring about.
    #[error("sealing an online key: the key is too long")]
    Seal,
    /// Another sealing key, or changed bytes.
    #[error(
        "opening the log's key: it was sealed under another online key file, or was changed in the database; restore both from the \
         same backup"
    )]
    OpenLog,
    /// Another sealing key, another namespace or role, or changed bytes.
    #[error(
        "opening the {role} key of {namespace}: it was sealed under another online key file, or was changed in the \
         database; restore both from the same backup"
    )]
    Open {
        /// The key's namespace.
        namespace: NamespaceName,
        /// The key's role.
        role: &'static str,
    },
}

impl SealKey {
    /// Uses these bytes.
    pub fn new(key: [u8; KEY]) -> Self {
        Self(ChaCha20Poly1305::new(&key.into()))
    }

    /// Reads the key file, or makes it with a random key and mode 0600 where there is none.
    ///
    /// # Errors
    /// [`SealError::File`], [`SealError::Length`], [`SealError::Random`].
    pub fn load_or_create(path: &Path) -> Result<Self, SealError> {
        let fail = |source| SealError::File {
            path: path.to_owned(),
            source,
        };
        match std::fs::File::open(path) {
            Ok(file) => return Self::read(path, file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(fail(e)),
        }
        let mut key = [0; KEY];
        getrandom::fill(&mut key).map_err(SealError::Random)?;
        // Written whole under another name first: a crash in between never leaves a short key behind.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let made =
            write_private(&temporary, &key).and_then(|()| match std::fs::hard_link(&temporary, path) {
                // Another process was first: its key is the key.
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
                _ => Ok(()),
            });
        let removed = std::fs::remove_file(&temporary);
        made.and(removed).map_err(fail)?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::File::open(parent)
                .and_then(|dir| dir.sync_all())
                .map_err(fail)?;
        }
        Self::read(path, std::fs::File::open(path).map_err(fail)?)
    }

    fn read(path: &Path, file: std::fs::File) -> Result<Self, SealError> {
        let mut bytes = Vec::with_capacity(KEY + 1);
        file.take(KEY as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| SealError::File {
                path: path.to_owned(),
                source,
            })?;
        let key: [u8; KEY] = bytes.as_slice().try_into().map_err(|_| SealError::Length {
            path: path.to_owned(),
            found: bytes.len(),
        })?;
        Ok(Self::new(key))
    }

    /// Nonce and ciphertext of a private key; only the same namespace and role open it again.
    ///
    /// # Errors
    /// [`SealError::Random`], [`SealError::Seal`].
    pub fn seal(&self, namespace: &NamespaceName, role: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_as(&associated(namespace, role), secret)
    }

    /// Nonce and ciphertext of the log's private key, which opens as no namespace's.
    ///
    /// # Errors
    /// As [`SealKey::seal`].
    pub fn seal_log(&self, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_as(LOG, secret)
    }

    /// The private key that [`SealKey::seal_log`] sealed.
    ///
    /// # Errors
    /// [`SealError::OpenLog`].
    pub fn open_log(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.open_as(LOG, sealed).ok_or(SealError::OpenLog)
    }

    /// The private key that [`SealKey::seal`] sealed.
    ///
    /// # Errors
    /// [`SealError::Open`].
    pub fn open(
        &self,
        namespace: &NamespaceName,
        role: &'static str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let fail = || SealError::Open {
            namespace: namespace.clone(),
            role,
        };
        self.open_as(&associated(namespace, role), sealed)
            .ok_or_else(fail)
    }

    fn seal_as(&self, associated: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(SealError::Random)?;
        let payload = Payload {
            msg: secret,
            aad: associated.as_bytes(),
        };
        let sealed = self
            .0
            .encrypt(&nonce.into(), payload)
            .map_err(|_| SealError::Seal)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open_as(&self, associated: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload {
            msg: body,
            aad: associated.as_bytes(),
        };
        self.0.decrypt(&(*nonce).into(), payload).ok()
    }
}

/// Neither a namespace's name nor a role's holds `|`.
fn associated(namespace: &NamespaceName, role: &str) -> String {
    format!("{namespace}|{role}")
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_key_opens_for_its_own_namespace_and_role_only() {
        let key = SealKey::new([7; 32]);
        let (acme, other) = ("acme".parse().unwrap(), "acme2".parse().unwrap());
        let mut sealed = key.seal(&acme, "snapshot", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(key.open(&acme, "snapshot", &sealed).unwrap(), b"secret");
        assert!(key.open(&acme, "timestamp", &sealed).is_err());
        assert!(key.open(&other, "snapshot", &sealed).is_err());
        assert!(SealKey::new([8; 32]).open(&acme, "snapshot", &sealed).is_err());
        assert!(key.open(&acme, "snapshot", &sealed[..5]).is_err());
        *sealed.last_mut().unwrap() ^= 1;
        assert!(key.open(&acme, "snapshot", &sealed).is_err());
    }

    #[test]
    fn the_key_file_is_private_and_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        let acme = "acme".parse().unwrap();
        let sealed = SealKey::load_or_create(&path)
            .unwrap()
            .seal(&acme, "snapshot", b"x")
            .unwrap();
        assert!(
            SealKey::load_or_create(&path)
                .unwrap()
                .open(&acme, "snapshot", &sealed)
                .is_ok()
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_file_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        for bad in [vec![0; 31], vec![0; 33], vec![]] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(
                SealKey::load_or_create(&path),
                Err(SealError::Length { .. })
            ));
        }
    }
}
