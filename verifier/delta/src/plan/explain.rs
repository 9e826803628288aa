//! A plan in words, for the verdict.

use std::collections::BTreeMap;
use std::fmt;

use assay_schema::Sha256Digest;

use super::{Candidate, Outcome, Path, Plan};

impl Plan {
    /// The cheapest permitted path; `None` if none is permitted.
    pub fn chosen(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|c| c.outcome == Outcome::Chosen)
    }

    /// What the verdict's stage 7 shows: the path with its bytes, energy and scratch space, and every other one with why not.
    pub fn evidence(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        if let Some(chosen) = self.chosen() {
            all.insert("path".to_owned(), chosen.path.to_string());
            all.insert("bytes".to_owned(), chosen.bytes.to_string());
            all.insert("millijoules".to_owned(), chosen.millijoules.to_string());
            all.insert("scratch".to_owned(), chosen.scratch.to_string());
        }
        let others = self.candidates.iter().filter(|c| c.outcome != Outcome::Chosen);
        for (i, other) in others.enumerate() {
            all.insert(format!("not_{:02}", i + 1), other.to_string());
        }
        all
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, millijoules, scratch) = (self.bytes, self.millijoules, self.scratch);
        write!(
            f,
            "{}: {bytes} bytes, {millijoules} mJ, {scratch} bytes of scratch space",
            self.path
        )?;
        match &self.outcome {
            Outcome::Chosen => f.write_str(": chosen"),
            Outcome::Dearer => f.write_str(": dearer"),
            Outcome::Refused { reason } => write!(f, ": {reason}"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |in_place: &bool| if *in_place { ", in its place" } else { "" };
        match self {
            Self::Nothing => f.write_str("nothing to fetch"),
            Self::Delta { base, in_place } => write!(f, "delta from {}{}", short(base), place(in_place)),
            Self::Chain { through } => {
                write!(
                    f,
                    "deltas from {}",
                    through.first().map(short).unwrap_or_default()
                )?;
                for root in through.iter().skip(1) {
                    write!(f, " over {}", short(root))?;
                }
                Ok(())
            }
            Self::Mix {
                bases,
                held,
                frames,
                compressed,
                raw,
                in_place,
            } => {
                let bases: Vec<String> = bases.iter().map(short).collect();
                write!(
                    f,
                    "{held} chunks from the device, {frames} by delta from {}{}, {compressed} compressed, {raw} as they are",
                    bases.join(" and "),
                    place(in_place)
                )
            }
            Self::Chunks {
                held,
                compressed,
                raw,
            } => write!(
                f,
                "{held} chunks from the device, {compressed} compressed, {raw} as they are"
            ),
            Self::Full => f.write_str("every chunk as it is"),
        }
    }
}

/// Enough to tell a device's releases apart.
fn short(root: &Sha256Digest) -> String {
    let text = root.to_string();
    text.get(..12).map_or_else(|| text.clone(), str::to_owned)
}
