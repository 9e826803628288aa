//! What the tests stand on.

pub(crate) mod device;
pub(crate) mod driver;
mod serving;
pub(crate) mod simulator;
pub(crate) mod testlog;

pub(crate) use device::{By, Device, ROUTES, code, decided, outcome, permit, refuse};
pub(crate) use simulator::{SIGNERS, Simulator, after_days, draft, model, new_key, start, text, version};
