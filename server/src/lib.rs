//! Assay's registry. It stores releases and serves them; it is not trusted for integrity or authority.
//!
//! | module | holds |
//! |---|---|
//! | [`store`] | room: uploads and blobs |
//! | [`publish`] | room: namespaces, candidates, metadata, online signing |
//! | [`distribute`] | room: what devices fetch |
//! | [`log`] | room: the transparency log |
//! | [`delta`] | room: deltas between releases |
//! | [`persistence`] | the only place that queries the database |
//! | [`blobs`] | the only place that touches the object store |
//! | [`auth`] | tokens and who may do what |
//! | [`problem`] | the one place that turns errors into answers |
//! | [`steps`] | the durable steps, so that tests can stop between them |
//!
//! Rooms never import one another.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod access;
pub mod auth;
pub mod blobs;
pub mod body;
pub mod clock;
pub mod config;
pub mod cors;
pub mod delta;
pub mod distribute;
pub mod health;
pub mod log;
pub mod metadata;
mod nonce;
pub mod openapi;
pub mod page;
pub mod persistence;
pub mod problem;
pub mod publish;
pub mod rate;
pub mod run;
pub mod seal;
pub mod state;
pub mod steps;
pub mod store;
pub mod tasks;

use actix_web::web::{self, ServiceConfig};

pub use state::{AppState, State};

/// Wires every room's paths, and the answer to every other path.
pub fn configure(cfg: &mut ServiceConfig) {
    health::configure(cfg);
    auth::configure(cfg);
    store::configure(cfg);
    publish::configure(cfg);
    distribute::configure(cfg);
    log::configure(cfg);
    delta::configure(cfg);
    openapi::configure(cfg);
    // Paths that two rooms share: one writes, one reads.
    cfg.service(
        web::resource("/v1/namespaces/{namespace}")
            .route(publish::namespace_route())
            .route(distribute::namespace_route()),
    )
    .service(
        web::resource("/v1/namespaces/{namespace}/models/{model}/releases/{version}")
            .route(publish::release_route())
            .route(distribute::release_route()),
    );
    cfg.default_service(web::to(problem::no_such_path));
}
