//! Room: namespaces, candidates, metadata, and the online roles.
//!
//! What comes in is signed elsewhere; this room decides whether it may stand, signs snapshot and timestamp for it, and has the
//! device's own verifier judge the outcome before anybody sees it. The durable steps are P1 to P3 and C1 to C3 of [`crate::steps`].
//!
//! | module | holds |
//! |---|---|
//! | [`create`], [`first`], [`import`] | a namespace's beginning, new or with all that it was on another registry |
//! | [`candidate`] | releases that nothing lists yet |
//! | [`commit`], [`decide`], [`proposed`], [`standing`], [`judge`], [`trust`] | publications |
//! | [`collect`] | proposals: publications that wait for signatures |
//! | [`online`], [`resign`] | snapshot, timestamp and their keys |

pub mod candidate;
pub mod collect;
pub mod commit;
pub mod create;
pub mod decide;
pub mod endorse;
mod error;
pub mod first;
pub mod handlers;
pub mod import;
pub mod judge;
pub mod online;
pub mod proposed;
pub mod resign;
pub mod standing;
pub mod trust;

use actix_web::Route;
use actix_web::web::{self, ServiceConfig};

/// Wires the room's own paths.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/v1/namespaces/{namespace}/keys").post(handlers::make_keys))
        .service(web::resource("/v1/namespaces/{namespace}/metadata").post(handlers::publish_metadata))
        .configure(collect::handlers::configure);
}

/// `PUT` of a path whose `GET` is another room's.
pub fn namespace_route() -> Route {
    web::put().to(handlers::create_namespace)
}

/// `PUT` of a path whose `GET` is another room's.
pub fn release_route() -> Route {
    web::put().to(handlers::put_release)
}
