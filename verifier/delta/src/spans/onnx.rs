//! ONNX: the initialisers of a model's graph, found by walking the protobuf wire format without decoding what is not asked for.
//!
//! Field numbers are those of `onnx.proto`. Numbers in `raw_data`, and `float_data` in one packed run, lie in the file as they are in
//! memory (little-endian) and become spans. With external data, `location` is a path beside the model (`ExternalData.md`); one that
//! leaves its folder is refused.

use super::cursor::Cursor;
use super::limits::{
    MAX_DIMENSIONS, MAX_NAMES, MAX_ONNX_ENTRIES, MAX_ONNX_FIELDS, MAX_TENSOR_NAME, MAX_TENSORS,
};
use super::shape::Layout;
use super::{External, Format, Found, SpanError};
use crate::{Dtype, ReadAt, Span};

/// The longest path of external data.
const MAX_LOCATION: usize = assay_schema::limits::MAX_PATH;
/// Digits of a 64-bit number in text.
const MAX_DIGITS: usize = 20;

/// The tensors of an ONNX model.
///
/// # Errors
/// See [`SpanError`]. A file without a graph is none.
pub fn read(file: &dyn ReadAt) -> Result<Found, SpanError> {
    let mut walk = Walk {
        cursor: Cursor::new(Format::Onnx, file),
        fields: 0,
        names: 0,
        found: Found::default(),
    };
    let end = file.len();
    let mut graphs = 0;
    walk.message(end, |walk, field| match field {
        // ModelProto.graph
        Field::Bytes(7, end) => {
            graphs += 1;
            walk.graph(end)
        }
        other => walk.skip(other),
    })?;
    if graphs != 1 {
        return Err(walk
            .cursor
            .malformed("model", "one graph", format!("{graphs} graphs")));
    }
    let mut found = walk.found;
    found
        .spans
        .sort_by(|a, b| (a.offset, &a.name).cmp(&(b.offset, &b.name)));
    Ok(found)
}

/// A field's number, with its value where that is a number, or the offset at which it ends.
#[derive(Clone, Copy)]
enum Field {
    Number(u32, u64),
    Bytes(u32, u64),
    Fixed(u64),
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    fields: u64,
    names: usize,
    found: Found,
}

#[derive(Default)]
struct Tensor {
    name: String,
    shape: Vec<u64>,
    kind: u64,
    external: bool,
    /// Where its numbers lie in this file, and in which field.
    data: Option<(u64, u64)>,
    runs: u32,
    floats: bool,
    location: Option<String>,
    offset: u64,
    length: Option<u64>,
}

impl Walk<'_> {
    /// Hands every field of a message that ends at `end` to `each`, which leaves the cursor behind it.
    fn message(
        &mut self,
        end: u64,
        mut each: impl FnMut(&mut Self, Field) -> Result<(), SpanError>,
    ) -> Result<(), SpanError> {
        while self.cursor.position() < end {
            self.fields += 1;
            if self.fields > MAX_ONNX_FIELDS {
                return Err(self.cursor.malformed(
                    "model",
                    format!("at most {MAX_ONNX_FIELDS} fields"),
                    "more",
                ));
            }
            let key = self.varint()?;
            let number = u32::try_from(key >> 3).ok().filter(|n| *n > 0);
            let Some(number) = number else {
                return Err(self.cursor.malformed("field number", "1 to 536870911", key >> 3));
            };
            let field = match key & 7 {
                0 => Field::Number(number, self.varint()?),
                1 => Field::Fixed(8),
                2 => {
                    let length = self.varint()?;
                    let last = self.cursor.position().checked_add(length);
                    let Some(last) = last.filter(|last| *last <= end) else {
                        let room = end.saturating_sub(self.cursor.position());
                        return Err(self.cursor.malformed(
                            format!("length of field {number}"),
                            format!("at most {room} bytes, inside its message"),
                            length,
                        ));
                    };
                    Field::Bytes(number, last)
                }
                5 => Field::Fixed(4),
                kind => return Err(self.cursor.malformed("wire type", "0, 1, 2 or 5", kind)),
            };
            each(self, field)?;
        }
        if self.cursor.position() > end {
            let position = self.cursor.position();
            return Err(self
                .cursor
                .malformed("message", format!("an end at {end}"), position));
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, SpanError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.cursor.array("varint")?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.cursor.malformed("varint", "at most 64 bits", "more"))
    }

    fn skip(&mut self, field: Field) -> Result<(), SpanError> {
        match field {
            Field::Number(..) => Ok(()),
            Field::Fixed(length) => self.cursor.skip("field", length),
            Field::Bytes(_, end) => {
                let length = end.saturating_sub(self.cursor.position());
                self.cursor.skip("field", length)
            }
        }
    }

    fn graph(&mut self, end: u64) -> Result<(), SpanError> {
        self.message(end, |walk, field| match field {
            // GraphProto.initializer
            Field::Bytes(5, end) => {
                let tensor = walk.tensor(end)?;
                walk.keep(tensor)
            }
            other => walk.skip(other),
        })
    }

    fn tensor(&mut self, end: u64) -> Result<Tensor, SpanError> {
        let mut tensor = Tensor::default();
        let mut entries = 0;
        self.message(end, |walk, field| {
            match field {
                // TensorProto: dims (packed or not), data_type, name, data_location
                Field::Number(1, dimension) => walk.dimension(&mut tensor, dimension)?,
                Field::Bytes(1, end) => {
                    while walk.cursor.position() < end {
                        let dimension = walk.varint()?;
                        walk.dimension(&mut tensor, dimension)?;
                    }
                }
                Field::Number(2, kind) => tensor.kind = kind,
                Field::Bytes(8, end) => tensor.name = walk.text("tensor name", end, MAX_TENSOR_NAME)?,
                Field::Number(14, place) => tensor.external = place == 1,
                // TensorProto: raw_data, float_data
                Field::Bytes(number @ (9 | 4), end) => {
                    tensor.data = Some((walk.cursor.position(), end));
                    tensor.floats = number == 4;
                    tensor.runs += 1;
                    walk.skip(field)?;
                }
                // TensorProto.external_data
                Field::Bytes(13, end) => {
                    entries += 1;
                    if entries > MAX_ONNX_ENTRIES {
                        let expected = format!("at most {MAX_ONNX_ENTRIES} entries");
                        return Err(walk.cursor.malformed("external_data", expected, entries));
                    }
                    walk.entry(&mut tensor, end)?;
                }
                other => walk.skip(other)?,
            }
            Ok(())
        })?;
        Ok(tensor)
    }

    fn dimension(&mut self, tensor: &mut Tensor, dimension: u64) -> Result<(), SpanError> {
        if tensor.shape.len() == MAX_DIMENSIONS {
            let expected = format!("at most {MAX_DIMENSIONS}");
            return Err(self.cursor.malformed("dims", expected, "more"));
        }
        tensor.shape.push(dimension);
        Ok(())
    }

    fn text(&mut self, what: &str, end: u64, most: usize) -> Result<String, SpanError> {
        let length = end.saturating_sub(self.cursor.position());
        self.cursor.text(what, length, most)
    }

    /// One StringStringEntryProto of `external_data`.
    fn entry(&mut self, tensor: &mut Tensor, end: u64) -> Result<(), SpanError> {
        let (mut key, mut value) = (String::new(), String::new());
        self.message(end, |walk, field| {
            match field {
                Field::Bytes(1, end) => key = walk.text("external_data key", end, MAX_TENSOR_NAME)?,
                Field::Bytes(2, end) => value = walk.text("external_data value", end, MAX_LOCATION)?,
                other => walk.skip(other)?,
            }
            Ok(())
        })?;
        match key.as_str() {
            "location" => tensor.location = Some(self.location(&value)?),
            "offset" => tensor.offset = self.number("external_data offset", &value)?,
            "length" => tensor.length = Some(self.number("external_data length", &value)?),
            _ => {}
        }
        Ok(())
    }

    fn number(&self, what: &str, text: &str) -> Result<u64, SpanError> {
        let digits = text.len() <= MAX_DIGITS && text.bytes().all(|b| b.is_ascii_digit());
        let value = text.parse().ok().filter(|_| digits);
        value.ok_or_else(|| {
            self.cursor
                .malformed(what, "a number of bytes", text.escape_debug())
        })
    }

    /// ExternalData.md: a relative path, in the model's folder or below.
    fn location(&self, text: &str) -> Result<String, SpanError> {
        let text = text.strip_prefix("./").unwrap_or(text);
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0', ':']);
        if text.split('/').all(plain) {
            return Ok(text.to_owned());
        }
        let expected = "a relative path below the model's folder";
        Err(self
            .cursor
            .malformed("external_data location", expected, text.escape_debug()))
    }

    fn keep(&mut self, tensor: Tensor) -> Result<(), SpanError> {
        let what = |detail| format!("initializer {:?}: {detail}", tensor.name);
        self.names += tensor.name.len() + tensor.location.as_ref().map_or(0, String::len);
        if self.found.spans.len() + self.found.external.len() >= MAX_TENSORS || self.names > MAX_NAMES {
            let expected = format!("at most {MAX_TENSORS} with {MAX_NAMES} bytes of names");
            return Err(self.cursor.malformed("initializers", expected, "more"));
        }
        let Some(layout) = layout(tensor.kind) else {
            // Text has no numbers to code; what a later version adds is coded byte by byte.
            return Ok(());
        };
        let Some(size) = layout.size(&tensor.shape) else {
            let found = format!("{:?}", tensor.shape);
            return Err(self
                .cursor
                .malformed(what("dims"), "a shape that a file can hold", found));
        };
        let mut span = Span {
            name: tensor.name.clone(),
            dtype: layout.dtype,
            shape: tensor.shape.clone(),
            offset: 0,
            length: size,
        };
        match (tensor.external, tensor.location, tensor.data) {
            (true, Some(location), _) => {
                if tensor.length.is_some_and(|length| length != size) {
                    let found = tensor.length.unwrap_or_default();
                    return Err(self.cursor.malformed(
                        what("external_data length"),
                        format!("{size} bytes for its shape"),
                        found,
                    ));
                }
                span.offset = tensor.offset;
                self.found.external.push(External { location, span });
            }
            (true, None, _) => {
                return Err(self.cursor.malformed(what("external_data"), "a location", "none"));
            }
            // Numbers that are spread over several runs, or written as varints, are coded byte by byte.
            (false, _, Some((offset, end))) if tensor.runs == 1 && (!tensor.floats || tensor.kind == 1) => {
                let found = end.saturating_sub(offset);
                if found != size {
                    return Err(self.cursor.malformed(
                        what("data"),
                        format!("{size} bytes for its shape"),
                        format!("{found} bytes"),
                    ));
                }
                span.offset = offset;
                self.found.spans.push(span);
            }
            _ => {}
        }
        Ok(())
    }
}

/// TensorProto.DataType; `None` for text and unknown types.
const fn layout(kind: u64) -> Option<Layout> {
    Some(match kind {
        1 => Layout::known(Dtype::F32),
        2 => Layout::known(Dtype::U8),
        3 => Layout::known(Dtype::I8),
        4 | 5 => Layout::other(1, 2),
        6 | 12 => Layout::other(1, 4),
        7 | 11 | 13 | 14 => Layout::other(1, 8),
        9 | 18 | 20 | 24 => Layout::other(1, 1),
        10 => Layout::known(Dtype::F16),
        15 => Layout::other(1, 16),
        16 => Layout::known(Dtype::Bf16),
        17 => Layout::known(Dtype::F8E4m3),
        19 => Layout::known(Dtype::F8E5m2),
        _ => return None,
    })
}
