//! OpenSSF Model Signing: what the reference implementation signed is accepted, and what an attacker makes of it refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

mod forge;
mod formats;
mod hostile_json;
mod reference;
mod refusals;
mod round_trips;
mod sigstore_identity;
