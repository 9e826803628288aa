//! The room `store`: resumable uploads, named by the digest of what will come.
//!
//! An upload's bytes lie in segments, each of which is on disk before the offset counts it. Whoever goes on after a dropped
//! connection, a crash or a restart goes on at the offset. Bytes are hashed once all are here; a blob is stored once, whoever
//! uploads it, and each namespace must have sent all of its bytes before it may use it.

mod finish;
mod handlers;
mod hash;
mod lease;
mod receive;
mod segments;
mod sweep;

use actix_web::web::{self, ServiceConfig};

pub use lease::{Lease, Leases, NoLease};
pub use sweep::sweep;

/// Wires the uploads' paths.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/v1/namespaces/{namespace}/uploads").post(handlers::start))
        .service(
            web::resource("/v1/namespaces/{namespace}/uploads/{id}")
                .get(handlers::show)
                .head(handlers::show)
                .patch(handlers::append)
                .delete(handlers::cancel),
        );
}
