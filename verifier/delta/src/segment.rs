//! Tensors inside a file, and which base bytes correspond to which target bytes.

use std::ops::Range;

use crate::Dtype;

/// A tensor inside one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its name, as the file has it.
    pub name: String,
    /// What it holds.
    pub dtype: Dtype,
    /// Its dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Bytes that it takes.
    pub length: u64,
}

/// A place in the base release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BasePosition {
    /// Which of the base release's files, counted from 0 in the order of their sorted paths.
    pub file: u32,
    /// Byte offset in that file.
    pub offset: u64,
}

/// A run of a target file's bytes, and the equally long run of base bytes that it is to be coded against.
///
/// The segments of a file are disjoint and in order, and cover it. A segment begins with a whole element or block of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Bytes of the target file.
    pub target: Range<u64>,
    /// Where the corresponding base bytes begin; `None` where there are none.
    pub base: Option<BasePosition>,
    /// What both runs hold.
    pub dtype: Dtype,
    /// Bytes of a row (the last dimension), where rows matter: int8 with one scale a row, embeddings of which some rows never change.
    pub row: Option<u32>,
}
