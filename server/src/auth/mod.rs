//! Tokens, and who may do what.
//!
//! A token is `assay_<id>_<secret>`: the id names its row, the secret is 32 random bytes of which the registry keeps only the
//! SHA-256. A fast hash is enough, because nobody can guess 256 bits.

mod caller;
mod secret;
mod tokens;

use actix_web::web::{self, ServiceConfig};

pub use caller::Caller;
pub(crate) use caller::presented;
pub use secret::NoRandomness;
pub use tokens::{admin_token, first_token};

/// Wires `/v1/tokens`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/v1/tokens").get(tokens::list).post(tokens::create))
        .service(web::resource("/v1/tokens/{id}").delete(tokens::revoke));
}
