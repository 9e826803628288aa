//! Room: deltas between releases. It lists them, takes those of publishers, and makes its own in the background.
//!
//! A delta is a hint (`schema/delta.md`): devices check what comes out of it, whoever made it. So a wrong one harms nobody, but costs
//! everybody who tries it; the registry shows its own only after it has decoded them.
//!
//! | file | holds |
//! |---|---|
//! | [`handlers`] | the API |
//! | `attach` | what a publisher's delta must be |
//! | [`maker`] | the background: which delta next, until when, what is dropped |
//! | `make` | one delta, on a thread of its own |
//! | `release`, `source` | a release's files as positioned reads over the object store |
//! | `spool` | a delta's frames in a file, until it is complete |
//! | `unused` | objects that no row names any more |

mod attach;
pub mod handlers;
mod make;
pub mod maker;
mod release;
mod source;
mod spool;
mod unused;

use actix_web::web::{self, ServiceConfig};

pub use maker::start;

/// Wires the room's paths.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource("/v1/namespaces/{namespace}/models/{model}/deltas")
            .get(handlers::list)
            .post(handlers::attach),
    )
    .service(
        web::resource("/v1/namespaces/{namespace}/models/{model}/deltas/{base}/{target}")
            .delete(handlers::remove),
    );
}
