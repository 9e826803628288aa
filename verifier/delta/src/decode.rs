//! Makes a target chunk of base bytes and a frame, and lets it out only when its digest is the one that the release's signers stand for.

use assay_schema::Sha256Digest;
use assay_schema::limits::CHUNK_SIZE;
use sha2::{Digest, Sha256};

use crate::codec::elements::{self, Source, with_element};
use crate::codec::model::Model;
use crate::codec::pack::Packer;
use crate::codec::planes::{self, Planes, Transform};
use crate::codec::rans::{self, Slot};
use crate::codec::token::BitReader;
use crate::codec::{Corrupt, blocks};
use crate::error::{BadChunk, Why};
use crate::index::{self, Entry, Index};
use crate::op::{Op, OpKind};
use crate::wire::Reader;
use crate::{BasePosition, Dtype, ReadAt};

/// Room that a worker keeps from chunk to chunk: at most 8 MiB, whatever the delta says.
#[derive(Default)]
pub struct Scratch {
    out: Vec<u8>,
    base: Vec<u8>,
    words: Vec<u16>,
    bits: Vec<u8>,
    planes: Planes,
    packer: Packer,
    elements: elements::Work,
    blocks: blocks::Work,
    slots: Cache,
}

impl Scratch {
    /// Empty; it grows with the first chunks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// Decoding slots of the two models that were used last.
#[derive(Default)]
struct Cache {
    /// Which index they belong to.
    index: Option<[u8; 16]>,
    entries: [Option<(u8, Vec<Slot>)>; 2],
}

impl Cache {
    fn slots(&mut self, models: &[Model], wanted: u8) -> Result<&[Slot], Corrupt> {
        if self.entries.iter().flatten().all(|(held, _)| *held != wanted) {
            let model = models
                .get(usize::from(wanted))
                .ok_or(Corrupt("operation has an unknown model"))?;
            self.entries.rotate_right(1);
            let mut slots = self
                .entries
                .first_mut()
                .and_then(Option::take)
                .map(|(_, slots)| slots)
                .unwrap_or_default();
            model.expand(&mut slots);
            if let Some(first) = self.entries.first_mut() {
                *first = Some((wanted, slots));
            }
        }
        let held = self.entries.iter().flatten().find(|(held, _)| *held == wanted);
        held.map(|(_, slots)| slots.as_slice())
            .ok_or(Corrupt("operation has an unknown model"))
    }
}

/// A target chunk whose digest was compared with the expected one. Nothing else makes one.
#[derive(Debug)]
pub struct Checked<'a> {
    bytes: &'a [u8],
    sha256: Sha256Digest,
}

impl Checked<'_> {
    /// The chunk, ready to be written.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Its digest, which is the expected one.
    #[must_use]
    pub const fn sha256(&self) -> Sha256Digest {
        self.sha256
    }
}

/// Makes the chunk of `entry`. `frame` are the bytes of the delta at `entry.frame`, `bases` the base's files in the order of sorted
/// paths, `expected` the chunk's digest in the release that is to be installed.
///
/// # Errors
///
/// [`BadChunk`], which names the chunk. Nothing may be written then; the chunk has to be fetched in full.
pub fn decode_chunk<'s, R: ReadAt>(
    index: &Index,
    entry: &Entry<'_>,
    frame: &[u8],
    bases: &[R],
    expected: &Sha256Digest,
    scratch: &'s mut Scratch,
) -> Result<Checked<'s>, BadChunk> {
    let bad = |why: Why| BadChunk {
        file: entry.file,
        chunk: entry.chunk,
        why,
    };
    let length = entry.frame.end - entry.frame.start;
    if frame.len() as u64 != length || (length > 0 && index::check(frame) != entry.check) {
        return Err(bad(Why::Frame {
            expected: length,
            found: frame.len() as u64,
        }));
    }
    make(index, entry, frame, bases, scratch).map_err(bad)?;
    let found = Sha256Digest::new(Sha256::digest(&scratch.out).into());
    // The one check that decides: a delta is a stranger's hint.
    if found != *expected {
        return Err(bad(Why::Digest {
            expected: *expected,
            found,
        }));
    }
    Ok(Checked {
        bytes: &scratch.out,
        sha256: found,
    })
}

fn make<R: ReadAt>(
    index: &Index,
    entry: &Entry<'_>,
    frame: &[u8],
    bases: &[R],
    scratch: &mut Scratch,
) -> Result<(), Why> {
    let Scratch {
        out,
        base,
        words,
        bits,
        planes,
        packer,
        elements,
        blocks,
        slots,
    } = scratch;
    let identity = index.identity();
    if slots.index != Some(identity) {
        *slots = Cache {
            index: Some(identity),
            ..Cache::default()
        };
    }
    let (ops, _) = entry.read()?;
    let mut payload = Reader::new(frame);
    let (rans, raw): (&[u8], &[u8]) = if frame.is_empty() {
        (&[], &[])
    } else {
        let lengths = [payload.varint()?, payload.varint()?];
        let [rans, raw] = lengths.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        (payload.take(rans)?, payload.take(raw)?)
    };
    let mut source = if rans.is_empty() {
        None
    } else {
        Some((rans::Decoder::new(rans, words)?, BitReader::new(raw, bits)))
    };
    out.clear();
    out.resize(entry.length.min(CHUNK_SIZE) as usize, 0);
    let mut rest = out.as_mut_slice();
    for op in &ops {
        let (into, later) = std::mem::take(&mut rest)
            .split_at_mut_checked(op.length as usize)
            .ok_or(Corrupt("operation is too long"))?;
        rest = later;
        let mut own = Reader::new(payload.take(op.payload() as usize)?);
        if let (Some(position), false) = (op.base(), matches!(op.kind, OpKind::Copy { .. })) {
            base.resize(op.length as usize, 0);
            read(bases, position, base)?;
            predict(op, index, base);
        }
        apply(
            op,
            index,
            &mut own,
            bases,
            (base, into),
            &mut source,
            (planes, packer, elements, blocks, slots),
        )?;
        if !own.is_empty() {
            return Err(Corrupt("payload is longer than what it describes").into());
        }
    }
    if !payload.is_empty() {
        return Err(Corrupt("frame is longer than its payloads").into());
    }
    if let Some((rans, bits)) = source {
        rans.finish()?;
        bits.finish()?;
    } else if !raw.is_empty() {
        return Err(Corrupt("frame has raw bits that nothing reads").into());
    }
    Ok(())
}

type Rooms<'a> = (
    &'a mut Planes,
    &'a mut Packer,
    &'a mut elements::Work,
    &'a mut blocks::Work,
    &'a mut Cache,
);

fn apply<'b, R: ReadAt>(
    op: &Op,
    index: &Index,
    payload: &mut Reader<'_>,
    bases: &[R],
    (base, into): (&[u8], &mut [u8]),
    source: &mut Option<(rans::Decoder<'b>, BitReader<'b>)>,
    (planes, packer, elements, blocks, slots): Rooms<'_>,
) -> Result<(), Why> {
    match op.kind {
        OpKind::Copy { base } => read(bases, base, into)?,
        OpKind::Raw { planes: width, .. } => {
            planes::merge(usize::from(width), payload, into, planes, packer)?
        }
        OpKind::Planes { dtype, transform, .. } => {
            let transform =
                Transform::from_code(transform).ok_or(Corrupt("operation is of an unknown transform"))?;
            planes::decode(dtype, transform, payload, (base, into), planes, packer)?;
        }
        OpKind::Context {
            model: number, phase, ..
        } => {
            let (rans, bits) = source
                .as_mut()
                .ok_or(Corrupt("frame lacks the stream that an operation needs"))?;
            let mut source = Source { rans, bits };
            let model = index
                .models
                .get(usize::from(number))
                .ok_or(Corrupt("operation has an unknown model"))?;
            let tables = model.tables(slots.slots(&index.models, number)?);
            let (coder, phase, run) = ((model, tables), usize::from(phase), (base, into));
            elements_or_blocks(model.dtype, coder, phase, run, &mut source, elements, blocks)?;
        }
    }
    Ok(())
}

fn elements_or_blocks(
    dtype: Dtype,
    coder: (&Model, rans::Tables<'_>),
    phase: usize,
    run: (&[u8], &mut [u8]),
    source: &mut Source<'_, '_>,
    elements: &mut elements::Work,
    blocks: &mut blocks::Work,
) -> Result<(), Corrupt> {
    use elements::decode;
    with_element!(
        dtype,
        decode(coder, phase, run, source, elements),
        blocks::decode(coder, run, source, blocks)
    )
}

/// Adds the low-rank factors that an operation names to its base bytes.
fn predict(op: &Op, index: &Index, base: &mut [u8]) {
    let dtype = match op.kind {
        OpKind::Planes { dtype, .. } => Some(dtype),
        OpKind::Context { model, .. } => index.models.get(usize::from(model)).map(|model| model.dtype),
        OpKind::Copy { .. } | OpKind::Raw { .. } => None,
    };
    if let (Some(prediction), Some(dtype)) = (op.prediction, dtype)
        && let Some(factors) = index.factors.get(usize::from(prediction.factors))
    {
        factors.predict(dtype, prediction.first, base);
    }
}

fn read<R: ReadAt>(bases: &[R], position: BasePosition, into: &mut [u8]) -> Result<(), Why> {
    let BasePosition { file, offset } = position;
    let failed = |source| Why::Base { file, offset, source };
    let base = bases
        .get(file as usize)
        .ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    base.read_at(offset, into).map_err(failed)
}
