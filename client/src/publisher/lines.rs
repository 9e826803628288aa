//! Files of an authority's folder that only grow: one JSON object a line, each synced before what it remembers leaves this machine.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use serde::de::DeserializeOwned;

/// Where the next line goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    at: usize,
    /// The last line lacks its end.
    cut: bool,
}

impl End {
    /// A crash may have left part of a line, which nothing was done on the strength of: the next one goes over it. A line that is
    /// whole but for its end counts: only somebody else's tool leaves such a one, and it may be the record of a signature.
    pub(super) fn of<T: DeserializeOwned>(text: &str) -> Self {
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(whole..).unwrap_or_default();
        match serde_json::from_str::<T>(rest) {
            Ok(_) => Self {
                at: text.len(),
                cut: true,
            },
            Err(_) => Self {
                at: whole,
                cut: false,
            },
        }
    }

    /// The lines before it.
    pub(super) fn lines(self, text: &str) -> std::str::Lines<'_> {
        text.get(..self.at).unwrap_or_default().lines()
    }

    /// Writes lines, each with its end, and syncs them.
    pub(super) fn append(self, file: &mut File, lines: &str) -> std::io::Result<()> {
        let at = self.at as u64;
        file.set_len(at)?;
        file.seek(SeekFrom::Start(at))?;
        let before = if self.cut { "\n" } else { "" };
        file.write_all(format!("{before}{lines}").as_bytes())?;
        file.sync_all()
    }
}
