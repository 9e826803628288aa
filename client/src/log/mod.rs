//! Looking at a transparency log from outside: reading it, auditing it, watching it for an authority.
//!
//! | module | holds |
//! |---|---|
//! | [`reader`] | checkpoints, tiles and entries over a transport (c2sp.org/tlog-tiles) |
//! | [`history`] | that older trees are parts of a newer one, recomputed from tiles |
//! | [`audit`] | a mirror of every checkpoint that was ever seen, each pair proven consistent |
//! | [`monitor`] | what the log holds of an authority's namespaces, compared with its signing journals |
//!
//! Nothing that a log or registry says is believed: a tile counts once it hashes to a root that the log signed, a file once it has
//! the digest that the log holds.

pub mod audit;
mod error;
mod folder;
pub mod history;
pub mod monitor;
pub mod reader;
mod unproven;

pub use error::LogError;
pub use folder::{FollowStep, LogFolder, StepHook};
pub use reader::LogReader;
