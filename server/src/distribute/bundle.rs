//! Putting a check bundle together, never longer than [`MAX_BUNDLE`].
//!
//! What does not fit or is not UTF-8 is left out: a device fetches it from its static path. Roots have one half of a bundle, the
//! namespace's state the other: so the state is the same for every device, however old its root.

use assay_schema::bundle::{BundledBlob, LogPart, RoleFile};
use assay_schema::limits::MAX_BUNDLE;
use assay_schema::{CheckBundle, Sha256Digest};

/// JSON around one part: quotes, field names, a digest.
const AROUND: u64 = 128;

/// What each half may have.
const HALF: u64 = MAX_BUNDLE / 2;

/// A bundle that grows.
#[derive(Debug)]
pub struct Builder {
    bundle: CheckBundle,
    used: u64,
}

/// As many of these roots, the next one first, as fit: a device that is further behind goes on from there with its next check.
pub fn fitting(roots: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut used = 0;
    let fits = |text: &String| {
        used += AROUND + cost(text);
        used <= HALF
    };
    // Roots must follow one another: after one that does not fit none is of use.
    roots.into_iter().take_while(fits).collect()
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

    /// Adds a delegated role; false if it does not fit.
    pub fn role(&mut self, role: String, metadata: String) -> bool {
        let fits = self.take(&metadata);
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
        let fits = self.take(&content);
        if fits {
            self.bundle.blobs.push(BundledBlob { sha256, content });
        }
        fits
    }

    /// Adds the snapshot's proof; false if it does not fit.
    pub fn log(&mut self, part: LogPart) -> bool {
        let fits = self.take(&part.proof);
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
        HALF.saturating_sub(self.used).saturating_sub(AROUND)
    }

    fn take(&mut self, text: &str) -> bool {
        let used = self.used + AROUND + cost(text);
        let fits = used <= HALF;
        if fits {
            self.used = used;
        }
        fits
    }

    /// The bundle.
    pub fn finish(self) -> CheckBundle {
        self.bundle
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
    use crate::metadata::sha256;

    fn builder() -> Builder {
        Builder::new("{\"t\":1}".into(), "{}".into(), "{}".into())
    }

    #[test]
    fn a_bundle_takes_no_more_than_was_counted() {
        let mut builder = builder();
        assert!(builder.role("model.m.0".into(), "{\n}".into()));
        assert!(builder.blob(sha256(b"x"), b"x".to_vec()));
        assert!(builder.blob(sha256(b"x"), b"x".to_vec()));
        let used = builder.used;
        let made = builder.finish();
        let bytes = serde_json::to_vec(&made).unwrap();
        assert!(bytes.len() as u64 <= used, "{} > {used}", bytes.len());
        assert_eq!(made.blobs.len(), 1);
        assert_eq!(made.delegated[0].metadata, "{\n}");
    }

    #[test]
    fn blobs_that_are_binary_or_do_not_fit_are_left_out() {
        let mut builder = builder();
        assert!(!builder.blob(sha256(b"\xff"), vec![0xff]));
        let large = vec![b'"'; usize::try_from(HALF / 2).unwrap()];
        assert!(!builder.blob(sha256(&large), large));
        assert!(builder.blob(sha256(b"small"), b"small".to_vec()));
        assert_eq!(builder.finish().blobs.len(), 1);
    }

    #[test]
    fn behind_a_root_that_does_not_fit_none_is_sent() {
        let large = "x".repeat(usize::try_from(HALF).unwrap());
        let roots = ["1".to_owned(), large, "3".to_owned()];
        assert_eq!(fitting(roots), ["1"]);
    }
}
