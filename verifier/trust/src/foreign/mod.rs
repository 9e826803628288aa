//! A foreign TUF repository, followed by [`Plain`] rules: names of its files, its targets, and the search through its
//! delegations (TUF 5.6.7).

mod set;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use assay_schema::limits;
use sha2::Digest as _;
use sigstore_tuf::metadata::{DelegatedRole, MetaFile, TargetFile};

use crate::error::TrustError;
use crate::rules::{Checks as _, Plain, TrustedSet as _};
use crate::workflow::{AwaitSnapshot, AwaitTargets, Refreshed, Step, with_time};

pub use set::ForeignSet;
pub(crate) use set::PKCS1;

/// A metadata file to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name under the repository's address for metadata; already percent-encoded.
    pub file: String,
    /// The most bytes that it may have.
    pub max: u64,
}

/// A role's name with everything but RFC 3986's unreserved characters percent-encoded: safe in an address and as part of a file
/// name, and different for different roles.
pub fn encoded(role: &str) -> String {
    let mut text = String::with_capacity(role.len());
    for byte in role.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(byte))
            }
            // Writing to a String cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

fn wanted(role: &str, meta: Option<&MetaFile>, consistent: bool, limit: u64) -> Result<Wanted, TrustError> {
    let meta = meta.ok_or_else(|| TrustError::Malformed {
        subject: "snapshot".into(),
        expected: format!("the version of {role}.json"),
        found: "none".into(),
    })?;
    let name = encoded(role);
    if let Some(length) = meta.length.filter(|length| *length > limit) {
        return Err(TrustError::TooLong {
            subject: format!("{role}.json"),
            expected: limit,
            found: length,
        });
    }
    Ok(Wanted {
        // TUF 6.2.
        file: if consistent {
            format!("{}.{name}.json", meta.version)
        } else {
            format!("{name}.json")
        },
        // TUF 5.5.1, 5.6.1.
        max: meta.length.unwrap_or(limit),
    })
}

impl AwaitSnapshot<Plain> {
    /// The snapshot to get.
    ///
    /// # Errors
    /// The timestamp names one that is too long.
    pub fn wanted_file(&self) -> Result<Wanted, TrustError> {
        let set = &self.core.set;
        let meta = set.timestamp().and_then(|t| t.snapshot_meta());
        wanted(
            "snapshot",
            meta,
            set.root().consistent_snapshot,
            limits::MAX_SNAPSHOT,
        )
    }
}

impl AwaitTargets<Plain> {
    /// The top-level targets file to get.
    ///
    /// # Errors
    /// The snapshot names none, or one that is too long.
    pub fn wanted_file(&self) -> Result<Wanted, TrustError> {
        let set = &self.core.set;
        let meta = set.snapshot().and_then(|s| s.meta.get("targets.json"));
        wanted(
            "targets",
            meta,
            set.root().consistent_snapshot,
            limits::MAX_TARGETS,
        )
    }
}

/// One step of a search: a role, and the role that delegates to it. The same role may be reached from two delegators that trust
/// different keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The delegated role.
    pub role: String,
    /// Who delegates to it.
    pub delegator: String,
}

/// A search for a target: pre-order and depth first, each role once (TUF 5.6.7).
#[derive(Debug, Clone)]
pub struct Search {
    path: String,
    due: VecDeque<Edge>,
    visited: BTreeSet<String>,
}

impl Search {
    /// A search for the target of this path.
    pub fn new(path: &str) -> Self {
        let top = Edge {
            role: "targets".into(),
            delegator: "root".into(),
        };
        Self {
            path: path.to_owned(),
            due: VecDeque::from([top]),
            visited: BTreeSet::new(),
        }
    }
}

/// How a search goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The target is found.
    Found(ForeignTarget),
    /// This role's file must be accepted first.
    Role(Edge),
    /// No role that may lists the target.
    Nowhere,
}

impl Refreshed<Plain> {
    /// The delegated role's file to get.
    ///
    /// # Errors
    /// The snapshot names none, or one that is too long. A role that the snapshot hides is not skipped: the roles after it would
    /// gain its paths.
    pub fn wanted_file(&self, role: &str) -> Result<Wanted, TrustError> {
        let set = &self.core.set;
        let meta = set.snapshot().and_then(|s| s.meta.get(&format!("{role}.json")));
        wanted(role, meta, set.root().consistent_snapshot, limits::MAX_TARGETS)
    }

    /// Whether target files are named by their hashes (TUF 6.2).
    pub fn is_consistent(&self) -> bool {
        self.core.set.root().consistent_snapshot
    }

    /// Accepts a delegated role's file: the one that the snapshot names, signed by the threshold that its delegator sets, not
    /// expired (TUF 5.6.2 to 5.6.5).
    ///
    /// # Errors
    /// It is not that.
    pub fn accept_delegated(mut self, edge: &Edge, bytes: &[u8]) -> Step<Self> {
        let (now, judged) = (self.core.time, self.core.judged());
        let role = edge.role.as_str();
        let mut set = self.core.set.clone();
        let accepted = set
            .update_delegated(bytes, role, &edge.delegator, judged)
            .map_err(|error| with_time(role, error, now))
            .and_then(|()| match set.targets_role(role) {
                Some(targets) => self.core.rules.targets(set.root(), role, targets),
                None => Ok(()),
            });
        match accepted {
            Ok(()) => {
                self.core.set = set;
                Ok(self)
            }
            Err(error) => self.core.fail(error),
        }
    }

    /// Goes on with a search as far as the accepted roles allow.
    ///
    /// # Errors
    /// A role on the way is not signed as the delegator on this way demands, a pattern is malformed, the target's entry is, or
    /// the search visits more roles than a device looks through.
    pub fn search(&self, search: &mut Search) -> Result<Next, TrustError> {
        while let Some(edge) = search.due.pop_front() {
            if search.visited.contains(&edge.role) {
                continue;
            }
            // TUF 5.6.7.1. The top-level role is not a delegation.
            if search.visited.len() > limits::MAX_DELEGATIONS as usize {
                return Err(TrustError::Malformed {
                    subject: search.path.clone(),
                    expected: format!(
                        "a search through at most {} delegated roles",
                        limits::MAX_DELEGATIONS
                    ),
                    found: "more".into(),
                });
            }
            let set = &self.core.set;
            if edge.role != "targets" {
                if set.targets_role(&edge.role).is_none() {
                    search.due.push_front(edge.clone());
                    return Ok(Next::Role(edge));
                }
                // Accepted on another way: the keys of this way's delegator count.
                set.verify_delegated(&edge.role, &edge.delegator, self.core.judged())
                    .map_err(|error| with_time(&edge.role, error, self.core.time))?;
            }
            let Some(targets) = set.targets_role(&edge.role) else {
                continue;
            };
            search.visited.insert(edge.role.clone());
            if let Some(file) = targets.target(&search.path) {
                return ForeignTarget::read(&search.path, file).map(Next::Found);
            }
            let delegations = targets.delegations.iter().flat_map(|d| &d.roles);
            search.descend(&edge.role, delegations)?;
        }
        Ok(Next::Nowhere)
    }
}

impl Search {
    /// Puts the delegations that match before everything that is due. A terminating one ends the search outside itself
    /// (TUF 5.6.7.2.1).
    fn descend<'a>(
        &mut self,
        delegator: &str,
        delegations: impl Iterator<Item = &'a DelegatedRole>,
    ) -> Result<(), TrustError> {
        let mut children = Vec::new();
        for delegation in delegations {
            let matches = delegation.matches_path(&self.path);
            if !matches.map_err(|e| TrustError::tuf(delegator, e))? {
                continue;
            }
            children.push(Edge {
                role: delegation.name.clone(),
                delegator: delegator.to_owned(),
            });
            if delegation.terminating {
                self.due.clear();
                break;
            }
        }
        for child in children.into_iter().rev() {
            self.due.push_front(child);
        }
        Ok(())
    }
}

/// A target of a foreign repository, as the role that may lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignTarget {
    path: String,
    /// Its length in bytes.
    pub length: u64,
    hashes: BTreeMap<&'static str, String>,
}

impl ForeignTarget {
    /// Keeps the hashes that can be checked; a target without any of them is refused, since nothing would tie its bytes to the
    /// signature (TUF 5.7.2).
    fn read(path: &str, file: &TargetFile) -> Result<Self, TrustError> {
        let malformed = |found: String| TrustError::Malformed {
            subject: path.to_owned(),
            expected: "a SHA-256 or SHA-512 digest in hexadecimal".into(),
            found,
        };
        let mut hashes = BTreeMap::new();
        for (name, length) in [("sha256", 32), ("sha512", 64)] {
            let Some(text) = file.hashes.get(name) else {
                continue;
            };
            match hex::decode(text) {
                Ok(bytes) if bytes.len() == length => hashes.insert(name, text.to_ascii_lowercase()),
                _ => return Err(malformed(text.chars().take(200).collect())),
            };
        }
        if hashes.is_empty() {
            return Err(malformed(format!("{:?}", file.hashes.keys().collect::<Vec<_>>())));
        }
        Ok(Self {
            path: path.to_owned(),
            length: file.length,
            hashes,
        })
    }

    /// The path under the repository's address for targets, not percent-encoded: with consistent snapshots the file's name has a
    /// hash before it (TUF 6.2).
    pub fn remote_path(&self, consistent: bool) -> String {
        let hash = self.hashes.values().next().filter(|_| consistent);
        match (hash, self.path.rsplit_once('/')) {
            (None, _) => self.path.clone(),
            (Some(hash), None) => format!("{hash}.{}", self.path),
            (Some(hash), Some((folder, name))) => format!("{folder}/{hash}.{name}"),
        }
    }

    /// Whether these bytes are the target: of its length, and every hash right (TUF 5.7.2).
    pub fn matches(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.length
            && self.hashes.iter().all(|(name, expected)| {
                let found = match *name {
                    "sha512" => hex::encode(sha2::Sha512::digest(bytes)),
                    _ => hex::encode(sha2::Sha256::digest(bytes)),
                };
                found == *expected
            })
    }
}
