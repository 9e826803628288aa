//! Key files that name a key in a token, and what a token signed.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use assay_authority::{KeyKind, PublicKey, TokenError, TokenKey};
use assay_schema::Sha256Digest;
use serde::{Deserialize, Serialize};

use super::lines::End;
use super::{PublishError, folder_error};
use crate::folder::Folder;

/// What tokens with ECDSA keys signed: they never sign the same way twice.
const SIGNATURES: &str = "token-signatures.jsonl";
/// A line is some 450 bytes; the journal beside it grows as fast.
const MAX_SIGNATURES: u64 = 256 << 20;
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----";

/// `root.pkcs11`: which key of which token stands where `root.pem` would, and its public half.
pub(super) struct KeyFile {
    pub(super) uri: String,
    pub(super) public: PublicKey,
}

impl KeyFile {
    /// Reads the URI in the first line that is neither empty nor a comment (`#`), and the PEM after it.
    pub(super) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, PublishError> {
        let bad = |found: &str| {
            let reason = format!("expected a pkcs11: URI and then a public key in PEM, found {found}");
            folder_error(path.to_owned(), reason)
        };
        let text = String::from_utf8(bytes).map_err(|_| bad("no text"))?;
        let at = text.find(PUBLIC_KEY).ok_or_else(|| bad("no public key"))?;
        let (head, pem) = text.split_at(at);
        let mut lines = head
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let uri = match (lines.next(), lines.next()) {
            (Some(uri), None) => uri.to_owned(),
            (None, _) => return Err(bad("no URI")),
            (Some(_), Some(_)) => return Err(bad("more than one line before the public key")),
        };
        let public = PublicKey::from_pem(pem).map_err(|source| PublishError::Key {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { uri, public })
    }

    pub(super) fn text(uri: &str, pem: &str) -> String {
        format!("# The private key is in a token (RFC 7512); this is its public half.\n{uri}\n{pem}")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    v: u32,
    /// SHA-256 of the public key (SubjectPublicKeyInfo).
    key: Sha256Digest,
    /// What was signed, in hexadecimal: a digest.
    digest: String,
    /// The signature, in hexadecimal: r and s.
    signature: String,
}

/// A token's ECDSA key that gives the same signature for the same digest again. A run that was interrupted is gone on with by the same
/// bytes only so: a release manifest names its model signature by digest.
#[derive(Debug)]
pub(super) struct Remembering {
    folder: Folder,
    key: Sha256Digest,
    token: Arc<dyn TokenKey>,
}

impl Remembering {
    /// The token's key as it is used from this folder.
    pub(super) fn of(folder: &Folder, public: &PublicKey, token: Arc<dyn TokenKey>) -> Arc<dyn TokenKey> {
        if public.kind() == KeyKind::Ed25519 {
            // Deterministic (RFC 8032).
            return token;
        }
        Arc::new(Self {
            folder: folder.clone(),
            key: crate::sha256(public.spki_der()),
            token,
        })
    }
}

impl TokenKey for Remembering {
    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, TokenError> {
        let fail = |reason: String| {
            let path = self.folder.path().join(SIGNATURES);
            TokenError::Memory(format!("{}: {reason}", path.display()))
        };
        let mut file = self
            .folder
            .write_file(SIGNATURES)
            .map_err(|e| fail(e.to_string()))?;
        // Held until the new line is written: two runs at once give one signature.
        file.lock().map_err(|e| fail(e.to_string()))?;
        let mut text = String::new();
        let read = Read::by_ref(&mut file)
            .take(MAX_SIGNATURES + 1)
            .read_to_string(&mut text);
        if read.map_err(|e| fail(e.to_string()))? as u64 > MAX_SIGNATURES {
            return Err(fail(format!("more than {MAX_SIGNATURES} bytes; move it away")));
        }
        let end = End::of::<Line>(&text);
        let digest = hex::encode(input);
        for (n, line) in end.lines(&text).enumerate() {
            let bad = || fail(format!("line {}: damaged. Move the file away", n + 1));
            let line: Line = serde_json::from_str(line).map_err(|_| bad())?;
            if line.key == self.key && line.digest == digest {
                return hex::decode(&line.signature).map_err(|_| bad());
            }
        }
        let signature = self.token.sign(input)?;
        let line = Line {
            v: 1,
            key: self.key,
            digest,
            signature: hex::encode(&signature),
        };
        let line = serde_json::to_string(&line).map_err(|e| fail(e.to_string()))?;
        end.append(&mut file, &format!("{line}\n"))
            .map_err(|e| fail(e.to_string()))?;
        self.folder.sync().map_err(|e| fail(e.to_string()))?;
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_authority::SigningKey;
    use std::sync::atomic::{AtomicU8, Ordering};

    #[derive(Debug, Default)]
    struct Counting(AtomicU8);

    impl TokenKey for Counting {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, TokenError> {
            Ok(vec![self.0.fetch_add(1, Ordering::Relaxed); 4])
        }
    }

    fn public(kind: KeyKind) -> PublicKey {
        SigningKey::generate(kind).unwrap().public_key().clone()
    }

    #[test]
    fn a_tokens_ecdsa_signature_is_the_same_again_after_an_interrupted_run() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let token: Arc<dyn TokenKey> = Arc::new(Counting::default());
        let (one, two) = (public(KeyKind::P256), public(KeyKind::P256));
        let sign = |key: &PublicKey, digest: &[u8]| {
            Remembering::of(&folder, key, Arc::clone(&token))
                .sign(digest)
                .unwrap()
        };
        let first = sign(&one, b"digest");
        assert_ne!(sign(&one, b"another"), first);
        assert_ne!(sign(&two, b"digest"), first);
        // Killed while it wrote a line: that signature never left.
        let path = dir.path().join(SIGNATURES);
        let kept = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, kept + "{\"v\":1,\"key\":\"12").unwrap();
        assert_eq!(sign(&one, b"digest"), first);
        sign(&one, b"third");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
        // Ed25519 needs no memory.
        sign(&public(KeyKind::Ed25519), b"digest");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
    }

    #[test]
    fn refuses_damaged_remembered_signatures() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        std::fs::write(dir.path().join(SIGNATURES), "garbage\n").unwrap();
        let key = Remembering::of(&folder, &public(KeyKind::P384), Arc::new(Counting::default()));
        assert!(matches!(key.sign(b"digest"), Err(TokenError::Memory(_))));
    }

    #[test]
    fn refuses_a_key_file_without_its_parts() {
        let pem = public(KeyKind::P256).to_pem().unwrap();
        let parse = |text: String| KeyFile::parse(Path::new("root.pkcs11"), text.into_bytes());
        let good = parse(KeyFile::text("pkcs11:token=acme", &pem)).unwrap();
        assert_eq!(good.uri, "pkcs11:token=acme");
        for bad in [
            String::new(),
            pem.clone(),
            "pkcs11:token=acme\n".to_owned(),
            format!("pkcs11:token=a\npkcs11:token=b\n{pem}"),
            format!("# pkcs11:token=a\n{pem}"),
            format!("pkcs11:token=a\n{PUBLIC_KEY}\nAAAA\n-----END PUBLIC KEY-----\n"),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }
}
