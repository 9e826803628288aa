//! Checkpoints that the log signed and that nobody has proven yet: they are kept until they are, so that a log which shows one of
//! another history, without the tiles that would tell, cannot take it back.

use assay_log::SignedCheckpoint;
use assay_schema::limits::MAX_NOTE;

use super::folder::{file_name, names};
use super::history::prove;
use super::{FollowStep, LogError, LogFolder, LogReader};
use crate::store::StoreError;

const UNPROVEN: &str = "unproven";
const READABLE: u32 = 0o644;
/// Anybody between here and the log can withhold tiles, but only the log signs: so many are enough to find it out.
const MOST: usize = 64;

impl LogFolder {
    /// F6: keeps a checkpoint whose signatures are right and which could not be compared with the known ones.
    pub(super) fn set_aside(&self, signed: &SignedCheckpoint) -> Result<(), LogError> {
        let (folder, name) = (self.root().ensure_sub(UNPROVEN)?, file_name(signed));
        let there = names(&folder)?;
        if there.contains(&name) || there.len() >= MOST {
            return Ok(());
        }
        folder.replace(&name, signed.to_string().as_bytes(), READABLE)?;
        self.root().sync()?;
        self.step(FollowStep::SetAside)
    }

    /// Compares what was set aside with a checkpoint that is known, and forgets what is a part of it (F7). Larger ones wait until the
    /// log has grown.
    ///
    /// # Errors
    /// [`LogError::Split`]; or the log does not hand out its tiles now either.
    pub(super) fn settle(&self, reader: &LogReader<'_>, known: &SignedCheckpoint) -> Result<(), LogError> {
        let Some(folder) = self.root().find(UNPROVEN)? else {
            return Ok(());
        };
        for name in names(&folder)? {
            let damaged = |reason: String| StoreError::Damaged {
                path: folder.path().join(&name),
                reason,
                advice: "Look at it, and remove it: the log signed what is in it, and nobody has proven it",
            };
            let Some(bytes) = folder.read(&name, MAX_NOTE as u64)? else {
                continue;
            };
            let signed = SignedCheckpoint::parse(&bytes).map_err(|e| damaged(e.to_string()))?;
            if signed.checkpoint().head().size > known.checkpoint().head().size {
                continue;
            }
            prove(reader, known, std::slice::from_ref(&signed))?;
            folder.remove_file(&name)?;
            self.step(FollowStep::Proven)?;
        }
        Ok(())
    }
}
