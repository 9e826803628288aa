//! The device's verifier for browsers and Node: thin bindings, no logic.
//!
//! JavaScript drives the same state machine as a device: [`Check`] says what to fetch and persist, [`Content`] what to hash, and
//! `js/assay.mjs` does it with `fetch` and `crypto.subtle`. Documents cross the border as plain objects (JSON), files as bytes.

mod check;
mod content;
mod convert;
mod provenance;

pub use check::Check;
pub use content::Content;
pub use provenance::{verify_model_signature, verify_sigstore};
