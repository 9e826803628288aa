//! A log over a transport (c2sp.org/tlog-tiles). What it returns is unjudged.

use assay_log::SignedCheckpoint;
use assay_log::tile::{EntryBundle, Tile, TileReader, decode_entries, encode_entries};
use assay_schema::api::LogInfo;
use assay_schema::limits::{LOG_TILE_BYTES, LOG_TILE_WIDTH, MAX_JSON_BODY, MAX_LOG_BUNDLE, MAX_NOTE};

use super::LogError;
use crate::transport::{Fetched, Transport, TransportError};

/// Where a registry's log lies below its address.
pub const REGISTRY_PREFIX: &str = "/log";

/// The log below a prefix of a transport's address.
#[derive(Clone)]
pub struct LogReader<'t> {
    transport: &'t dyn Transport,
    prefix: String,
}

impl std::fmt::Debug for LogReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl<'t> LogReader<'t> {
    /// The log whose checkpoint is at `PREFIX/checkpoint`.
    pub fn new(transport: &'t dyn Transport, prefix: &str) -> Self {
        let inner = prefix.trim_matches('/');
        let prefix = match inner {
            "" => String::new(),
            inner => format!("/{inner}"),
        };
        Self { transport, prefix }
    }

    /// What a registry says about its log: name and key, which nobody vouches for. `None` if it has none.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn info(&self) -> Result<Option<LogInfo>, TransportError> {
        let path = "/v1/log";
        match self.transport.get(path, MAX_JSON_BODY, None)? {
            Fetched::Found { bytes, .. } => {
                serde_json::from_slice(&bytes)
                    .map(Some)
                    .map_err(|e| TransportError::Malformed {
                        path: path.to_owned(),
                        expected: "the name and key of a log",
                        found: e.to_string(),
                    })
            }
            Fetched::Missing | Fetched::NotModified => Ok(None),
        }
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// It cannot be had, or is no checkpoint.
    pub fn checkpoint(&self) -> Result<SignedCheckpoint, LogError> {
        let bytes = self.get("checkpoint", MAX_NOTE as u64)?;
        let bytes = bytes.ok_or_else(|| missing("checkpoint"))?;
        SignedCheckpoint::parse(&bytes).map_err(|source| LogError::Checkpoint {
            what: "the log's checkpoint".to_owned(),
            source,
        })
    }

    /// The bytes of a bundle. A partial one may be gone once the full one is there, and is cut out of it (tlog-tiles, "Partial
    /// Tiles").
    ///
    /// # Errors
    /// It cannot be had.
    pub fn bundle(&self, bundle: EntryBundle) -> Result<Vec<u8>, LogError> {
        if let Some(bytes) = self.get(&bundle.to_string(), MAX_LOG_BUNDLE as u64)? {
            return Ok(bytes);
        }
        let full = EntryBundle::new(bundle.index(), LOG_TILE_WIDTH)?;
        let bytes = self.get(&full.to_string(), MAX_LOG_BUNDLE as u64)?;
        let bytes = bytes.ok_or_else(|| missing(&bundle.to_string()))?;
        let entries = decode_entries(full, &bytes)?;
        let wanted = entries.into_iter().take(usize::from(bundle.width()));
        Ok(encode_entries(wanted)?)
    }

    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, LogError> {
        if let Some(bytes) = self.get(&tile.to_string(), LOG_TILE_BYTES as u64)? {
            return Ok(bytes);
        }
        let full = self.get(&tile.full().to_string(), LOG_TILE_BYTES as u64)?;
        let mut bytes = full.ok_or_else(|| missing(&tile.to_string()))?;
        bytes.truncate(usize::from(tile.width()) * 32);
        Ok(bytes)
    }

    fn get(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, TransportError> {
        match self
            .transport
            .get(&format!("{}/{path}", self.prefix), max, None)?
        {
            Fetched::Found { bytes, .. } => Ok(Some(bytes)),
            Fetched::Missing | Fetched::NotModified => Ok(None),
        }
    }
}

impl TileReader for LogReader<'_> {
    type Error = LogError;

    fn tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, LogError> {
        tiles.iter().map(|tile| self.tile(tile)).collect()
    }
}

fn missing(what: &str) -> LogError {
    LogError::Missing {
        what: what.to_owned(),
    }
}
