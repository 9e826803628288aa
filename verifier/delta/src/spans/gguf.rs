//! GGUF versions 2 and 3, little-endian: a header, metadata, tensor infos, padding, the data.
//!
//! Metadata is walked and forgotten, but for `general.alignment`. Tensors are laid out one after the other, each padded to that
//! alignment; ggml accepts nothing else, and neither does this reader. Files of big-endian machines are refused.

use std::collections::BTreeSet;

use super::cursor::Cursor;
use super::limits::{
    MAX_DIMENSIONS, MAX_GGUF_ALIGNMENT, MAX_GGUF_DEPTH, MAX_GGUF_PAIRS, MAX_GGUF_VALUES, MAX_NAMES,
    MAX_TENSOR_NAME, MAX_TENSORS,
};
use super::shape::Layout;
use super::{Format, Found, SpanError};
use crate::{Dtype, ReadAt, Span};

/// The first bytes of every GGUF file.
pub const MAGIC: &[u8; 4] = b"GGUF";

/// Alignment of a file whose metadata names none (gguf.md, `general.alignment`).
const DEFAULT_ALIGNMENT: u64 = 32;
/// The longest metadata key that the format permits (gguf.md).
const MAX_KEY: u64 = u16::MAX as u64;

/// The tensors of a GGUF file.
///
/// # Errors
/// See [`SpanError`].
pub fn read(file: &dyn ReadAt) -> Result<Found, SpanError> {
    let mut cursor = Cursor::new(Format::Gguf, file);
    let magic: [u8; 4] = cursor.array("magic")?;
    if &magic != MAGIC {
        return Err(cursor.malformed("magic", "GGUF", magic.escape_ascii()));
    }
    let version = cursor.u32("version")?;
    if !matches!(version, 2 | 3) {
        return Err(cursor.malformed("version", "2 or 3, little-endian", version));
    }
    let tensors = cursor.u64("tensor count")?;
    if tensors > MAX_TENSORS as u64 {
        return Err(cursor.malformed("tensor count", format!("at most {MAX_TENSORS}"), tensors));
    }
    let pairs = cursor.u64("metadata count")?;
    if pairs > MAX_GGUF_PAIRS {
        return Err(cursor.malformed("metadata count", format!("at most {MAX_GGUF_PAIRS}"), pairs));
    }
    let alignment = metadata(&mut cursor, pairs)?;
    let infos = infos(&mut cursor, tensors, alignment)?;
    let data = cursor.position().next_multiple_of(alignment);
    place(&cursor, infos, data, alignment, file.len())
}

/// Walks the key-value pairs and returns the alignment.
fn metadata(cursor: &mut Cursor<'_>, pairs: u64) -> Result<u64, SpanError> {
    let mut alignment = DEFAULT_ALIGNMENT;
    let mut values = 0;
    for _ in 0..pairs {
        let length = cursor.u64("metadata key")?;
        // Only one key is of interest; the others are not even kept for a moment.
        let key = match length {
            17 => cursor.array::<17>("metadata key")?,
            0..=MAX_KEY => {
                cursor.skip("metadata key", length)?;
                [0; 17]
            }
            _ => return Err(cursor.malformed("metadata key", format!("at most {MAX_KEY} bytes"), length)),
        };
        let kind = cursor.u32("metadata type")?;
        if &key == b"general.alignment" {
            if kind != Kind::U32 as u32 {
                return Err(cursor.malformed("general.alignment", "type 4, uint32", format!("type {kind}")));
            }
            alignment = u64::from(cursor.u32("general.alignment")?);
            // ggml: a power of two.
            if !alignment.is_power_of_two() || alignment > MAX_GGUF_ALIGNMENT {
                let expected = format!("a power of two up to {MAX_GGUF_ALIGNMENT}");
                return Err(cursor.malformed("general.alignment", expected, alignment));
            }
        } else {
            skip_value(cursor, kind, 0, &mut values)?;
        }
    }
    Ok(alignment)
}

/// Metadata value types (gguf.md, `gguf_metadata_value_type`) that are not plain numbers, and the one that is read.
#[derive(Clone, Copy)]
enum Kind {
    U32 = 4,
    Text = 8,
    Array = 9,
}

/// Bytes of a number of this type.
const fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn skip_value(cursor: &mut Cursor<'_>, kind: u32, depth: u32, values: &mut u64) -> Result<(), SpanError> {
    const WHAT: &str = "metadata value";
    *values += 1;
    if *values > MAX_GGUF_VALUES {
        return Err(cursor.malformed("metadata", format!("at most {MAX_GGUF_VALUES} values"), "more"));
    }
    if let Some(width) = width(kind) {
        return cursor.skip(WHAT, width);
    }
    if kind == Kind::Text as u32 {
        let length = cursor.u64(WHAT)?;
        return cursor.skip(WHAT, length);
    }
    if kind != Kind::Array as u32 {
        return Err(cursor.malformed("metadata type", "0 to 12", kind));
    }
    if depth == MAX_GGUF_DEPTH {
        let expected = format!("arrays in arrays up to depth {MAX_GGUF_DEPTH}");
        return Err(cursor.malformed(WHAT, expected, "a deeper one"));
    }
    let inner = cursor.u32("array type")?;
    let length = cursor.u64("array length")?;
    if let Some(width) = width(inner) {
        return match length.checked_mul(width) {
            Some(bytes) => cursor.skip("array", bytes),
            None => Err(cursor.malformed("array length", "a length that a file can hold", length)),
        };
    }
    // Every text and every array takes 8 bytes at least, so that the file bounds this loop as well.
    for _ in 0..length {
        skip_value(cursor, inner, depth + 1, values)?;
    }
    Ok(())
}

fn infos(cursor: &mut Cursor<'_>, tensors: u64, alignment: u64) -> Result<Vec<Span>, SpanError> {
    let mut infos = Vec::new();
    let mut bytes = 0;
    for _ in 0..tensors {
        let length = cursor.u64("tensor name")?;
        let name = cursor.text("tensor name", length, MAX_TENSOR_NAME)?;
        bytes += name.len();
        if bytes > MAX_NAMES {
            return Err(cursor.malformed(
                "tensor names",
                format!("at most {MAX_NAMES} bytes together"),
                bytes,
            ));
        }
        let what = |detail| format!("tensor {name:?}: {detail}");
        let dimensions = cursor.u32("dimensions")?;
        if dimensions as usize > MAX_DIMENSIONS {
            return Err(cursor.malformed(
                what("dimensions"),
                format!("at most {MAX_DIMENSIONS}"),
                dimensions,
            ));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(cursor.u64("dimension")?);
        }
        let kind = cursor.u32("tensor type")?;
        let offset = cursor.u64("tensor offset")?;
        let Some(layout) = layout(kind) else {
            return Err(cursor.malformed(what("type"), "a type of ggml", kind));
        };
        // Rows consist of whole blocks. ggml's first dimension is the innermost.
        let whole = shape.first().is_none_or(|row| row.is_multiple_of(layout.weights));
        shape.reverse();
        let Some(length) = layout.size(&shape).filter(|_| whole) else {
            let expected = format!("rows of whole blocks of {}, in a file", layout.weights);
            return Err(cursor.malformed(what("dimensions"), expected, format!("{shape:?}")));
        };
        if !offset.is_multiple_of(alignment) {
            return Err(cursor.malformed(what("offset"), format!("a multiple of {alignment}"), offset));
        }
        infos.push(Span {
            name,
            dtype: layout.dtype,
            shape,
            offset,
            length,
        });
    }
    Ok(infos)
}

/// From offsets in the data to offsets in the file.
fn place(
    cursor: &Cursor<'_>,
    mut infos: Vec<Span>,
    data: u64,
    alignment: u64,
    end: u64,
) -> Result<Found, SpanError> {
    infos.sort_by(|a, b| (a.offset, a.length, &a.name).cmp(&(b.offset, b.length, &b.name)));
    let mut names = BTreeSet::new();
    let mut next = 0_u64;
    for span in &infos {
        let what = |detail| format!("tensor {:?}: {detail}", span.name);
        if !names.insert(&span.name) {
            return Err(cursor.malformed(what("name"), "each name once", "the same name again"));
        }
        if span.offset != next {
            return Err(cursor.malformed(
                what("offset"),
                format!("{next}, where the tensor before ends"),
                span.offset,
            ));
        }
        let last = span.offset.checked_add(span.length);
        let Some(last) = last.filter(|last| data.checked_add(*last).is_some_and(|last| last <= end)) else {
            let room = end.saturating_sub(data);
            return Err(cursor.malformed(what("length"), format!("an end up to {room}"), span.length));
        };
        next = last.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
    }
    for span in &mut infos {
        span.offset += data;
    }
    Ok(Found {
        spans: infos,
        external: Vec::new(),
    })
}

/// Weights and bytes of a block, by ggml's type number (`ggml_type`, `ggml-common.h`).
const fn layout(kind: u32) -> Option<Layout> {
    Some(match kind {
        0 => Layout::known(Dtype::F32),
        1 => Layout::known(Dtype::F16),
        2 => Layout::known(Dtype::Q4_0),
        3 => Layout::other(32, 20),
        6 => Layout::other(32, 22),
        7 => Layout::other(32, 24),
        8 => Layout::known(Dtype::Q8_0),
        10 => Layout::other(256, 84),
        11 => Layout::other(256, 110),
        12 => Layout::known(Dtype::Q4K),
        13 => Layout::known(Dtype::Q5K),
        14 => Layout::known(Dtype::Q6K),
        15 => Layout::other(256, 292),
        16 => Layout::other(256, 66),
        17 => Layout::other(256, 74),
        18 => Layout::other(256, 98),
        19 => Layout::other(256, 50),
        20 => Layout::other(32, 18),
        21 => Layout::other(256, 110),
        22 => Layout::other(256, 82),
        23 => Layout::other(256, 136),
        24 => Layout::known(Dtype::I8),
        25 => Layout::other(1, 2),
        26 => Layout::other(1, 4),
        27 | 28 => Layout::other(1, 8),
        29 => Layout::other(256, 56),
        30 => Layout::known(Dtype::Bf16),
        34 => Layout::other(256, 54),
        35 => Layout::other(256, 66),
        39 => Layout::other(32, 17),
        40 => Layout::other(64, 36),
        41 => Layout::other(128, 18),
        _ => return None,
    })
}
