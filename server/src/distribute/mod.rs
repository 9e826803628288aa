//! Room: what devices, other TUF clients and people fetch. It only reads.
//!
//! | module | holds |
//! |---|---|
//! | [`tuf`] | the static TUF repository |
//! | [`check`](mod@check), [`bundle`], [`difference`], [`coding`], [`cache`] | the check bundle |
//! | [`blobs`], [`conditional`] | blobs: ranges, entity tags, digests |
//! | [`listing`] | namespaces, models, releases, search |

pub mod blobs;
pub mod bundle;
pub mod cache;
pub mod check;
pub mod coding;
pub mod conditional;
pub mod difference;
pub mod listing;
pub mod tuf;

use actix_web::Route;
use actix_web::web::{self, ServiceConfig};
use assay_schema::api::Visibility;

/// Wires the room's own paths.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource("/tuf/{namespace}/metadata/{file}")
            .get(tuf::metadata)
            .head(tuf::metadata),
    )
    .service(
        web::resource("/tuf/{namespace}/targets/{path:.*}")
            .get(tuf::target)
            .head(tuf::target),
    )
    .service(
        web::resource("/v1/namespaces/{namespace}/blobs/{sha256}")
            .get(blobs::blob)
            .head(blobs::blob),
    )
    .service(web::resource("/v1/namespaces/{namespace}/models/{model}/check").get(check::check))
    .service(web::resource("/v1/namespaces").get(listing::namespaces))
    .service(web::resource("/v1/namespaces/{namespace}/models").get(listing::models))
    .service(web::resource("/v1/namespaces/{namespace}/models/{model}").get(listing::model))
    .service(web::resource("/v1/namespaces/{namespace}/models/{model}/releases").get(listing::releases))
    .service(web::resource("/v1/search").get(listing::search));
}

/// `GET` of a path whose `PUT` is another room's.
pub fn namespace_route() -> Route {
    web::get().to(listing::namespace)
}

/// `GET` of a path whose `PUT` is another room's.
pub fn release_route() -> Route {
    web::get().to(listing::release)
}

/// For what never changes under its name.
fn immutable(visibility: Visibility) -> (&'static str, &'static str) {
    let value = match visibility {
        Visibility::Public => "public, max-age=31536000, immutable",
        Visibility::Private => "private, max-age=31536000, immutable",
    };
    ("cache-control", value)
}

/// For what must be asked for again each time.
fn revalidated(visibility: Visibility) -> (&'static str, &'static str) {
    let value = match visibility {
        Visibility::Public => "no-cache",
        Visibility::Private => "private, no-cache",
    };
    ("cache-control", value)
}
