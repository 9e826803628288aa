//! Keys that are kept in a PKCS#11 token: a smart card, a hardware security module, SoftHSM.
//!
//! The token's own library (its *module*) is loaded when a key is first used, by the path that the owner of the keys gave: whoever
//! names the module runs code with the owner's rights. So a module's path comes from the command line, the environment or the
//! authority's own folder, and never from a proposal or a registry. A PIN comes from a file, the environment or a prompt; one that
//! was wrong is never tried again, for a token counts.
//!
//! | module | holds |
//! |---|---|
//! | [`uri`] | `pkcs11:` URIs (RFC 7512) |
//! | [`token`] | the module, the token, its PIN |
//! | [`key`] | finding, making and using keys |
//!
//! Ed25519 (`CKM_EDDSA`) and ECDSA (`CKM_ECDSA` over a digest that is computed here) on P-256, P-384 and P-521. A key that demands a
//! login for every signature (`CKA_ALWAYS_AUTHENTICATE`) is refused.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod key;
pub mod token;
pub mod uri;

use std::path::PathBuf;
use std::sync::Arc;

use assay_authority::token::{FoundKey, TokenError, TokenKey, Tokens};
use assay_authority::{KeyKind, PublicKey};
use zeroize::Zeroizing;

use crate::key::Key;
use crate::token::Modules;
use crate::uri::KeyUri;

/// Gives the PIN of the token with this label, or gives up.
pub type AskPin = dyn Fn(&str) -> Option<Zeroizing<String>> + Send + Sync;

/// PKCS#11 tokens.
#[derive(Clone)]
pub struct Pkcs11Tokens {
    modules: Arc<Modules>,
}

impl Pkcs11Tokens {
    /// Tokens that are reached through `module`, or through the one that a URI names. `ask_pin` is asked where a URI names no file.
    pub fn new(
        module: Option<PathBuf>,
        ask_pin: impl Fn(&str) -> Option<Zeroizing<String>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            modules: Arc::new(Modules::new(module, Box::new(ask_pin))),
        }
    }
}

impl std::fmt::Debug for Pkcs11Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pkcs11Tokens").finish_non_exhaustive()
    }
}

impl Tokens for Pkcs11Tokens {
    fn key(&self, uri: &str, public: &PublicKey) -> Result<Arc<dyn TokenKey>, TokenError> {
        let uri: KeyUri = uri.parse()?;
        // A mistake that can be seen without the token is told before anybody is asked for a PIN.
        self.modules.path(&uri)?;
        Ok(Arc::new(Key::new(Arc::clone(&self.modules), uri, public.clone())))
    }

    fn find(&self, uri: &str) -> Result<FoundKey, TokenError> {
        key::find(&self.modules, &uri.parse()?)
    }

    fn make(&self, uri: &str, name: &str, kind: KeyKind) -> Result<FoundKey, TokenError> {
        let uri: KeyUri = uri.parse()?;
        let label = format!("{}-{name}", uri.object.as_deref().unwrap_or("assay"));
        key::make(&self.modules, &uri, &label, kind)
    }
}
