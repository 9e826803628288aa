//! SHA-256 for everything that Assay hashes itself. It does not go through the process's provider, so that nobody else's library
//! can stand between a device and the digest of what it installs.

use assay_schema::Sha256Digest;
use sha2::Digest as _;

/// The SHA-256 of bytes that are in memory.
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(sha2::Sha256::digest(bytes).into())
}

/// SHA-256 over bytes that come piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken.
    pub fn finalize(self) -> Sha256Digest {
        Sha256Digest::new(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-4, "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn pieces_and_whole_hash_alike() {
        let mut pieces = Sha256::new();
        pieces.update(b"a");
        pieces.update(b"");
        pieces.update(b"bc");
        assert_eq!(pieces.finalize().to_hex(), ABC);
        assert_eq!(sha256(b"abc").to_hex(), ABC);
    }
}
