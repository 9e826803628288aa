//! The digest of a whole upload and of each of its chunks, side by side on the blocking pool.

use assay_schema::Sha256Digest;
use assay_schema::limits::CHUNK_SIZE;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::blobs::BlobError;
use crate::problem::{ApiError, ApiResult};

/// Pieces (of at most 1 MiB) that wait for a hasher.
const WAITING: usize = 4;

/// What the bytes hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digests {
    pub(super) whole: Sha256Digest,
    pub(super) chunks: Vec<Sha256Digest>,
}

/// Hashes a stream. With `chunked`, each 1 MiB chunk, too.
pub(super) async fn digests(
    stream: impl Stream<Item = Result<Bytes, BlobError>>,
    chunked: bool,
) -> ApiResult<Digests> {
    let (to_whole, mut pieces) = mpsc::channel::<Bytes>(WAITING);
    let whole = tokio::task::spawn_blocking(move || {
        let mut hash = Sha256::new();
        while let Some(piece) = pieces.blocking_recv() {
            hash.update(&piece);
        }
        Sha256Digest::new(hash.finalize().into())
    });
    let (to_chunks, mut pieces) = mpsc::channel::<Bytes>(WAITING);
    let chunks = tokio::task::spawn_blocking(move || {
        let mut chunks = Chunks::default();
        while let Some(piece) = pieces.blocking_recv() {
            chunks.update(&piece);
        }
        chunks.finish()
    });
    let mut stream = std::pin::pin!(stream);
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        if chunked {
            to_chunks.send(piece.clone()).await.map_err(ApiError::internal)?;
        }
        to_whole.send(piece).await.map_err(ApiError::internal)?;
    }
    drop((to_whole, to_chunks));
    Ok(Digests {
        whole: whole.await.map_err(ApiError::internal)?,
        chunks: chunks.await.map_err(ApiError::internal)?,
    })
}

#[derive(Default)]
struct Chunks {
    done: Vec<Sha256Digest>,
    hash: Sha256,
    len: usize,
}

impl Chunks {
    fn update(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let room = (CHUNK_SIZE as usize).saturating_sub(self.len);
            let (part, rest) = piece.split_at(room.min(piece.len()));
            self.hash.update(part);
            self.len = self.len.saturating_add(part.len());
            if self.len == CHUNK_SIZE as usize {
                self.close();
            }
            piece = rest;
        }
    }

    fn close(&mut self) {
        self.done
            .push(Sha256Digest::new(self.hash.finalize_reset().into()));
        self.len = 0;
    }

    fn finish(mut self) -> Vec<Sha256Digest> {
        if self.len > 0 {
            self.close();
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn sha256(bytes: &[u8]) -> Sha256Digest {
        Sha256Digest::new(Sha256::digest(bytes).into())
    }

    #[tokio::test]
    async fn chunks_do_not_follow_the_pieces() {
        let bytes: Vec<u8> = (0..(2 * CHUNK_SIZE + 5)).map(|i| (i % 241) as u8).collect();
        for size in [1000, CHUNK_SIZE as usize - 1, CHUNK_SIZE as usize, 1_500_000] {
            let pieces: Vec<_> = bytes
                .chunks(size)
                .map(|piece| Ok(Bytes::copy_from_slice(piece)))
                .collect();
            let found = digests(stream::iter(pieces), true).await.unwrap();
            assert_eq!(found.whole, sha256(&bytes));
            let expected: Vec<_> = bytes.chunks(CHUNK_SIZE as usize).map(sha256).collect();
            assert_eq!(found.chunks, expected);
        }
    }

    #[tokio::test]
    async fn a_broken_read_is_an_error_and_not_a_digest() {
        let pieces = [
            Ok(Bytes::from_static(b"a")),
            Err(BlobError::Gone {
                object: "b".to_owned(),
            }),
        ];
        assert!(digests(stream::iter(pieces), true).await.is_err());
    }
}
