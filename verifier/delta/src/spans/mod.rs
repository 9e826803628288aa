//! Where the tensors lie in a file: safetensors, GGUF and ONNX.
//!
//! A model file comes from a stranger, and its header may lie. A reader either finds every tensor inside the file, or reports what is
//! wrong; [`read_release`] then treats that file as plain bytes, so that a hostile header costs a delta its size and nothing else.
//! Headers are read through a small window, never as a whole, and every count is bounded before anything is kept for it.
//!
//! | module | reads | specification |
//! |---|---|---|
//! | [`safetensors`] | a JSON header in front of the data | huggingface/safetensors, "Format" |
//! | [`gguf`] | versions 2 and 3, little-endian | ggml, `docs/gguf.md` |
//! | [`onnx`] | initialisers of the graph, inside the file or in others beside it | onnx, `onnx.proto`, `ExternalData.md` |

mod cursor;
pub mod gguf;
pub mod limits;
pub mod onnx;
mod release;
pub mod safetensors;
mod shape;

use std::{fmt, io};

pub use release::{FileSpans, read_release};

use assay_schema::shown::shortened;

use crate::{ReadAt, Span};

/// A file format whose tensors can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// huggingface/safetensors.
    Safetensors,
    /// ggml's GGUF.
    Gguf,
    /// An ONNX model.
    Onnx,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "GGUF",
            Self::Onnx => "ONNX",
        })
    }
}

/// Why the tensors of a file cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum SpanError {
    /// The file says something that cannot be true, or more than the limits allow.
    #[error(
        "{format}: {what}: expected {expected}, found {found}; its bytes are compared without its tensors"
    )]
    Malformed {
        /// What the file was read as.
        format: Format,
        /// What was looked at.
        what: String,
        /// The rule.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The file could not be read.
    #[error("{format}: expected to read {length} bytes at {offset}, found: {source}; read the file again")]
    Read {
        /// What the file was read as.
        format: Format,
        /// Where.
        offset: u64,
        /// How much.
        length: usize,
        /// What the reader said.
        source: io::Error,
    },
}

/// Characters of each part of a message: a tensor's name may be as long as its file.
const LONGEST_PART: usize = 300;

impl SpanError {
    pub(crate) fn malformed(
        format: Format,
        what: impl ToString,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        let short = |part: String| shortened(&part, LONGEST_PART);
        Self::Malformed {
            format,
            what: short(what.to_string()),
            expected: short(expected.to_string()),
            found: short(found.to_string()),
        }
    }
}

/// What one file says of tensors: its own, and those that it places in other files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Tensors inside the file, by offset.
    pub spans: Vec<Span>,
    /// Tensors in files beside it (ONNX external data).
    pub external: Vec<External>,
}

/// A tensor that a file places in another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The other file, relative to the folder of the file that names it; `/` between components, none of them `.` or `..`.
    pub location: String,
    /// The tensor there. A length of `None` in the file is that of the shape.
    pub span: Span,
}

/// What a file is, by its first bytes and, for ONNX, which has none of its own, by its name.
///
/// # Errors
/// The file cannot be read.
pub fn format(path: &str, file: &dyn ReadAt) -> io::Result<Option<Format>> {
    let mut head = [0; 9];
    let length = file.len().min(head.len() as u64) as usize;
    let Some(prefix) = head.get_mut(..length) else {
        return Ok(None);
    };
    file.read_at(0, prefix)?;
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    Ok(if head.starts_with(gguf::MAGIC) {
        Some(Format::Gguf)
    } else if name.ends_with(".onnx") {
        Some(Format::Onnx)
    } else if name.ends_with(".safetensors") || safetensors::looks_alike(&head, file.len()) {
        Some(Format::Safetensors)
    } else {
        None
    })
}

/// The tensors of a file as `format`.
///
/// # Errors
/// See [`SpanError`].
pub fn read(format: Format, file: &dyn ReadAt) -> Result<Found, SpanError> {
    match format {
        Format::Safetensors => safetensors::read(file),
        Format::Gguf => gguf::read(file),
        Format::Onnx => onnx::read(file),
    }
}
