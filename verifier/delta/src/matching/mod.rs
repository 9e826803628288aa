//! Which base bytes each target byte is coded against.
//!
//! A match is a proposal: the codec compares the bytes, and a wrong match costs size, never correctness. So tensors are compared by
//! samples, and neither release is read as a whole unless content has to be searched for.
//!
//! 1. Tensors of one name, type and shape belong together, wherever they lie now, unless their samples say that the name has moved on.
//! 2. Renamed tensors are found by equal samples; renamed *and* changed ones by the signature of their samples.
//! 3. A tensor that has grown or lost rows keeps those that it has in common with its namesake.
//! 4. Everything else - headers, padding, files without tensors, tensors without a counterpart - is searched for by content
//!    ([`content`]), and what lies between two runs that were found goes with them.
//!
//! Memory: some hundred bytes a tensor, a bounded index of the base ([`content::MAX_ANCHORS`]), and a few windows.

pub mod content;
mod layout;
mod rows;
mod sample;
mod tensors;

use std::io;

use crate::{ReadAt, Segment, Span};

/// A file of a release, with its tensors as [`spans::read_release`](crate::spans::read_release) found them.
#[derive(Clone, Copy)]
pub struct ModelFile<'a> {
    /// Its path in the release.
    pub path: &'a str,
    /// Its bytes.
    pub bytes: &'a dyn ReadAt,
    /// Its tensors, by offset and without overlap.
    pub spans: &'a [Span],
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("matching: {path}: expected its bytes, found: {source}; read the file again")]
pub struct MatchError {
    /// Which one.
    pub path: String,
    /// What its reader said.
    pub source: io::Error,
}

impl ModelFile<'_> {
    fn failed(&self, source: io::Error) -> MatchError {
        MatchError {
            path: self.path.to_owned(),
            source,
        }
    }
}

/// The segments of every target file, in the order of `target`. [`BasePosition::file`](crate::BasePosition::file) counts `base` in its
/// order, which is that of sorted paths.
///
/// # Errors
/// A file cannot be read.
pub fn correspond(base: &[ModelFile<'_>], target: &[ModelFile<'_>]) -> Result<Vec<Vec<Segment>>, MatchError> {
    let matches = tensors::pair(base, target)?;
    let plain = target.iter().zip(&matches).any(|(file, found)| {
        (file.spans.is_empty() && !file.bytes.is_empty()) || found.iter().any(Option::is_none)
    });
    let index = content::Index::new(base, plain)?;
    target
        .iter()
        .zip(&matches)
        .map(|(file, found)| layout::segments(base, &index, file, found))
        .collect()
}
