//! Whether a publication may replace what stands: names, parents, versions, and that no release changes or vanishes.
//!
//! Nothing here reads the database or judges a signature: what stands and what was sent come in, a decision goes out. The
//! device's own verifier judges the outcome afterwards.

use std::collections::BTreeMap;

use assay_schema::api::{Publication, RoleState};
use assay_schema::limits::MAX_TRUST_TARGET;
use assay_schema::status::{self, Status};
use assay_schema::tuf::ModelRole;
use assay_schema::{Sha256Digest, VersionName};
use assay_verifier::documents::{self, BadDocument};
use jiff::Timestamp;

use crate::metadata::{self, BadMetadata, RootFile, Target, TargetsFile, sha256};

/// The top-level targets role.
pub const TARGETS: &str = "targets";
/// The root role.
pub const ROOT: &str = "root";

/// A role whose files publishers sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedBy {
    /// The authority: delegations and `trust/*`.
    Targets,
    /// A model's publishers.
    Model(ModelRole),
    /// Whoever restricts: `status.json`.
    Status,
}

/// A file that a publication brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRole {
    /// The role's name.
    pub name: String,
    /// What kind of role it is.
    pub role: SignedBy,
    /// The exact bytes.
    pub bytes: String,
    /// SHA-256 of the bytes.
    pub sha256: Sha256Digest,
    /// SHA-256 of the file that it replaces.
    pub parent: Option<Sha256Digest>,
    /// What it says.
    pub file: TargetsFile,
}

/// The next root that a publication brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoot {
    /// The exact bytes.
    pub bytes: String,
    /// SHA-256 of the bytes.
    pub sha256: Sha256Digest,
    /// SHA-256 of the root that it replaces.
    pub parent: Option<Sha256Digest>,
    /// When it ends.
    pub expires: Timestamp,
    /// What it says.
    pub file: RootFile,
}

/// What a publication brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The next root, if it rotates.
    pub root: Option<NewRoot>,
    /// Targets files.
    pub roles: Vec<NewRole>,
    /// Manifests of other namespaces' releases, with their digests.
    pub manifests: Vec<(Sha256Digest, String)>,
}

/// What all files of a publication have in common.
#[derive(Debug, Clone, Copy)]
pub struct SentFile<'a> {
    /// The role's name.
    pub name: &'a str,
    /// The version.
    pub version: u64,
    /// The exact bytes.
    pub bytes: &'a str,
    /// SHA-256 of the bytes.
    pub sha256: Sha256Digest,
    /// SHA-256 of the file that it replaces.
    pub parent: Option<Sha256Digest>,
    /// When it ends.
    pub expires: Timestamp,
}

impl Sent {
    /// The manifest with this digest that came along.
    pub fn along(&self, sha256: &Sha256Digest) -> Option<&str> {
        let mut manifests = self.manifests.iter();
        manifests
            .find(|(digest, _)| digest == sha256)
            .map(|(_, bytes)| bytes.as_str())
    }

    /// Every file.
    pub fn files(&self) -> impl Iterator<Item = SentFile<'_>> {
        let root = self.root.iter().map(|r| SentFile {
            name: ROOT,
            version: r.file.version,
            bytes: &r.bytes,
            sha256: r.sha256,
            parent: r.parent,
            expires: r.expires,
        });
        root.chain(self.roles.iter().map(|r| SentFile {
            name: &r.name,
            version: r.file.version,
            bytes: &r.bytes,
            sha256: r.sha256,
            parent: r.parent,
            expires: r.file.expires,
        }))
    }
}

/// A release that a publication lists for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRelease {
    /// The role that lists it.
    pub role: ModelRole,
    /// Its version.
    pub version: VersionName,
    /// Its manifest, as listed.
    pub target: Target,
}

/// A publication that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum BadPublication {
    /// A file has not the form of a targets file.
    #[error(transparent)]
    Metadata(#[from] BadMetadata),
    /// It names no role.
    #[error(
        "publication: expected at least one role, found none; send the signed targets files under `roles`"
    )]
    Empty,
    /// A role that no publisher signs.
    #[error(
        "publication: expected `root`, `targets`, `status` or `model.<model>.<block>`, found {0:?}; the registry signs \
         snapshot and timestamp itself"
    )]
    Role(String),
    /// A role lists a path that is not its own.
    #[error(
        "{role} metadata: expected only {expected}, found target {path:?}; list it in the role that it belongs to"
    )]
    Path {
        /// The role.
        role: String,
        /// What it may list.
        expected: String,
        /// What it lists.
        path: String,
    },
    /// A model's role without a release.
    #[error(
        "{role} metadata: expected at least one release, found none; sign the role with its first release"
    )]
    NoRelease {
        /// The role.
        role: String,
    },
    /// Versions rise one by one.
    #[error(
        "{role} metadata: version: expected {expected}, found {found}; sign it again with version {expected}"
    )]
    Version {
        /// The role.
        role: String,
        /// One more than the current file's.
        expected: u64,
        /// The file's.
        found: u64,
    },
    /// A release that was published never changes.
    #[error(
        "{role} metadata: {path}: expected sha256 {expected} as published, found {found}; a release never changes, \
         publish a new version"
    )]
    Changed {
        /// The role.
        role: String,
        /// The target.
        path: String,
        /// As published.
        expected: Sha256Digest,
        /// As sent: a digest, or "none".
        found: String,
    },
    /// A document that devices judge by is listed no more.
    #[error(
        "{role} metadata: {path}: expected a document, as one stands, found none; devices that demand it would refuse every \
         release, so replace it"
    )]
    Gone {
        /// The role.
        role: String,
        /// The target.
        path: &'static str,
    },
    /// A document that devices would refuse.
    #[error("{role} metadata: {source}")]
    Document {
        /// The role.
        role: String,
        /// What is wrong.
        source: BadDocument,
    },
    /// A target under `trust/` that devices would refuse for its size.
    #[error(
        "{role} metadata: {path}: expected at most {MAX_TRUST_TARGET} bytes, found {found}; make it smaller"
    )]
    TrustSize {
        /// The role.
        role: String,
        /// The target.
        path: String,
        /// Bytes.
        found: u64,
    },
}

/// What a publication is, next to what stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Every file replaces the current one.
    Next,
    /// Some role's current file is not the one that was built upon.
    Stale,
}

/// Reads what was sent.
///
/// # Errors
/// A role or file that cannot be published.
pub fn read(mut publication: Publication) -> Result<Sent, BadPublication> {
    if publication.roles.is_empty() {
        return Err(BadPublication::Empty);
    }
    let root = publication.roles.remove(ROOT);
    let root = root
        .map(|sent| {
            let (_, expires) = metadata::version_and_expiry(ROOT, sent.metadata.as_bytes())?;
            Ok::<_, BadMetadata>(NewRoot {
                file: RootFile::parse(sent.metadata.as_bytes())?,
                sha256: sha256(sent.metadata.as_bytes()),
                bytes: sent.metadata,
                parent: sent.parent,
                expires,
            })
        })
        .transpose()?;
    let roles = publication
        .roles
        .into_iter()
        .map(|(name, sent)| read_role(name, sent.metadata, sent.parent))
        .collect::<Result<_, _>>()?;
    let manifests = publication.manifests.into_iter();
    Ok(Sent {
        root,
        roles,
        manifests: manifests.map(|m| (sha256(m.as_bytes()), m)).collect(),
    })
}

/// Reads one targets file of the role of this name.
///
/// # Errors
/// A role or file that cannot be published.
pub fn read_role(
    name: String,
    bytes: String,
    parent: Option<Sha256Digest>,
) -> Result<NewRole, BadPublication> {
    let role = match (name.as_str(), ModelRole::parse(&name)) {
        (TARGETS, _) => SignedBy::Targets,
        (status::ROLE, _) => SignedBy::Status,
        (_, Some(role)) => SignedBy::Model(role),
        _ => return Err(BadPublication::Role(name.chars().take(120).collect())),
    };
    let file = TargetsFile::parse(&name, bytes.as_bytes())?;
    let new = NewRole {
        sha256: sha256(bytes.as_bytes()),
        name,
        role,
        bytes,
        parent,
        file,
    };
    new.check_paths()?;
    Ok(new)
}

/// Compares parents and versions with what stands.
///
/// # Errors
/// A version that does not follow its parent's.
pub fn compare(new: &Sent, current: &BTreeMap<String, RoleState>) -> Result<Standing, BadPublication> {
    if new
        .files()
        .any(|file| current.get(file.name).map(|c| c.sha256) != file.parent)
    {
        return Ok(Standing::Stale);
    }
    for file in new.files() {
        // TUF 5.3.5 wants it of roots; 5.4.3, 5.6.3 let the others skip, but one by one shows every signer that nothing came in
        // between.
        let expected = current.get(file.name).map_or(1, |c| c.version.saturating_add(1));
        if file.version != expected {
            return Err(BadPublication::Version {
                role: file.name.to_owned(),
                expected,
                found: file.version,
            });
        }
    }
    Ok(Standing::Next)
}

impl NewRole {
    fn check_paths(&self) -> Result<(), BadPublication> {
        for (path, target) in &self.file.targets {
            if let Some(inline) = &target.note.inline {
                self.check_document(path, target, inline.as_bytes())?;
            }
        }
        match &self.role {
            SignedBy::Targets => self.file.targets.iter().try_for_each(|(path, target)| {
                let name = path.strip_prefix("trust/").unwrap_or_default();
                if !trust_name(name) {
                    return Err(self.bad_path("trust/<name>", path));
                }
                if target.length > MAX_TRUST_TARGET {
                    let (role, path, found) = (self.name.clone(), path.clone(), target.length);
                    return Err(BadPublication::TrustSize { role, path, found });
                }
                Ok(())
            }),
            SignedBy::Status => self.check_status(),
            SignedBy::Model(_) if self.file.targets.is_empty() => Err(BadPublication::NoRelease {
                role: self.name.clone(),
            }),
            SignedBy::Model(role) => {
                self.file
                    .targets
                    .keys()
                    .try_for_each(|path| match release(role, path) {
                        Some(_) => Ok(()),
                        None => Err(self.bad_path(&role.pattern(), path)),
                    })
            }
        }
    }

    /// Judges the bytes of a target as devices do.
    ///
    /// # Errors
    /// They are not the target's, or a document under `trust/` that no device could read.
    pub fn check_document(&self, path: &str, target: &Target, bytes: &[u8]) -> Result<(), BadPublication> {
        documents::judge(path, target.length, target.sha256, bytes).map_err(|source| {
            BadPublication::Document {
                role: self.name.clone(),
                source,
            }
        })
    }

    /// One target, inside its own entry, that devices can read.
    fn check_status(&self) -> Result<(), BadPublication> {
        if let Some(path) = self.file.targets.keys().find(|path| *path != status::TARGET) {
            return Err(self.bad_path(status::TARGET, path));
        }
        let target = self.file.targets.get(status::TARGET);
        let inline = target.and_then(|t| t.note.inline.as_deref()).unwrap_or_default();
        match Status::parse(inline.as_bytes()) {
            Ok(_) => Ok(()),
            Err(source) => Err(BadPublication::Metadata(BadMetadata::Json {
                role: status::TARGET.to_owned(),
                source,
            })),
        }
    }

    fn bad_path(&self, expected: &str, path: &str) -> BadPublication {
        BadPublication::Path {
            role: self.name.clone(),
            expected: expected.to_owned(),
            path: path.chars().take(200).collect(),
        }
    }

    /// The releases that this file lists and the file before it did not.
    ///
    /// # Errors
    /// A release that the file before it lists is changed or gone.
    pub fn new_releases(&self, before: Option<&TargetsFile>) -> Result<Vec<NewRelease>, BadPublication> {
        let SignedBy::Model(role) = &self.role else {
            return Ok(Vec::new());
        };
        let nothing = BTreeMap::new();
        let before = before.map_or(&nothing, |file| &file.targets);
        for (path, old) in before {
            let found = match self.file.targets.get(path) {
                Some(new) if new == old => continue,
                Some(new) if new.sha256 == old.sha256 => "another length or note".to_owned(),
                Some(new) => new.sha256.to_string(),
                None => "none".to_owned(),
            };
            let (role, path, expected) = (self.name.clone(), path.clone(), old.sha256);
            return Err(BadPublication::Changed {
                role,
                path,
                expected,
                found,
            });
        }
        Ok(self
            .file
            .targets
            .iter()
            .filter(|(path, _)| !before.contains_key(*path))
            .filter_map(|(path, target)| {
                let version = release(role, path)?;
                Some(NewRelease {
                    role: role.clone(),
                    version,
                    target: target.clone(),
                })
            })
            .collect())
    }

    /// The targets that are no releases: `trust/*` and `status.json`.
    pub fn trust_targets(&self) -> impl Iterator<Item = (&String, &Target)> {
        let own = matches!(self.role, SignedBy::Targets | SignedBy::Status);
        let listed = own.then_some(&self.file.targets);
        listed.into_iter().flatten()
    }
}

/// The release of which a path is the manifest, if it is this role's own.
pub fn release(role: &ModelRole, path: &str) -> Option<VersionName> {
    metadata::version_in_path(role.pattern().strip_suffix("/*")?, path)
}

/// One path component of harmless characters.
fn trust_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_schema::api::SignedRole;
    use serde_json::json;

    fn digest(n: u8) -> Sha256Digest {
        Sha256Digest::new([n; 32])
    }

    fn file(version: u64, targets: &[(&str, u8)]) -> String {
        let targets: BTreeMap<_, _> = targets
            .iter()
            .map(|(path, n)| (*path, json!({"length": 10, "hashes": {"sha256": digest(*n)}})))
            .collect();
        json!({"signatures": [], "signed": {"_type": "targets", "spec_version": "1.0.31", "version": version,
            "expires": "2027-01-01T00:00:00Z", "targets": targets}})
        .to_string()
    }

    fn one(name: &str, bytes: String, parent: Option<Sha256Digest>) -> Result<Sent, BadPublication> {
        let role = SignedRole {
            metadata: bytes,
            parent,
        };
        read(Publication {
            roles: BTreeMap::from([(name.to_owned(), role)]),
            manifests: Vec::new(),
        })
    }

    fn model_role(version: u64, targets: &[(&str, u8)]) -> NewRole {
        one("model.m.0", file(version, targets), None)
            .unwrap()
            .roles
            .remove(0)
    }

    #[test]
    fn refuses_online_and_unknown_roles() {
        assert!(matches!(
            one("root", file(1, &[]), None),
            Err(BadPublication::Metadata(_))
        ));
        for name in ["snapshot", "timestamp", "model.m.00", "model.m", "other", ""] {
            assert!(
                matches!(one(name, file(1, &[]), None), Err(BadPublication::Role(_))),
                "{name}"
            );
        }
        assert!(matches!(
            read(Publication {
                roles: BTreeMap::new(),
                manifests: Vec::new(),
            }),
            Err(BadPublication::Empty)
        ));
    }

    #[test]
    fn refuses_targets_outside_the_roles_own_folder() {
        for path in [
            "models/m/0/1.0.0.json",
            "trust/",
            "trust/a/b",
            "trust/..",
            "other",
            "trust/.x",
        ] {
            let sent = one("targets", file(1, &[(path, 1)]), None);
            assert!(matches!(sent, Err(BadPublication::Path { .. })), "{path}");
        }
        for path in [
            "models/m/1/1.0.0.json",
            "models/n/0/1.json",
            "models/m/0/a/b.json",
            "models/m/0/1",
            "trust/a",
        ] {
            let sent = one("model.m.0", file(1, &[(path, 1)]), None);
            assert!(matches!(sent, Err(BadPublication::Path { .. })), "{path}");
        }
        assert!(one("targets", file(1, &[("trust/signers.json", 1)]), None).is_ok());
    }

    #[test]
    fn refuses_a_model_role_without_a_release() {
        assert!(matches!(
            one("model.m.0", file(1, &[]), None),
            Err(BadPublication::NoRelease { .. })
        ));
    }

    #[test]
    fn another_parent_is_stale_and_a_skipped_version_is_refused() {
        let current = BTreeMap::from([(
            "targets".to_owned(),
            RoleState {
                version: 3,
                sha256: digest(9),
            },
        )]);
        let send = |version, parent| one("targets", file(version, &[]), parent).unwrap();
        assert_eq!(
            compare(&send(4, Some(digest(9))), &current).unwrap(),
            Standing::Next
        );
        assert_eq!(
            compare(&send(4, Some(digest(8))), &current).unwrap(),
            Standing::Stale
        );
        assert_eq!(compare(&send(4, None), &current).unwrap(), Standing::Stale);
        for skipped in [3, 5, 1] {
            let found = compare(&send(skipped, Some(digest(9))), &current);
            assert!(
                matches!(found, Err(BadPublication::Version { expected: 4, .. })),
                "{skipped}"
            );
        }
        let first = one("model.m.0", file(2, &[("models/m/0/1.json", 1)]), None).unwrap();
        assert!(matches!(
            compare(&first, &current),
            Err(BadPublication::Version { expected: 1, .. })
        ));
    }

    #[test]
    fn a_published_release_may_not_change_or_vanish() {
        let before = model_role(1, &[("models/m/0/1.json", 1)]).file;
        let changed = model_role(2, &[("models/m/0/1.json", 2), ("models/m/0/2.json", 3)]);
        assert!(matches!(
            changed.new_releases(Some(&before)),
            Err(BadPublication::Changed { .. })
        ));
        let gone = model_role(2, &[("models/m/0/2.json", 3)]);
        assert!(matches!(
            gone.new_releases(Some(&before)),
            Err(BadPublication::Changed { .. })
        ));
        let more = model_role(2, &[("models/m/0/1.json", 1), ("models/m/0/2.json", 3)]);
        let new = more.new_releases(Some(&before)).unwrap();
        assert_eq!(new.len(), 1);
        assert_eq!(new[0].version.as_str(), "2");
        assert_eq!(new[0].target.sha256, digest(3));
    }
}
