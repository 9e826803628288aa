//! What the authority says that it made: the signing journals of its key holders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use assay_schema::Sha256Digest;

use super::super::LogError;
use crate::publisher::read_journal;

/// The journals of everybody who signs for the authority.
#[derive(Debug, Clone)]
pub struct Journals {
    /// Their files, `signed.jsonl`.
    pub files: Vec<PathBuf>,
    /// In how many of them a version must stand to count as made by the authority; at least 1.
    pub agree: usize,
}

/// (Namespace, role, version, digest of the signed bytes).
type Body = (Sha256Digest, String, u64, Sha256Digest);

/// The journals, read.
#[derive(Debug, Default)]
pub(super) struct Made {
    bodies: BTreeMap<Body, usize>,
    agree: usize,
}

impl Journals {
    /// Reads them. What was signed before a checkpoint was fetched is in them if they are read afterwards: a body is written down
    /// before its signature leaves.
    pub(super) fn read(&self, namespaces: &BTreeSet<Sha256Digest>) -> Result<Made, LogError> {
        let mut bodies: BTreeMap<Body, usize> = BTreeMap::new();
        for path in &self.files {
            let entries = read_journal(path).map_err(|e| LogError::Journal {
                path: path.clone(),
                reason: e.to_string(),
            })?;
            let entries = entries.into_iter().filter(|e| namespaces.contains(&e.namespace));
            // A journal counts once for a body, however often it holds it.
            let of_file: BTreeSet<Body> = entries
                .map(|e| (e.namespace, e.role, e.version, e.sha256))
                .collect();
            for body in of_file {
                *bodies.entry(body).or_default() += 1;
            }
        }
        Ok(Made {
            bodies,
            agree: self.agree.max(1),
        })
    }
}

impl Made {
    /// Whether enough journals hold this body; else in how many it is, and of how many that are demanded.
    pub(super) fn has(
        &self,
        namespace: Sha256Digest,
        role: &str,
        version: u64,
        sha256: Sha256Digest,
    ) -> Result<(), (usize, usize)> {
        let count = self.bodies.get(&(namespace, role.to_owned(), version, sha256));
        let count = count.copied().unwrap_or(0);
        match count >= self.agree {
            true => Ok(()),
            false => Err((count, self.agree)),
        }
    }
}
