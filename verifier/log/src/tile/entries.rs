//! Entry bundles: entries behind big-endian 16-bit lengths.

use assay_schema::limits::{LOG_TILE_WIDTH, MAX_LOG_ENTRY};

use super::{EntryBundle, TileError, length};

/// The bytes of a bundle.
///
/// # Errors
/// An entry is longer than 65,535 bytes.
pub fn encode_entries<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, TileError> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLong {
            limit: MAX_LOG_ENTRY,
            found: entry.len(),
        })?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// The entries of a bundle's bytes. They prove nothing: compare their hashes with a verified tile, as
/// [`VerifiedTiles::entries`](super::VerifiedTiles::entries) does.
///
/// # Errors
/// The bytes do not hold exactly as many entries as the bundle is wide.
pub fn decode_entries(bundle: EntryBundle, bytes: &[u8]) -> Result<Vec<&[u8]>, TileError> {
    let width = usize::from(bundle.width());
    let bad = |found: String| length(&bundle, format!("exactly {width} entries"), found);
    let mut entries = Vec::with_capacity(usize::from(LOG_TILE_WIDTH));
    let mut rest = bytes;
    while entries.len() < width {
        let next = rest
            .split_first_chunk::<2>()
            .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*length))));
        let Some((entry, tail)) = next else {
            return Err(bad(format!("{} and a piece", entries.len())));
        };
        entries.push(entry);
        rest = tail;
    }
    match rest.is_empty() {
        true => Ok(entries),
        false => Err(bad(format!("{} bytes behind them", rest.len()))),
    }
}
