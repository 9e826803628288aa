//! safetensors: the length of a header, the header in JSON, the data.
//!
//! The rules are those of its reference: the header begins with `{`, no name comes twice, and the tensors' bytes follow one another
//! without holes or overlap up to the end of the file. Other than the reference, names, dimensions and the header are bounded tighter
//! (see [`limits`](super::limits)). Alignment is not a rule of the format, and none is asked for.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::cursor::Cursor;
use super::limits::{MAX_DIMENSIONS, MAX_NAMES, MAX_SAFETENSORS_HEADER, MAX_TENSOR_NAME, MAX_TENSORS};
use super::shape::Layout;
use super::{Format, Found, SpanError};
use crate::{Dtype, ReadAt, Span};

/// Whether a file that is not named so begins as one: a credible length, and then a JSON object.
pub(super) fn looks_alike(head: &[u8; 9], file: u64) -> bool {
    let [length @ .., brace] = head;
    let length = u64::from_le_bytes(*length);
    *brace == b'{' && (2..=MAX_SAFETENSORS_HEADER.min(file.saturating_sub(8))).contains(&length)
}

/// The tensors of a safetensors file.
///
/// # Errors
/// See [`SpanError`].
pub fn read(file: &dyn ReadAt) -> Result<Found, SpanError> {
    let mut cursor = Cursor::new(Format::Safetensors, file);
    let length = cursor.u64("header length")?;
    if length > MAX_SAFETENSORS_HEADER || length > cursor.left() {
        let most = MAX_SAFETENSORS_HEADER.min(cursor.left());
        return Err(cursor.malformed("header length", format!("at most {most} bytes"), length));
    }
    let data = 8 + length;
    cursor.set_end(data);
    let mut json = serde_json::Deserializer::from_reader(&mut cursor);
    let parsed = Header
        .deserialize(&mut json)
        .and_then(|tensors| json.end().map(|()| tensors));
    let tensors = parsed.map_err(|e| match e.is_io() {
        true => SpanError::Read {
            format: Format::Safetensors,
            offset: 8,
            length: usize::try_from(length).unwrap_or(usize::MAX),
            source: e.into(),
        },
        false => cursor.malformed("header", "a JSON object of tensors", e),
    })?;
    place(&cursor, tensors, data, file.len())
}

fn place(cursor: &Cursor<'_>, mut tensors: Vec<Tensor>, data: u64, end: u64) -> Result<Found, SpanError> {
    tensors.sort_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
    let mut names = BTreeSet::new();
    let mut next = 0;
    for tensor in &tensors {
        let what = |detail| format!("tensor {:?}: {detail}", tensor.name);
        if !names.insert(&tensor.name) {
            return Err(cursor.malformed(what("name"), "each name once", "the same name again"));
        }
        if tensor.begin != next {
            return Err(cursor.malformed(
                what("data_offsets"),
                format!("{next}, where the tensor before ends"),
                tensor.begin,
            ));
        }
        let size = tensor.layout.size(&tensor.shape);
        if size.is_none() || size != tensor.end.checked_sub(tensor.begin) {
            let expected = match size {
                Some(size) => format!("{size} bytes for the shape {:?}", tensor.shape),
                None => "a shape that a file can hold".to_owned(),
            };
            let found = format!("{} to {}", tensor.begin, tensor.end);
            return Err(cursor.malformed(what("data_offsets"), expected, found));
        }
        next = tensor.end;
    }
    if data.checked_add(next) != Some(end) {
        return Err(cursor.malformed(
            "data",
            format!("{next} bytes, as the tensors say"),
            end.saturating_sub(data),
        ));
    }
    let spans = tensors.into_iter().map(|t| Span {
        name: t.name,
        dtype: t.layout.dtype,
        shape: t.shape,
        offset: data + t.begin,
        length: t.end - t.begin,
    });
    Ok(Found {
        spans: spans.collect(),
        external: Vec::new(),
    })
}

struct Tensor {
    name: String,
    layout: Layout,
    shape: Vec<u64>,
    begin: u64,
    end: u64,
}

/// The header's object, read pair by pair, so that counts are bounded while they grow.
struct Header;

impl<'de> DeserializeSeed<'de> for Header {
    type Value = Vec<Tensor>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Header {
    type Value = Vec<Tensor>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tensors = Vec::new();
        let mut bytes = 0_usize;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if name.len() > MAX_TENSOR_NAME {
                return Err(A::Error::custom(format!(
                    "a name of {} bytes; at most {MAX_TENSOR_NAME}",
                    name.len()
                )));
            }
            bytes = bytes.saturating_add(name.len());
            if tensors.len() >= MAX_TENSORS || bytes > MAX_NAMES {
                return Err(A::Error::custom(format!(
                    "more than {MAX_TENSORS} tensors, or more than {MAX_NAMES} bytes of names"
                )));
            }
            let info: Info = map.next_value()?;
            let Some(layout) = layout(&info.dtype) else {
                return Err(A::Error::custom(format!(
                    "tensor {name:?}: dtype {:?} is unknown",
                    info.dtype.get(..32).unwrap_or(&info.dtype)
                )));
            };
            tensors.push(Tensor {
                name,
                layout,
                shape: info.shape.0,
                begin: info.data_offsets.0,
                end: info.data_offsets.1,
            });
        }
        Ok(tensors)
    }
}

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Shape,
    data_offsets: (u64, u64),
}

struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Dimensions;
        impl<'de> Visitor<'de> for Dimensions {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_DIMENSIONS} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(dimension) = seq.next_element()? {
                    if shape.len() == MAX_DIMENSIONS {
                        return Err(A::Error::invalid_length(shape.len() + 1, &self));
                    }
                    shape.push(dimension);
                }
                Ok(Shape(shape))
            }
        }
        from.deserialize_seq(Dimensions)
    }
}

/// The reference's dtypes. Those of less than a byte fill whole bytes in every tensor.
fn layout(dtype: &str) -> Option<Layout> {
    Some(match dtype {
        "F32" => Layout::known(Dtype::F32),
        "F16" => Layout::known(Dtype::F16),
        "BF16" => Layout::known(Dtype::Bf16),
        "F8_E4M3" => Layout::known(Dtype::F8E4m3),
        "F8_E5M2" => Layout::known(Dtype::F8E5m2),
        "I8" => Layout::known(Dtype::I8),
        "U8" => Layout::known(Dtype::U8),
        "BOOL" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => Layout::other(1, 1),
        "I16" | "U16" => Layout::other(1, 2),
        "I32" | "U32" => Layout::other(1, 4),
        "I64" | "U64" | "F64" | "C64" => Layout::other(1, 8),
        "F4" => Layout::other(2, 1),
        "F6_E2M3" | "F6_E3M2" => Layout::other(4, 3),
        _ => return None,
    })
}
