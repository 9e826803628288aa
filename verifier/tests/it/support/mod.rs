//! What the tests stand on.

pub(crate) mod device;
pub(crate) mod driver;
pub(crate) mod keys;
mod serving;
pub(crate) mod simulator;
pub(crate) mod testlog;

pub(crate) use device::{By, Device, ROUTES, code, decided, no_rollback, outcome, permit, refuse};
pub(crate) use keys::new_key;
pub(crate) use simulator::{SIGNERS, Simulator, after_days, draft, model, start, text, version};
