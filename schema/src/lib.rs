//! Assay's wire types: what travels between publisher, registry and device, and what is signed.
//!
//! Nothing here does I/O, reads a clock or computes a hash. Parsers of names and digests turn strangers' text into types that
//! cannot hold a bad value; every size limit of the product stands in [`limits`].
//!
//! | module | holds |
//! |---|---|
//! | [`limits`] | every size and count that Assay accepts |
//! | [`canonical`] | canonical JSON (OLPC, as TUF signs it) and bounded parsing |
//! | [`digest`], [`name`], [`path`], [`pattern`], [`order`] | values that are right by construction |
//! | [`manifest`], [`chunk`] | the release manifest and its chunk indexes |
//! | [`signers`] | who may sign a model's provenance, `trust/signers.json` |
//! | [`status`] | what an authority restricts, `status.json` |
//! | [`trust_policy`] | whose signatures a device's owner requires beside a namespace's own |
//! | [`tuf`] | role names, target paths and the `x-assay` binding |
//! | [`bundle`], [`difference`] | the check bundle, whole and as what a device lacks of it |
//! | [`delta`] | the deltas that a registry lists and takes |
//! | [`shown`] | strangers' text in messages |
//! | [`verdict`] | stages, outcomes, evidence |
//! | [`api`], [`proposal`], [`problem`] | bodies of the REST API, RFC 9457 problems |

pub mod api;
pub mod bundle;
pub mod canonical;
pub mod chunk;
pub mod delta;
pub mod difference;
pub mod digest;
pub mod limits;
pub mod log;
pub mod manifest;
pub mod name;
pub mod order;
pub mod path;
pub mod pattern;
pub mod problem;
pub mod proposal;
pub mod shown;
pub mod signers;
pub mod status;
pub mod trust_policy;
pub mod tuf;
pub mod verdict;

pub use bundle::CheckBundle;
pub use chunk::ChunkIndex;
pub use digest::Sha256Digest;
pub use manifest::ReleaseManifest;
pub use name::{ModelName, ModelRef, NamespaceName, ReleaseRef, VersionName};
pub use order::ReleaseOrder;
pub use path::FilePath;
pub use pattern::Pattern;
pub use trust_policy::TrustPolicy;
pub use verdict::{Outcome, Stage, Verdict};
