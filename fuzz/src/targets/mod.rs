//! The parsers, by crate. What each accepts is written again and read back, where there is a writer.

pub mod authority;
pub mod delta;
pub mod log;
pub mod provenance;
pub mod schema;
pub mod server;
pub mod trust;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::target::{Outcome, Target};

/// All targets, area by area.
pub fn all() -> Vec<Target> {
    [
        schema::TARGETS,
        log::TARGETS,
        delta::TARGETS,
        provenance::TARGETS,
        trust::TARGETS,
        authority::TARGETS,
        server::TARGETS,
    ]
    .concat()
}

/// The targets of an area, such as `schema`.
pub fn of(area: &str) -> Vec<Target> {
    let mut all = all();
    all.retain(|target| target.name.split('/').next() == Some(area));
    all
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> assay_schema::Sha256Digest {
    assay_schema::Sha256Digest::new(Sha256::digest(bytes).into())
}

/// Reads a document of the API and reads it back.
pub(crate) fn document<T>(bytes: &[u8], limit: u64) -> Outcome
where
    T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    Outcome::of(assay_schema::canonical::read::<T>(bytes, limit), |value| {
        let written = serde_json::to_vec(&value).expect("what was read can be written");
        let again: T =
            assay_schema::canonical::read(&written, u64::MAX).expect("what was written can be read");
        assert_eq!(again, value, "read back");
        written.len().ilog2()
    })
}

/// The text of an input; another outcome than any parser's where it is none.
pub(crate) fn text(bytes: &[u8], parse: impl FnOnce(&str) -> Outcome) -> Outcome {
    match str::from_utf8(bytes) {
        Ok(text) => parse(text),
        Err(_) => Outcome::refused("not UTF-8"),
    }
}

/// One input for each text.
pub(crate) fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
