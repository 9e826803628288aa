//! Putting a check bundle together, never longer than [`MAX_BUNDLE`].
//!
//! What does not fit or is not UTF-8 is left out: a device fetches it from its static path.

use assay_schema::bundle::{BundledBlob, LogPart, RoleFile};
use assay_schema::limits::MAX_BUNDLE;
use assay_schema::{CheckBundle, Sha256Digest};
use bytes::Bytes;

use super::cache::Assembled;
use crate::metadata::sha256;

/// JSON around one part: quotes, field names, a digest.
const AROUND: u64 = 128;

/// A bundle that grows.
#[derive(Debug)]
pub struct Builder {
    bundle: CheckBundle,
    used: u64,
}

impl Builder {
    /// Begins with the files that every check needs.
    pub fn new(timestamp: String, snapshot: String, targets: String) -> Self {
        let used = 2 * AROUND + cost(&timestamp) + cost(&snapshot) + cost(&targets);
        let (roots, delegated, blobs) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            bundle: CheckBundle {
                v: 1,
                roots,
                timestamp,
                snapshot,
                targets,
                delegated,
                blobs,
                log: None,
            },
            used,
        }
    }

    /// Adds the next root; false if it does not fit. At most half of a bundle are roots: a device that is that far behind
    /// goes on from the static paths.
    pub fn root(&mut self, text: String) -> bool {
        let fits = self.take(&text, MAX_BUNDLE / 2);
        if fits {
            self.bundle.roots.push(text);
        }
        fits
    }

    /// Adds a delegated role; false if it does not fit.
    pub fn role(&mut self, role: String, metadata: String) -> bool {
        let fits = self.take(&metadata, MAX_BUNDLE);
        if fits {
            self.bundle.delegated.push(RoleFile { role, metadata });
        }
        fits
    }

    /// Adds a blob once; false if it does not fit or is not UTF-8.
    pub fn blob(&mut self, sha256: Sha256Digest, bytes: Vec<u8>) -> bool {
        if self.has(&sha256) {
            return true;
        }
        let Ok(content) = String::from_utf8(bytes) else {
            return false;
        };
        let fits = self.take(&content, MAX_BUNDLE);
        if fits {
            self.bundle.blobs.push(BundledBlob { sha256, content });
        }
        fits
    }

    /// Adds the snapshot's proof; false if it does not fit.
    pub fn log(&mut self, part: LogPart) -> bool {
        let fits = self.take(&part.proof, MAX_BUNDLE);
        if fits {
            self.bundle.log = Some(part);
        }
        fits
    }

    /// Whether the bundle has this blob.
    pub fn has(&self, sha256: &Sha256Digest) -> bool {
        self.bundle.blobs.iter().any(|b| b.sha256 == *sha256)
    }

    /// How many bytes a further blob may have at most.
    pub fn room(&self) -> u64 {
        MAX_BUNDLE.saturating_sub(self.used).saturating_sub(AROUND)
    }

    fn take(&mut self, text: &str, limit: u64) -> bool {
        let used = self.used + AROUND + cost(text);
        let fits = used <= limit;
        if fits {
            self.used = used;
        }
        fits
    }

    /// The bundle's JSON and its digest.
    ///
    /// # Errors
    /// Serialisation fails.
    pub fn finish(self) -> Result<Assembled, serde_json::Error> {
        let bytes = Bytes::from(serde_json::to_vec(&self.bundle)?);
        Ok(Assembled {
            sha256: sha256(&bytes),
            bytes,
        })
    }
}

/// Bytes of a text as a JSON string.
fn cost(text: &str) -> u64 {
    let escaped = |b: u8| match b {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> Builder {
        Builder::new("{\"t\":1}".into(), "{}".into(), "{}".into())
    }

    #[test]
    fn a_bundle_reads_back_and_names_its_digest() {
        let mut builder = builder();
        assert!(builder.root("{}".into()));
        assert!(builder.role("model.m.0".into(), "{\n}".into()));
        assert!(builder.blob(sha256(b"x"), b"x".to_vec()));
        assert!(builder.blob(sha256(b"x"), b"x".to_vec()));
        let used = builder.used;
        let made = builder.finish().unwrap();
        assert!(made.bytes.len() as u64 <= used, "{} > {used}", made.bytes.len());
        assert_eq!(made.sha256, sha256(&made.bytes));
        let read: CheckBundle = serde_json::from_slice(&made.bytes).unwrap();
        assert_eq!(read.blobs.len(), 1);
        assert_eq!(read.delegated[0].metadata, "{\n}");
    }

    #[test]
    fn blobs_that_are_binary_or_do_not_fit_are_left_out() {
        let mut builder = builder();
        assert!(!builder.blob(sha256(b"\xff"), vec![0xff]));
        let large = vec![b'"'; usize::try_from(MAX_BUNDLE / 2).unwrap()];
        assert!(!builder.blob(sha256(&large), large));
        assert!(builder.blob(sha256(b"small"), b"small".to_vec()));
        let made = builder.finish().unwrap();
        assert!(made.bytes.len() as u64 <= MAX_BUNDLE);
    }
}
