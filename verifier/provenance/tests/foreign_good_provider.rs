//! A process in which another library installed a provider that answers rightly. One test only, because the lock is the process's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use assay_provenance::crypto::{RustCrypto, install};
use sigstore_crypto::{
    CryptoProvider, Error, HashContext, SigningScheme, default_provider, install_default_provider,
};
use sigstore_types::HashAlgorithm;

#[derive(Debug)]
struct Another;

impl CryptoProvider for Another {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>, Error> {
        RustCrypto.hash(algorithm)
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        RustCrypto.verify_raw(scheme, key, data, signature)
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        digest: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        RustCrypto.verify_prehashed(scheme, key, digest, signature)
    }
}

#[test]
fn works_on_a_provider_that_gives_every_known_answer() {
    assert!(install_default_provider(&Another).is_ok());
    install().unwrap();
    assert_eq!(format!("{:?}", default_provider()), "Another");
}
