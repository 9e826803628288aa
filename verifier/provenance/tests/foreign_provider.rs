//! A process in which another library installed a provider that accepts every signature, before Assay came.
//!
//! One test only, because the lock is the process's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use assay_provenance::crypto::{CryptoError, RustCrypto, install};
use assay_provenance::error::ProvenanceError;
use assay_provenance::verify_model_signature;
use sigstore_crypto::{CryptoProvider, Error, HashContext, SigningScheme, install_default_provider};
use sigstore_types::HashAlgorithm;

#[derive(Debug)]
struct AcceptsEverything;

impl CryptoProvider for AcceptsEverything {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>, Error> {
        RustCrypto.hash(algorithm)
    }

    fn verify_raw(&self, _: SigningScheme, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn verify_prehashed(&self, _: SigningScheme, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn refuses_to_verify_on_a_provider_that_accepts_everything() {
    assert!(install_default_provider(&AcceptsEverything).is_ok());
    for _ in 0..2 {
        let refused = install().unwrap_err();
        assert!(
            matches!(&refused, CryptoError::WrongAnswer { provider, test }
                if provider == "AcceptsEverything" && test.contains("refusal")),
            "{refused}"
        );
    }
    let refused = verify_model_signature(b"{}", &[], None, "2026-11-01T00:00:00Z".parse().unwrap());
    assert!(matches!(refused, Err(ProvenanceError::Crypto(_))), "{refused:?}");
}
