//! The deltas that a registry offers. Everything about one is a stranger's word: it is used where it pays, and believed nowhere.

use std::sync::Arc;

use assay_delta::Index;
use assay_delta::index::{HEADER, MAX_INDEX};
use assay_delta::plan::{Frames, Offer};
use assay_schema::delta::{DeltaInfo, DeltaList, MAX_DELTAS};
use assay_schema::{ModelRef, ReleaseManifest, Sha256Digest};

use super::held::{BaseFile, Holdings};
use crate::transport::{Fetched, Transport, paths, read_bounded};

/// The largest list that is read: [`MAX_DELTAS`] take less than 32 KiB.
const MAX_LIST: u64 = 256 << 10;

/// A delta of which at least the length is known.
pub(super) struct Offered {
    info: DeltaInfo,
    /// Once its index is here.
    pub(super) delta: Option<Delta>,
}

/// A delta whose index is here.
pub(in crate::device) struct Delta {
    /// Its blob.
    pub(in crate::device) blob: Sha256Digest,
    pub(in crate::device) index: Index,
    /// The files that it builds on.
    pub(in crate::device) bases: Vec<BaseFile>,
    /// The length of each chunk's frame.
    frames: Vec<u32>,
}

impl Offered {
    pub(super) fn offer(&self) -> Offer<'_> {
        let frames = self.info.size.saturating_sub(self.info.index);
        Offer {
            base: self.info.base,
            target: self.info.target,
            size: self.info.full,
            index: self.delta.as_ref().map_or(self.info.index, |_| 0),
            frames: match &self.delta {
                Some(delta) => Frames::Each(&delta.frames),
                None => Frames::Total(frames),
            },
        }
    }

    pub(super) const fn base(&self) -> Sha256Digest {
        self.info.base
    }

    /// Fetches the index and compares it with what is signed of both releases; adds to `received` what came of it. The reason, where
    /// the delta cannot be used.
    pub(super) fn fetch(
        &mut self,
        transport: &dyn Transport,
        model: &ModelRef,
        held: &Arc<Holdings>,
        target: &ReleaseManifest,
        received: &mut u64,
    ) -> std::result::Result<(), String> {
        let info = &self.info;
        if info.index > HEADER as u64 + MAX_INDEX {
            return Err(format!("an index of {} bytes is too large", info.index));
        }
        let path = paths::blob(&model.namespace, &info.blob);
        let body = transport.open(&path, 0, info.index).map_err(|e| e.to_string())?;
        let bytes = read_bounded(body, info.index, Some(info.index)).map_err(|e| e.to_string())?;
        let bytes = bytes.ok_or("the registry sends more than was asked for")?;
        *received += bytes.len() as u64;
        let index = Index::parse(&bytes).map_err(|e| e.to_string())?;
        index
            .between(&info.base, &info.target)
            .map_err(|e| e.to_string())?;
        let bases = held.bases(info.base);
        let lengths = |files: &[BaseFile]| files.iter().map(assay_delta::ReadAt::len).collect::<Vec<_>>();
        if index.base_sizes() != lengths(&bases)
            || !index.target_sizes().eq(target.files.iter().map(|file| file.size))
        {
            return Err("its files have other sizes than those of the releases".to_owned());
        }
        if index.total() != info.size {
            let (found, said) = (index.total(), info.size);
            return Err(format!(
                "expected {said} bytes, as the registry says, found an index for {found}"
            ));
        }
        // A frame's length is bounded by the format (schema/delta.md, "Entries").
        let frames = index
            .chunks()
            .map(|entry| (entry.frame.end - entry.frame.start) as u32);
        self.delta = Some(Delta {
            blob: info.blob,
            frames: frames.collect(),
            bases,
            index,
        });
        Ok(())
    }
}

/// What the registry offers from the held releases to the wanted one, the smallest for each base. A registry that does not know of
/// deltas offers none; `Err` tells why another answer was of no use.
pub(super) fn list(
    transport: &dyn Transport,
    model: &ModelRef,
    target: Sha256Digest,
    held: &Holdings,
) -> std::result::Result<Vec<Offered>, String> {
    let bases: Vec<Sha256Digest> = held.roots().take(MAX_DELTAS).collect();
    if bases.is_empty() {
        return Ok(Vec::new());
    }
    let path = paths::deltas(&model.namespace, &model.model, &target, &bases);
    let bytes = match transport.get(&path, MAX_LIST, None) {
        Ok(Fetched::Found { bytes, .. }) => bytes,
        Ok(Fetched::Missing | Fetched::NotModified) => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let found: DeltaList = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    let mut items = found.items;
    items.retain(|info| info.target == target && bases.contains(&info.base) && info.index <= info.size);
    items.sort_by_key(|info| (info.base, info.size));
    items.dedup_by_key(|info| info.base);
    let offered = items.into_iter().map(|info| Offered { info, delta: None });
    Ok(offered.collect())
}
