//! A release's files as positioned reads over the object store, for threads that may wait.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use assay_delta::ReadAt;
use assay_schema::{FilePath, NamespaceName, ReleaseManifest};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::runtime::Handle;

use super::maker::Halt;
use crate::blobs::Blobs;
use crate::persistence::Segment;
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;

/// Small reads fetch and keep this much: samples of tensors lie close to each other, headers are read in pieces.
const BLOCK: u64 = 256 << 10;
/// Blocks that a release keeps: 4 MiB.
const KEPT: usize = 16;

/// A file of a release.
pub(super) struct Source {
    /// Its path in the release.
    pub(super) path: FilePath,
    size: u64,
    number: usize,
    segments: Vec<Segment>,
    shared: Arc<Shared>,
}

/// What the files of one release share.
struct Shared {
    blobs: Blobs,
    runtime: Handle,
    halt: Halt,
    blocks: Mutex<VecDeque<((usize, u64), Bytes)>>,
}

/// Opens all files of a release, in the manifest's order, which is that of their paths' bytes.
///
/// # Errors
/// A blob is not there, or the database fails.
pub(super) async fn open(
    state: &AppState,
    namespace: &NamespaceName,
    manifest: &ReleaseManifest,
    halt: &Halt,
) -> ApiResult<Vec<Source>> {
    let digests: Vec<_> = manifest.files.iter().map(|file| file.sha256).collect();
    let found = state.db.linked_blobs(namespace, &digests).await?;
    let shared = Arc::new(Shared {
        blobs: state.blobs.clone(),
        runtime: Handle::current(),
        halt: halt.clone(),
        blocks: Mutex::default(),
    });
    let mut files = Vec::with_capacity(manifest.files.len());
    for (number, file) in manifest.files.iter().enumerate() {
        let blob = found.get(&file.sha256).filter(|blob| blob.size == file.size);
        let blob = blob.ok_or_else(|| ApiError::internal(format!("{}: its blob is not there", file.path)))?;
        files.push(Source {
            path: file.path.clone(),
            size: file.size,
            number,
            segments: state.db.pieces(blob, 0..file.size).await?,
            shared: Arc::clone(&shared),
        });
    }
    Ok(files)
}

impl Source {
    /// Those of the segments that hold bytes of a range.
    fn within(&self, range: &Range<u64>) -> Vec<Segment> {
        let first = self
            .segments
            .partition_point(|segment| segment.start.saturating_add(segment.len) <= range.start);
        let end = self.segments.partition_point(|segment| segment.start < range.end);
        self.segments.get(first..end).unwrap_or_default().to_vec()
    }

    fn fetch(&self, range: Range<u64>, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        if self.shared.halt.is_set() {
            return Err(io::Error::other("the work was called off"));
        }
        let mut pieces = Box::pin(self.shared.blobs.read(self.within(&range), range));
        self.shared.runtime.block_on(async {
            while let Some(piece) = pieces.next().await {
                take(&piece.map_err(io::Error::other)?);
            }
            Ok(())
        })
    }

    fn fill(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let range = offset..offset.saturating_add(into.len() as u64);
        let mut at = 0_usize;
        self.fetch(range, |piece| {
            if let Some(place) = into.get_mut(at..at.saturating_add(piece.len())) {
                place.copy_from_slice(piece);
            }
            at = at.saturating_add(piece.len());
        })?;
        if at == into.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn block(&self, block: u64) -> io::Result<Bytes> {
        let key = (self.number, block);
        let lock = || self.shared.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut blocks = lock();
            if let Some(at) = blocks.iter().position(|(held, _)| *held == key)
                && let Some(found) = blocks.remove(at)
            {
                let bytes = found.1.clone();
                blocks.push_front(found);
                return Ok(bytes);
            }
        }
        // Without the lock: other workers go on meanwhile.
        let start = block.saturating_mul(BLOCK);
        let length = BLOCK.min(self.size.saturating_sub(start));
        let mut bytes = vec![0; length as usize];
        self.fill(start, &mut bytes)?;
        let bytes = Bytes::from(bytes);
        let mut blocks = lock();
        blocks.push_front((key, bytes.clone()));
        blocks.truncate(KEPT);
        Ok(bytes)
    }
}

impl ReadAt for Source {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if into.len() as u64 >= BLOCK {
            return self.fill(offset, into);
        }
        let (mut at, mut rest) = (offset, into);
        while !rest.is_empty() {
            let bytes = self.block(at / BLOCK)?;
            let from = (at % BLOCK) as usize;
            let have = bytes.get(from..).unwrap_or_default();
            let count = have.len().min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            match have.get(..count) {
                Some(have) if count > 0 => now.copy_from_slice(have),
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            at = at.saturating_add(count as u64);
            rest = later;
        }
        Ok(())
    }
}
