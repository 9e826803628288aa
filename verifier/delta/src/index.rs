//! The index of a delta: which releases it is between, the statistics that its frames share, and how each target chunk is made.

use std::ops::Range;

use assay_schema::Sha256Digest;
use assay_schema::chunk;
use assay_schema::limits::{CHUNK_SIZE, MAX_FILE_SIZE, MAX_FILES};
use sha2::{Digest, Sha256};

use crate::Dtype;
use crate::codec::Corrupt;
use crate::codec::model::Model;
use crate::error::BadIndex;
use crate::lora::Factors;
use crate::op::{Cursor, Limits, Op};
use crate::wire::{Reader, put_varint};

const MAGIC: &[u8; 8] = b"ASSAYDL1";
/// Bytes of the header, which tells how long the index is.
pub const HEADER: usize = 96;
/// The largest index, header excluded: room for about a million chunks.
pub const MAX_INDEX: u64 = 64 << 20;
/// The largest frame: a chunk that does not shrink, and what describes it.
pub const MAX_FRAME: u64 = (CHUNK_SIZE as u64) + (64 << 10);
/// The most operations of a chunk.
pub const MAX_OPS: usize = 4096;
/// The most low-rank factors of an index.
pub const MAX_FACTORS: usize = 256;
/// The most models of an index.
pub const MAX_MODELS: usize = 64;

/// The first bytes of a delta: what it is between, and how much is to be read for the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Identity of the release that a device has.
    pub base: Sha256Digest,
    /// Identity of the release that it gets.
    pub target: Sha256Digest,
    /// Bytes of the index that follow the header; the frames come after them.
    pub length: u32,
    /// First half of the SHA-256 of those bytes.
    check: [u8; 16],
}

impl Header {
    /// Reads the first [`HEADER`] bytes of a delta.
    ///
    /// # Errors
    ///
    /// [`BadIndex::Header`] for other bytes, [`BadIndex::TooLarge`] for an index that is too large.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadIndex> {
        let mut reader = Reader::new(bytes);
        let parse = |reader: &mut Reader<'_>| -> Result<_, Corrupt> {
            Ok((
                reader.array::<8>()?,
                reader.array()?,
                reader.array::<4>()?,
                reader.array()?,
                reader.array()?,
                reader.array()?,
            ))
        };
        let (magic, length, reserved, base, target, check) =
            parse(&mut reader).map_err(|_| BadIndex::Header)?;
        if magic != *MAGIC || reserved != [0; 4] {
            return Err(BadIndex::Header);
        }
        let length = u32::from_le_bytes(length);
        if u64::from(length) > MAX_INDEX {
            return Err(BadIndex::TooLarge {
                max: MAX_INDEX,
                found: u64::from(length),
            });
        }
        Ok(Self {
            base: Sha256Digest::new(base),
            target: Sha256Digest::new(target),
            length,
            check,
        })
    }

    /// Where the frames begin, in the object that begins with this header.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        HEADER as u64 + self.length as u64
    }
}

/// A delta's index, completely checked against the format. Whether it tells the truth, only the chunks' digests show.
#[derive(Debug, Clone)]
pub struct Index {
    header: Header,
    bytes: Vec<u8>,
    base: Vec<u64>,
    pub(crate) models: Vec<Model>,
    dtypes: Vec<Dtype>,
    pub(crate) factors: Vec<Factors>,
    files: Vec<File>,
    chunks: Vec<Place>,
}

#[derive(Debug, Clone)]
struct File {
    size: u64,
    /// Its first chunk in `chunks`.
    first: usize,
}

#[derive(Debug, Clone)]
struct Place {
    /// Its entry in `bytes`.
    entry: u32,
    /// Its frame, counted from the first one.
    frame: u64,
    /// Bytes of its frame.
    length: u32,
}

/// One target chunk of a delta.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Which target file, in the order of sorted paths.
    pub file: u32,
    /// Which of its chunks.
    pub chunk: u64,
    /// Bytes of the chunk.
    pub length: u32,
    /// The bytes of the delta that are to be fetched for it; empty where it is made of the base alone.
    pub frame: Range<u64>,
    /// First half of the frame's SHA-256: tells damage from a wrong base early. Zeros where there is no frame.
    pub check: [u8; 16],
    ops: Reader<'a>,
    count: usize,
    limits: (&'a [u64], &'a [Dtype], usize),
}

impl Entry<'_> {
    /// The operations that make it, in order.
    ///
    /// # Errors
    ///
    /// None for an entry of an [`Index`], which has read them all before.
    pub fn ops(&self) -> Result<Vec<Op>, BadIndex> {
        self.read().map(|(ops, _)| ops).map_err(BadIndex::from)
    }

    pub(crate) fn read(&self) -> Result<(Vec<Op>, usize), Corrupt> {
        let mut reader = self.ops.clone();
        let mut cursor = Cursor::new(self.file, self.chunk * u64::from(CHUNK_SIZE));
        let limits = Limits {
            base: self.limits.0,
            models: self.limits.1,
            factors: self.limits.2,
        };
        let (mut ops, mut left) = (Vec::with_capacity(self.count), self.length);
        for _ in 0..self.count {
            let op = cursor.read(&mut reader, left, &limits)?;
            left -= op.length;
            ops.push(op);
        }
        if left > 0 {
            return Err(Corrupt("operations yield less than their chunk"));
        }
        Ok((ops, self.ops.len() - reader.len()))
    }
}

impl Index {
    /// Reads a whole index: the header and the bytes that it announces.
    ///
    /// Memory: the bytes, 24 bytes for each chunk, and 16 KiB or less for each model.
    ///
    /// # Errors
    ///
    /// [`BadIndex`], with the chunk where it is about one.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadIndex> {
        let header = Header::parse(bytes)?;
        let body = bytes
            .get(HEADER..)
            .filter(|body| body.len() as u64 == u64::from(header.length));
        let body = body.ok_or_else(|| BadIndex::Malformed {
            what: format!(
                "expected {} bytes after the header, found {}",
                header.length,
                bytes.len().saturating_sub(HEADER)
            ),
        })?;
        if check(body) != header.check {
            return Err(BadIndex::Damaged);
        }
        let mut reader = Reader::new(body);
        let base = sizes(&mut reader)?;
        let targets = sizes(&mut reader)?;
        let models = reader.count(MAX_MODELS as u64, "more models than any index has")?;
        let models = (0..models)
            .map(|_| Model::read(&mut reader))
            .collect::<Result<Vec<_>, _>>()?;
        let factors = reader.count(MAX_FACTORS as u64, "more low-rank factors than any index has")?;
        let factors = (0..factors)
            .map(|_| read_factors(&mut reader))
            .collect::<Result<Vec<_>, _>>()?;
        let dtypes = models.iter().map(|model| model.dtype).collect();
        let mut index = Self {
            header,
            bytes: body.to_vec(),
            base,
            models,
            dtypes,
            factors,
            files: Vec::new(),
            chunks: Vec::new(),
        };
        let mut frame = 0_u64;
        for (file, size) in (0_u32..).zip(targets) {
            index.files.push(File {
                size,
                first: index.chunks.len(),
            });
            for chunk in 0..chunk::count(size) {
                let bad = |corrupt: Corrupt| BadIndex::Entry {
                    file,
                    chunk,
                    what: corrupt.to_string(),
                };
                let at = body.len() - reader.len();
                let length = reader
                    .clone()
                    .count(MAX_FRAME, "frame is too long")
                    .map_err(bad)? as u32;
                index.chunks.push(Place {
                    entry: at as u32,
                    frame,
                    length,
                });
                let entry = index
                    .chunk(file, chunk)
                    .ok_or_else(|| bad(Corrupt("entry is cut")))?;
                let (ops, consumed) = entry.read().map_err(bad)?;
                let payloads: u64 = ops.iter().map(|op| u64::from(op.payload())).sum();
                if payloads > u64::from(length) {
                    return Err(bad(Corrupt("payloads are longer than their frame")));
                }
                let begin = reader.len() - entry.ops.len();
                reader.take(begin + consumed).map_err(bad)?;
                frame += u64::from(length);
            }
        }
        if !reader.is_empty() {
            return Err(BadIndex::Malformed {
                what: format!("{} bytes follow the last entry", reader.len()),
            });
        }
        Ok(index)
    }

    /// Refuses an index that is not from `base` to `target`.
    ///
    /// # Errors
    ///
    /// [`BadIndex::Other`].
    pub fn between(&self, base: &Sha256Digest, target: &Sha256Digest) -> Result<(), BadIndex> {
        let sides = [
            ("from", base, &self.header.base),
            ("to", target, &self.header.target),
        ];
        for (what, expected, found) in sides {
            if expected != found {
                return Err(BadIndex::Other {
                    what,
                    expected: *expected,
                    found: *found,
                });
            }
        }
        Ok(())
    }

    /// Tells this index from others.
    pub(crate) fn identity(&self) -> [u8; 16] {
        self.header.check
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Sizes of the base's files, in the order of sorted paths.
    #[must_use]
    pub fn base_sizes(&self) -> &[u64] {
        &self.base
    }

    /// Sizes of the target's files, in the order of sorted paths.
    pub fn target_sizes(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.files.iter().map(|file| file.size)
    }

    /// Bytes of index and frames together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.header.frames()
            + self
                .chunks
                .last()
                .map_or(0, |place| place.frame + u64::from(place.length))
    }

    /// How a target chunk is made; `None` where there is no such chunk.
    #[must_use]
    pub fn chunk(&self, file: u32, chunk: u64) -> Option<Entry<'_>> {
        let of = self.files.get(file as usize)?;
        let (_, length) = chunk::range(of.size, chunk)?;
        let place = self
            .chunks
            .get(of.first.checked_add(usize::try_from(chunk).ok()?)?)?;
        let mut reader = Reader::new(self.bytes.get(place.entry as usize..)?);
        let frame = reader.varint().ok()?;
        let check = if frame > 0 { reader.array().ok()? } else { [0; 16] };
        let count = reader.count(MAX_OPS as u64, "").ok()?;
        let start = self.header.frames() + place.frame;
        Some(Entry {
            file,
            chunk,
            length,
            frame: start..start + u64::from(place.length),
            check,
            ops: reader,
            count,
            limits: (&self.base, &self.dtypes, self.factors.len()),
        })
    }

    /// All chunks, file by file.
    pub fn chunks(&self) -> impl Iterator<Item = Entry<'_>> {
        (0_u32..).zip(&self.files).flat_map(move |(file, of)| {
            (0..chunk::count(of.size)).filter_map(move |chunk| self.chunk(file, chunk))
        })
    }
}

fn sizes(reader: &mut Reader<'_>) -> Result<Vec<u64>, Corrupt> {
    let count = reader.count(MAX_FILES as u64, "more files than any release has")?;
    (0..count)
        .map(|_| {
            let size = reader.varint()?;
            if size > MAX_FILE_SIZE {
                Err(Corrupt("file is larger than any file of a release"))
            } else {
                Ok(size)
            }
        })
        .collect()
}

fn read_factors(reader: &mut Reader<'_>) -> Result<Factors, BadIndex> {
    let length = reader.count(MAX_INDEX, "low-rank factors are too long")?;
    Factors::parse(reader.take(length)?).map_err(|bad| BadIndex::Malformed {
        what: bad.to_string(),
    })
}

/// First half of the SHA-256 of some bytes.
pub(crate) fn check(bytes: &[u8]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    *digest.first_chunk().unwrap_or(&[0; 16])
}

/// Writes an index while chunks are encoded, in the order of files and chunks.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) roots: [Sha256Digest; 2],
    body: Vec<u8>,
}

impl Writer {
    pub(crate) fn new<'a>(
        roots: [Sha256Digest; 2],
        base: &[u64],
        target: &[u64],
        models: impl ExactSizeIterator<Item = &'a Model>,
        factors: &[Factors],
    ) -> Self {
        let mut body = Vec::new();
        for sizes in [base, target] {
            put_varint(&mut body, sizes.len() as u64);
            for size in sizes {
                put_varint(&mut body, *size);
            }
        }
        put_varint(&mut body, models.len() as u64);
        for model in models {
            model.write(&mut body);
        }
        put_varint(&mut body, factors.len() as u64);
        for factors in factors {
            let bytes = factors.to_bytes();
            put_varint(&mut body, bytes.len() as u64);
            body.extend_from_slice(&bytes);
        }
        Self { roots, body }
    }

    pub(crate) fn push(&mut self, entry: &[u8]) {
        self.body.extend_from_slice(entry);
    }

    /// The header and the index. `None` where it is too large to be read.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        let length = u32::try_from(self.body.len())
            .ok()
            .filter(|length| u64::from(*length) <= MAX_INDEX)?;
        let mut out = Vec::with_capacity(HEADER + self.body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for root in self.roots {
            out.extend_from_slice(root.as_bytes());
        }
        out.extend_from_slice(&check(&self.body));
        out.extend_from_slice(&self.body);
        Some(out)
    }
}

/// Appends the entry of a chunk at `offset` of target file `file`.
pub(crate) fn write_entry(file: u32, offset: u64, ops: &[Op], frame: &[u8], out: &mut Vec<u8>) {
    put_varint(out, frame.len() as u64);
    if !frame.is_empty() {
        out.extend_from_slice(&check(frame));
    }
    put_varint(out, ops.len() as u64);
    let mut cursor = Cursor::new(file, offset);
    for op in ops {
        cursor.write(op, out);
    }
}
