//! Private keys: made, read from PEM, written to PEM, used to sign.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use p256::ecdsa::signature::Signer;
use p256::elliptic_curve::Generate;
use pkcs8::der::pem::LineEnding;
use pkcs8::{EncodePrivateKey, EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::public::PublicKey;
use crate::token::{TokenError, TokenKey};

const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";
const BEGIN_SEC1: &str = "-----BEGIN EC PRIVATE KEY-----";

/// A kind of key, with the one signature scheme that Assay uses it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Ed25519 (RFC 8032): the default for TUF roles.
    Ed25519,
    /// ECDSA on P-256 with SHA-256: the default for model signatures.
    P256,
    /// ECDSA on P-384 with SHA-384.
    P384,
    /// ECDSA on P-521 with SHA-512: for model signatures only.
    P521,
}

impl KeyKind {
    /// `ed25519`, `p256`, `p384` or `p521`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::P521 => "p521",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyKind {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        [Self::Ed25519, Self::P256, Self::P384, Self::P521]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| KeyError::UnknownKind {
                found: text.chars().take(40).collect(),
            })
    }
}

/// A key that cannot be made, read, written or used for what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A kind by another name.
    #[error("kind of key: expected ed25519, p256, p384 or p521, found {found:?}")]
    UnknownKind {
        /// The beginning of the name.
        found: String,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
    /// Not a private key in PEM.
    #[error(
        "private key: expected PEM labelled \"PRIVATE KEY\", \"ENCRYPTED PRIVATE KEY\" or \"EC PRIVATE KEY\", found {found}"
    )]
    NotPrivatePem {
        /// The label, or what is wrong with the PEM.
        found: String,
    },
    /// Not a public key.
    #[error("public key: expected PEM or DER SubjectPublicKeyInfo labelled \"PUBLIC KEY\", found {found}")]
    NotPublic {
        /// The label, or what is wrong.
        found: String,
    },
    /// The key is encrypted and no passphrase was given.
    #[error("private key: it is encrypted; give its passphrase")]
    PassphraseNeeded,
    /// The key does not decrypt.
    #[error("private key: the passphrase is wrong, or the file is damaged; try the passphrase again")]
    WrongPassphrase,
    /// A passphrase of no characters protects nothing.
    #[error("private key: expected a passphrase to encrypt with, found an empty one")]
    EmptyPassphrase,
    /// An encryption that this software does not read.
    #[error(
        "private key: its encryption is not supported ({found}); convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
    )]
    Encryption {
        /// What it is.
        found: String,
    },
    /// Another algorithm or curve, or damaged bytes.
    #[error("key: expected Ed25519, P-256, P-384 or P-521, found {found}")]
    Unsupported {
        /// What is there.
        found: String,
    },
    /// TUF knows no scheme for the key that every client reads.
    #[error(
        "a {kind} key cannot sign TUF metadata: TUF clients read ed25519, p256 and p384; use one of those"
    )]
    NotForTuf {
        /// The kind.
        kind: KeyKind,
    },
    /// The key could not be encoded.
    #[error("key: cannot be encoded: {0}")]
    Encoding(String),
    /// A token does not sign.
    #[error(transparent)]
    Token(Box<TokenError>),
    /// A token signed something else, or with another key.
    #[error(
        "token: its signature does not verify under the recorded public key ({found}); it was thrown away. Is this the right token, \
         and does it work?"
    )]
    WrongSignature {
        /// What the token answered.
        found: String,
    },
    /// A key in a token cannot be written to a file.
    #[error("key: it is kept in a token, which does not give it away; make a new key for a file")]
    InToken,
}

impl From<TokenError> for KeyError {
    fn from(error: TokenError) -> Self {
        Self::Token(Box::new(error))
    }
}

/// A private key, here or in a token. Its memory is wiped when it is dropped, and `Debug` shows only the kind and the public key's
/// digest.
#[derive(Clone)]
pub struct SigningKey {
    inner: Inner,
    public: PublicKey,
}

/// Every variant wipes itself on drop.
#[derive(Clone)]
enum Inner {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
    /// Nothing secret is here.
    Token(Arc<dyn TokenKey>),
}

impl SigningKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        let random = |e: getrandom::Error| KeyError::Randomness(e.to_string());
        let rng = &mut getrandom::SysRng;
        Self::wrap(match kind {
            KeyKind::Ed25519 => {
                let mut seed = Zeroizing::new([0_u8; 32]);
                getrandom::fill(seed.as_mut_slice()).map_err(random)?;
                Inner::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed))
            }
            KeyKind::P256 => {
                Inner::P256(p256::ecdsa::SigningKey::try_generate_from_rng(rng).map_err(random)?)
            }
            KeyKind::P384 => {
                Inner::P384(p384::ecdsa::SigningKey::try_generate_from_rng(rng).map_err(random)?)
            }
            KeyKind::P521 => {
                Inner::P521(p521::ecdsa::SigningKey::try_generate_from_rng(rng).map_err(random)?)
            }
        })
    }

    /// Reads PKCS#8 PEM, plain or encrypted (PBES2, RFC 8018), or SEC1 PEM (`EC PRIVATE KEY`). The passphrase is not used for
    /// a plain key.
    ///
    /// # Errors
    /// [`KeyError::PassphraseNeeded`] and [`KeyError::WrongPassphrase`] can be answered by asking for the passphrase; the
    /// others say what is there instead of a key.
    pub fn from_pem(pem: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        // `openssl ecparam -genkey` writes the curve's parameters as a block of their own before the key.
        let pem = pem
            .find(BEGIN_SEC1)
            .and_then(|at| pem.get(at..))
            .unwrap_or(pem)
            .trim();
        if pem.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(KeyError::Encryption {
                found: "the old PEM encryption, Proc-Type: 4".to_owned(),
            });
        }
        let (label, document) =
            SecretDocument::from_pem(pem).map_err(|e| KeyError::NotPrivatePem { found: e.to_string() })?;
        match label {
            PLAIN => Self::from_pkcs8(document.as_bytes()),
            ENCRYPTED => Self::from_pkcs8(decrypt(&document, passphrase)?.as_bytes()),
            SEC1 => Self::from_sec1(document.as_bytes()),
            other => Err(KeyError::NotPrivatePem {
                found: format!("{other:?}"),
            }),
        }
    }

    /// Whether [`SigningKey::from_pem`] will need a passphrase for this text.
    pub fn is_encrypted(pem: &str) -> bool {
        pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    }

    /// PKCS#8 PEM without encryption.
    ///
    /// # Errors
    /// [`KeyError::Encoding`].
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.pkcs8()?.to_pem(PLAIN, LineEnding::LF).map_err(encoding)
    }

    /// PKCS#8 PEM encrypted by AES-256-CBC under a key that scrypt derives from the passphrase (N = 2^14, r = 8, p = 5, as OWASP
    /// advises; more memory than 32 MiB and OpenSSL refuses to read it).
    ///
    /// # Errors
    /// [`KeyError::EmptyPassphrase`], [`KeyError::Randomness`] or [`KeyError::Encoding`].
    pub fn to_encrypted_pem(&self, passphrase: &str) -> Result<Zeroizing<String>, KeyError> {
        if passphrase.is_empty() {
            return Err(KeyError::EmptyPassphrase);
        }
        let (mut salt, mut iv) = ([0_u8; 16], [0_u8; 16]);
        for buffer in [&mut salt, &mut iv] {
            getrandom::fill(buffer).map_err(|e| KeyError::Randomness(e.to_string()))?;
        }
        let cost = pkcs8::pkcs5::scrypt::Params::new(14, 8, 5).map_err(encoding)?;
        let parameters =
            pkcs8::pkcs5::pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).map_err(encoding)?;
        let plain = self.pkcs8()?;
        let info = PrivateKeyInfoRef::try_from(plain.as_bytes()).map_err(encoding)?;
        let encrypted = info
            .encrypt_with_params(parameters, passphrase)
            .map_err(encoding)?;
        encrypted.to_pem(ENCRYPTED, LineEnding::LF).map_err(encoding)
    }

    /// The kind.
    pub const fn kind(&self) -> KeyKind {
        self.public.kind()
    }

    /// The public key.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// A key that signs in its token, as the one with this public half.
    pub fn in_token(public: PublicKey, key: Arc<dyn TokenKey>) -> Self {
        let inner = Inner::Token(key);
        Self { inner, public }
    }

    /// Signs the message: Ed25519 (RFC 8032) as 64 raw bytes, ECDSA as ASN.1 DER, over SHA-256 for P-256, SHA-384 for P-384, SHA-512
    /// for P-521. A key that is here always makes the same signature for the same message (ECDSA with the nonce of RFC 6979); a
    /// token's ECDSA key makes another each time.
    ///
    /// # Errors
    /// [`KeyError::Token`], and [`KeyError::WrongSignature`]: what a token signed is verified before it leaves. A key that is here
    /// does not fail.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(match &self.inner {
            Inner::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Inner::P256(key) => Signer::<p256::ecdsa::DerSignature>::sign(key, message)
                .as_bytes()
                .to_vec(),
            Inner::P384(key) => Signer::<p384::ecdsa::DerSignature>::sign(key, message)
                .as_bytes()
                .to_vec(),
            Inner::P521(key) => Signer::<p521::ecdsa::DerSignature>::sign(key, message)
                .as_bytes()
                .to_vec(),
            Inner::Token(key) => self.sign_in_token(key.as_ref(), message)?,
        })
    }

    fn sign_in_token(&self, key: &dyn TokenKey, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let raw = key.sign(&match self.kind() {
            KeyKind::Ed25519 => message.to_vec(),
            KeyKind::P256 => Sha256::digest(message).to_vec(),
            KeyKind::P384 => Sha384::digest(message).to_vec(),
            KeyKind::P521 => Sha512::digest(message).to_vec(),
        })?;
        let wrong = || KeyError::WrongSignature {
            found: format!("{} bytes from a {} key", raw.len(), self.kind()),
        };
        let signature = match self.kind() {
            KeyKind::Ed25519 => raw.clone(),
            KeyKind::P256 => p256::ecdsa::Signature::from_slice(&raw)
                .map_err(|_| wrong())?
                .to_der()
                .as_bytes()
                .to_vec(),
            KeyKind::P384 => p384::ecdsa::Signature::from_slice(&raw)
                .map_err(|_| wrong())?
                .to_der()
                .as_bytes()
                .to_vec(),
            KeyKind::P521 => p521::ecdsa::Signature::from_slice(&raw)
                .map_err(|_| wrong())?
                .to_der()
                .as_bytes()
                .to_vec(),
        };
        match self.public.verifies(message, &signature) {
            true => Ok(signature),
            false => Err(wrong()),
        }
    }

    fn wrap(inner: Inner) -> Result<Self, KeyError> {
        let public = match &inner {
            Inner::Ed25519(key) => PublicKey::new(KeyKind::Ed25519, &key.verifying_key()),
            Inner::P256(key) => PublicKey::new(KeyKind::P256, key.verifying_key()),
            Inner::P384(key) => PublicKey::new(KeyKind::P384, key.verifying_key()),
            Inner::P521(key) => PublicKey::new(KeyKind::P521, key.verifying_key()),
            Inner::Token(_) => return Err(KeyError::InToken),
        }?;
        Ok(Self { inner, public })
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let unsupported = |found: String| KeyError::Unsupported { found };
        let info = PrivateKeyInfoRef::try_from(der).map_err(|e| unsupported(e.to_string()))?;
        let oid = info.algorithm.oid;
        let found = match info.algorithm.parameters_oid() {
            Ok(curve) => format!("algorithm {oid} with curve {curve}"),
            Err(_) => format!("algorithm {oid}"),
        };
        let inner = if let Ok(key) = ed25519_dalek::SigningKey::try_from(info.clone()) {
            Inner::Ed25519(key)
        } else if let Ok(key) = p256::SecretKey::try_from(info.clone()) {
            Inner::P256(key.into())
        } else if let Ok(key) = p384::SecretKey::try_from(info.clone()) {
            Inner::P384(key.into())
        } else if let Ok(key) = p521::SecretKey::try_from(info) {
            Inner::P521(key.into())
        } else {
            return Err(unsupported(found));
        };
        Self::wrap(inner)
    }

    fn from_sec1(der: &[u8]) -> Result<Self, KeyError> {
        // A shorter curve never takes a longer curve's scalar, so the first that fits is the right one.
        let inner = if let Ok(key) = p256::SecretKey::from_sec1_der(der) {
            Inner::P256(key.into())
        } else if let Ok(key) = p384::SecretKey::from_sec1_der(der) {
            Inner::P384(key.into())
        } else if let Ok(key) = p521::SecretKey::from_sec1_der(der) {
            Inner::P521(key.into())
        } else {
            return Err(KeyError::Unsupported {
                found: "an EC private key of another curve".to_owned(),
            });
        };
        Self::wrap(inner)
    }

    fn pkcs8(&self) -> Result<SecretDocument, KeyError> {
        match &self.inner {
            // Without the public key the document is PKCS#8 version 1, which more software reads than version 2.
            Inner::Ed25519(key) => {
                let mut pair = ed25519_dalek::pkcs8::KeypairBytes::from(key);
                pair.public_key = None;
                pair.to_pkcs8_der()
            }
            Inner::P256(key) => key.to_pkcs8_der(),
            Inner::P384(key) => key.to_pkcs8_der(),
            Inner::P521(key) => key.to_pkcs8_der(),
            Inner::Token(_) => return Err(KeyError::InToken),
        }
        .map_err(encoding)
    }
}

fn encoding(e: impl fmt::Display) -> KeyError {
    KeyError::Encoding(e.to_string())
}

fn decrypt(document: &SecretDocument, passphrase: Option<&str>) -> Result<SecretDocument, KeyError> {
    let unsupported = |e: &dyn fmt::Display| KeyError::Encryption { found: e.to_string() };
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|e| unsupported(&e))?;
    let passphrase = passphrase.ok_or(KeyError::PassphraseNeeded)?;
    info.decrypt(passphrase).map_err(|e| match e {
        pkcs8::Error::EncryptedPrivateKey(
            inner @ (pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs8::pkcs5::Error::AlgorithmParametersInvalid { .. }),
        ) => unsupported(&inner),
        // One wrong passphrase in 256 leaves padding that looks right, and then bytes that are no key.
        _ => KeyError::WrongPassphrase,
    })
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public", &self.public)
            .field("secret", &"redacted")
            .finish()
    }
}
