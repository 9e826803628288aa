//! Finding segments that a crash left behind.

use futures_util::stream::{Stream, StreamExt};
use jiff::Timestamp;
use object_store::ObjectStore;
use object_store::path::Path;

use super::{BlobError, Blobs, SEGMENTS};

/// A segment's object, whether or not any row names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSegment {
    /// The upload that it was written for.
    pub upload: String,
    /// The object's path.
    pub object: String,
    /// When it was written.
    pub written: Timestamp,
}

impl Blobs {
    /// Every segment in the store.
    pub fn stored_segments(
        &self,
    ) -> impl Stream<Item = Result<StoredSegment, BlobError>> + Send + 'static + use<> {
        self.store
            .list(Some(&Path::from(SEGMENTS)))
            .filter_map(|entry| async {
                let meta = match entry {
                    Ok(meta) => meta,
                    // Deleted while the listing went on.
                    Err(object_store::Error::NotFound { .. }) => return None,
                    Err(e) => return Some(Err(BlobError::store(SEGMENTS, e))),
                };
                let upload = meta.location.parts().nth(1)?.as_ref().to_owned();
                let written = Timestamp::from_second(meta.last_modified.timestamp()).ok()?;
                Some(Ok(StoredSegment {
                    upload,
                    object: meta.location.to_string(),
                    written,
                }))
            })
    }
}
