//! What can go wrong with the object store.

use std::path::PathBuf;

/// An object store that does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The storage's folder cannot be made.
    #[error(
        "storage: cannot make the folder {folder}: {source}; choose another with --data-dir or --storage-url"
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The storage URL names nothing that can be opened.
    #[error("storage: cannot open the store: {reason}; see [storage] in the configuration")]
    Open {
        /// Why not.
        reason: String,
    },
    /// There is no space left.
    #[error(
        "storage: no space left for {object}; free some and go on, nothing that was acknowledged is lost"
    )]
    Full {
        /// What was being written.
        object: String,
    },
    /// An object that the database names is not there.
    #[error("storage: expected the object {object}, found none; restore it from a backup")]
    Gone {
        /// Its path.
        object: String,
    },
    /// Fewer bytes than the database says.
    #[error("storage: {object}: expected {expected} bytes, found {found}; restore it from a backup")]
    Short {
        /// Its path.
        object: String,
        /// Bytes that were asked for.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// An object that never changes is there with other bytes.
    #[error(
        "storage: {object}: expected the bytes that follow from the database, found others; storage and database are not from the \
         same backup: restore both together"
    )]
    Different {
        /// Its path.
        object: String,
    },
    /// The store fails.
    #[error("storage: {object}: {source}")]
    Store {
        /// The object.
        object: String,
        /// What the store says.
        source: object_store::Error,
    },
}

impl BlobError {
    pub(super) fn open(reason: String) -> Self {
        Self::Open { reason }
    }

    pub(super) fn store(object: &str, source: object_store::Error) -> Self {
        let object = object.to_owned();
        match source {
            object_store::Error::NotFound { .. } => Self::Gone { object },
            source if is_full(&source) => Self::Full { object },
            source => Self::Store { object, source },
        }
    }
}

fn is_full(error: &object_store::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            );
        }
        next = error.source();
    }
    false
}
