//! The codec and the container from outside: what goes in comes out, and what was tampered with does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    // The vectors lie in a file, and an environment variable has them written anew.
    clippy::disallowed_methods
)]

mod hostile;
mod making;
mod round_trip;
mod vectors;
