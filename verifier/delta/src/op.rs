//! The operations that make up a chunk, and their bytes in the index.

use crate::codec::Corrupt;
use crate::codec::planes::{self, Transform};
use crate::wire::{Reader, put_signed, put_varint};
use crate::{BasePosition, Dtype};

/// One step of making a target chunk. It yields `length` bytes, after those of the operation before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Bytes that it yields, 1 to 1 MiB.
    pub length: u32,
    /// How.
    pub kind: OpKind,
    /// What is added to the base bytes first, for kinds `Planes` and `Context`.
    pub prediction: Option<Prediction>,
}

/// A merged adapter: which of the index's low-rank factors are added to the base, from which element of their tensor on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prediction {
    /// Which factors.
    pub factors: u8,
    /// Element of the tensor at which the base bytes begin.
    pub first: u64,
}

/// How an operation makes its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// From the base, unchanged.
    Copy {
        /// Where from.
        base: BasePosition,
    },
    /// From the frame alone, in this many byte planes (1, 2 or 4).
    Raw {
        /// Planes.
        planes: u8,
        /// Bytes of the frame that it takes.
        payload: u32,
    },
    /// The base and a difference in byte planes.
    Planes {
        /// Where the base begins.
        base: BasePosition,
        /// What both hold.
        dtype: Dtype,
        /// What the planes hold: 0 XOR, 1 ordered difference, 2 the same sorted by exponent.
        transform: u8,
        /// Bytes of the frame that it takes.
        payload: u32,
    },
    /// The base and a difference in the frame's common stream, by the statistics of a model.
    Context {
        /// Where the base begins.
        base: BasePosition,
        /// Which of the index's models.
        model: u8,
        /// Elements until a block begins.
        phase: u16,
    },
}

const COPY: u8 = 0;
const RAW: u8 = 1;
const PLANES: u8 = 2;
const CONTEXT: u8 = 3;
/// Bit of the detail that says that a prediction follows.
const PREDICTED: u8 = 8;

impl Op {
    /// Where it reads in the base.
    #[must_use]
    pub const fn base(&self) -> Option<BasePosition> {
        match self.kind {
            OpKind::Raw { .. } => None,
            OpKind::Copy { base } | OpKind::Planes { base, .. } | OpKind::Context { base, .. } => Some(base),
        }
    }

    /// Bytes of the frame that it has to itself; operations of kind `Context` share a stream.
    #[must_use]
    pub const fn payload(&self) -> u32 {
        match self.kind {
            OpKind::Raw { payload, .. } | OpKind::Planes { payload, .. } => payload,
            OpKind::Copy { .. } | OpKind::Context { .. } => 0,
        }
    }
}

/// Where the next operation's base is expected: after the last one's.
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    next: BasePosition,
}

impl Cursor {
    /// At the beginning of a chunk: the same place in the same file.
    pub(crate) const fn new(file: u32, offset: u64) -> Self {
        Self {
            next: BasePosition { file, offset },
        }
    }

    fn put(&mut self, base: BasePosition, length: u32, out: &mut Vec<u8>) {
        put_signed(out, i64::from(base.file) - i64::from(self.next.file));
        put_signed(out, base.offset.wrapping_sub(self.next.offset) as i64);
        self.next = BasePosition {
            offset: base.offset.wrapping_add(u64::from(length)),
            ..base
        };
    }

    fn take(&mut self, reader: &mut Reader<'_>, length: u32) -> Result<BasePosition, Corrupt> {
        let file = i64::from(self.next.file)
            .checked_add(reader.signed()?)
            .and_then(|file| u32::try_from(file).ok());
        let file = file.ok_or(Corrupt("operation has an impossible base file"))?;
        let base = BasePosition {
            file,
            offset: self.next.offset.wrapping_add(reader.signed()? as u64),
        };
        self.next = BasePosition {
            offset: base.offset.wrapping_add(u64::from(length)),
            ..base
        };
        Ok(base)
    }

    /// Appends an operation (`schema/delta.md`, "Operations").
    pub(crate) fn write(&mut self, op: &Op, out: &mut Vec<u8>) {
        let predicted = if op.prediction.is_some() { PREDICTED } else { 0 };
        let code = |kind: u8, detail: u8| kind | detail << 4;
        match op.kind {
            OpKind::Copy { base } => {
                out.push(code(COPY, 0));
                put_varint(out, u64::from(op.length));
                self.put(base, op.length, out);
            }
            OpKind::Raw { planes, payload } => {
                out.push(code(RAW, planes));
                put_varint(out, u64::from(op.length));
                put_varint(out, u64::from(payload));
            }
            OpKind::Planes {
                base,
                dtype,
                transform,
                payload,
            } => {
                out.push(code(PLANES, transform | predicted));
                put_varint(out, u64::from(op.length));
                self.put(base, op.length, out);
                out.push(dtype.code());
                put_varint(out, u64::from(payload));
            }
            OpKind::Context { base, model, phase } => {
                out.push(code(CONTEXT, predicted));
                put_varint(out, u64::from(op.length));
                self.put(base, op.length, out);
                out.push(model);
                put_varint(out, u64::from(phase));
            }
        }
        if let Some(Prediction { factors, first }) = op.prediction {
            out.push(factors);
            put_varint(out, first);
        }
    }

    /// Reads an operation that yields at most `left` bytes.
    pub(crate) fn read(
        &mut self,
        reader: &mut Reader<'_>,
        left: u32,
        limits: &Limits<'_>,
    ) -> Result<Op, Corrupt> {
        let code = reader.byte()?;
        let (kind, detail) = (code & 15, code >> 4);
        let length = reader.count(u64::from(left), "operations yield more than their chunk")? as u32;
        if length == 0 {
            return Err(Corrupt("operation yields nothing"));
        }
        let kind = match (kind, detail) {
            (COPY, 0) => OpKind::Copy {
                base: self.take(reader, length)?,
            },
            (RAW, 1 | 2 | 4) => OpKind::Raw {
                planes: detail,
                payload: payload(reader)?,
            },
            (PLANES, 0..=2 | 8..=10) => {
                let base = self.take(reader, length)?;
                let dtype =
                    Dtype::from_code(reader.byte()?).ok_or(Corrupt("operation is of an unknown dtype"))?;
                let transform = detail & !PREDICTED;
                Transform::from_code(transform).ok_or(Corrupt("operation is of an unknown transform"))?;
                if !(length as usize).is_multiple_of(planes::width(dtype)) {
                    return Err(Corrupt("operation does not yield whole elements"));
                }
                OpKind::Planes {
                    base,
                    dtype,
                    transform,
                    payload: payload(reader)?,
                }
            }
            (CONTEXT, 0 | PREDICTED) => {
                let base = self.take(reader, length)?;
                let model = reader.byte()?;
                let unit = limits
                    .models
                    .get(usize::from(model))
                    .ok_or(Corrupt("operation has an unknown model"))?
                    .unit();
                if !(length as usize).is_multiple_of(unit) {
                    return Err(Corrupt("operation does not yield whole elements"));
                }
                let phase = reader.count(1024, "operation's first block is too long")? as u16;
                OpKind::Context { base, model, phase }
            }
            _ => return Err(Corrupt("operation is of an unknown kind")),
        };
        let predicts = matches!(kind, OpKind::Planes { .. } | OpKind::Context { .. });
        let prediction = if predicts && detail & PREDICTED != 0 {
            let factors = reader.byte()?;
            if usize::from(factors) >= limits.factors {
                return Err(Corrupt("operation has unknown factors"));
            }
            Some(Prediction {
                factors,
                first: reader.varint()?,
            })
        } else {
            None
        };
        let op = Op {
            length,
            kind,
            prediction,
        };
        if let Some(base) = op.base() {
            let size = limits
                .base
                .get(base.file as usize)
                .ok_or(Corrupt("operation reads a base file that there is not"))?;
            let end = base.offset.checked_add(u64::from(length));
            if end.is_none_or(|end| end > *size) {
                return Err(Corrupt("operation reads beyond the end of its base file"));
            }
        }
        Ok(op)
    }
}

fn payload(reader: &mut Reader<'_>) -> Result<u32, Corrupt> {
    reader
        .count(crate::index::MAX_FRAME, "operation's payload is too long")
        .map(|length| length as u32)
}

/// What an operation may refer to.
pub(crate) struct Limits<'a> {
    /// Sizes of the base's files.
    pub(crate) base: &'a [u64],
    /// Dtypes of the models.
    pub(crate) models: &'a [Dtype],
    /// How many low-rank factors there are.
    pub(crate) factors: usize,
}
