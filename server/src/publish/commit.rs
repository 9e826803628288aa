//! Publications: new targets files and the releases that they make visible, in one compare-and-swap (P3).

use std::collections::{BTreeMap, BTreeSet};

use assay_authority::metadata::FileMeta;
use assay_schema::api::{Publication, Published, RoleState};
use assay_schema::tuf::ModelRole;
use assay_schema::{ModelName, NamespaceName, Sha256Digest};
use jiff::Timestamp;

use super::decide::{self, NewRelease, NewRole, SignedBy, Standing, TARGETS};
use super::error::PublishError;
use super::judge::{self, Files, Held, Judged, Source, TopLevel};
use super::online::{Lifetimes, OnlineError, OnlineFiles, OnlineSigner, new_metadata};
use super::trust::{self, TrustBlob};
use crate::metadata::TargetsFile;
use crate::persistence::{DatabaseError, MetadataFile, NamespaceRecord, NewMetadata, PublishRelease};
use crate::state::AppState;
use crate::steps::Step;

/// How often a publication begins again because the re-signing, or a publication of other roles, came first.
const ATTEMPTS: usize = 8;

/// A role of the registry's own or the authority's that must be there.
const ROOT: &str = "root";
const SNAPSHOT: &str = "snapshot";
const TIMESTAMP: &str = "timestamp";

/// Publishes metadata. The same publication again gives the same answer.
///
/// # Errors
/// Another publication came first, a file is wrong, or a device would refuse the outcome. Nothing was published then.
pub async fn publish(
    state: &AppState,
    namespace: &NamespaceName,
    publication: Publication,
    now: Timestamp,
) -> Result<Published, PublishError> {
    let sent = decide::read(publication)?;
    for _ in 0..ATTEMPTS {
        let record = find(state, namespace).await?;
        let built_on = record.revision;
        match attempt(state, record, &sent, now).await {
            Err(PublishError::Database(
                DatabaseError::Conflict { .. } | DatabaseError::ReleaseChanged { .. },
            )) => {}
            // An attempt reads file by file: if somebody committed in between, what it refused may never have stood together.
            Err(error) if !matches!(error, PublishError::Stopped(_)) => {
                if find(state, namespace).await?.revision == built_on {
                    return Err(error);
                }
            }
            done => return done,
        }
    }
    Err(PublishError::Busy(namespace.clone()))
}

/// What stands, as one attempt read it. A commit in between moves the revision, and the attempt's own commit fails.
struct Present {
    record: NamespaceRecord,
    states: BTreeMap<String, RoleState>,
    root: String,
    targets: MetadataFile,
    snapshot: MetadataFile,
    timestamp: MetadataFile,
}

async fn find(state: &AppState, namespace: &NamespaceName) -> Result<NamespaceRecord, PublishError> {
    let found = state.db.namespace(namespace).await?;
    found.ok_or_else(|| PublishError::NoNamespace(namespace.clone()))
}

async fn attempt(
    state: &AppState,
    record: NamespaceRecord,
    sent: &[NewRole],
    now: Timestamp,
) -> Result<Published, PublishError> {
    let present = Present::read(state, record).await?;
    let namespace = &present.record.name;
    if published_before(state, namespace, sent).await? {
        return answer(state, namespace, sent, present.states).await;
    }
    if decide::compare(sent, &present.states)? == Standing::Stale {
        let named = |role: &String| sent.iter().any(|s| s.name == *role);
        let current = present
            .states
            .into_iter()
            .filter(|(role, _)| named(role))
            .collect();
        return Err(PublishError::Stale { current });
    }
    let mut releases = Vec::new();
    for role in sent {
        let before = before(
            state,
            namespace,
            role,
            present.states.get(&role.name).map(|s| s.version),
        )
        .await?;
        releases.extend(role.new_releases(before.as_ref())?);
    }
    check_candidates(state, namespace, &releases).await?;
    let blobs = trust::find(state, namespace, sent, &[]).await?;

    let signer = signer(state, &present.record).await?;
    let changed = sent
        .iter()
        .map(|r| (r.name.as_str(), FileMeta::of(r.file.version, r.bytes.as_bytes())));
    let online = signer.next(&present.snapshot, &present.timestamp, changed, now)?;
    let proposal = Proposal {
        state,
        present: &present,
        sent,
        releases: &releases,
        online: &online,
        blobs: &blobs,
    };
    proposal.judge(now).await?;

    trust::store(state, namespace, blobs).await?;
    let publish: Vec<_> = releases
        .iter()
        .map(|r| PublishRelease {
            model: r.role.model.clone(),
            version: r.version.clone(),
            manifest: r.target.sha256,
        })
        .collect();
    let files = files(sent, online);
    let mut states = present.states;
    states.extend(files.iter().map(|f| {
        (
            f.role.clone(),
            RoleState {
                version: f.version,
                sha256: f.sha256,
            },
        )
    }));
    // P3
    state
        .db
        .commit_publication(namespace, present.record.revision, files, &publish, now)
        .await?;
    state.steps.done(Step::P3)?;
    answer(state, namespace, sent, states).await
}

impl Present {
    async fn read(state: &AppState, record: NamespaceRecord) -> Result<Self, PublishError> {
        let namespace = &record.name;
        let states = state.db.role_states(namespace).await?;
        let root = text(current(state, namespace, ROOT).await?.bytes);
        let targets = current(state, namespace, TARGETS).await?;
        let snapshot = current(state, namespace, SNAPSHOT).await?;
        let timestamp = current(state, namespace, TIMESTAMP).await?;
        Ok(Self {
            record,
            states,
            root,
            targets,
            snapshot,
            timestamp,
        })
    }

    /// The model roles that have files.
    fn model_roles(&self) -> impl Iterator<Item = (ModelRole, &RoleState)> {
        self.states
            .iter()
            .filter_map(|(name, state)| Some((ModelRole::parse(name)?, state)))
    }
}

/// A role's current file, which must be there.
pub(super) async fn current(
    state: &AppState,
    namespace: &NamespaceName,
    role: &str,
) -> Result<MetadataFile, PublishError> {
    state
        .db
        .current_metadata(namespace, role)
        .await?
        .ok_or_else(|| PublishError::NoFile {
            namespace: namespace.clone(),
            role: role.to_owned(),
        })
}

/// Opens the namespace's online keys.
pub(super) async fn signer(state: &AppState, record: &NamespaceRecord) -> Result<OnlineSigner, PublishError> {
    let keys = state.db.online_keys(&record.name).await?;
    let seal = state.seal.key().map_err(OnlineError::Seal)?;
    let lifetimes = Lifetimes::from(&state.config.signing);
    Ok(OnlineSigner::open(
        seal,
        &record.name,
        record.identity,
        &keys,
        lifetimes,
    )?)
}

/// TUF files are stored only after they were read as JSON, which is UTF-8.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether each of these files was published before, be it current or replaced since.
async fn published_before(
    state: &AppState,
    namespace: &NamespaceName,
    sent: &[NewRole],
) -> Result<bool, PublishError> {
    for role in sent {
        let stored = state
            .db
            .metadata(namespace, &role.name, role.file.version)
            .await?;
        if stored.is_none_or(|file| file.sha256 != role.sha256) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the role's file of this version says.
async fn before(
    state: &AppState,
    namespace: &NamespaceName,
    role: &NewRole,
    version: Option<u64>,
) -> Result<Option<TargetsFile>, PublishError> {
    let Some(version) = version.filter(|v| *v > 0) else {
        return Ok(None);
    };
    let file = state.db.metadata(namespace, &role.name, version).await?;
    file.map(|file| TargetsFile::parse(&role.name, &file.bytes).map_err(PublishError::Stored))
        .transpose()
}

/// The answer to a publication, whether it was done now or before: its releases are what its files list beyond their parents.
async fn answer(
    state: &AppState,
    namespace: &NamespaceName,
    sent: &[NewRole],
    mut states: BTreeMap<String, RoleState>,
) -> Result<Published, PublishError> {
    let mut releases = Vec::new();
    for role in sent {
        let before = before(state, namespace, role, Some(role.file.version - 1)).await?;
        releases.extend(role.new_releases(before.as_ref())?.into_iter().map(|r| r.version));
    }
    states.retain(|role, _| {
        matches!(role.as_str(), SNAPSHOT | TIMESTAMP) || sent.iter().any(|s| s.name == *role)
    });
    Ok(Published {
        roles: states,
        releases,
    })
}

/// Every newly listed release is a candidate with that very manifest, and no two releases share a counter.
async fn check_candidates(
    state: &AppState,
    namespace: &NamespaceName,
    releases: &[NewRelease],
) -> Result<(), PublishError> {
    let mut counters: BTreeSet<(&ModelName, u64)> = BTreeSet::new();
    for release in releases {
        let model = &release.role.model;
        let refuse = |expected: String, found: String| PublishError::NoCandidate {
            role: release.role.name(),
            path: release.role.manifest_path(&release.version),
            expected,
            found,
        };
        let expected = format!("a candidate with manifest {}", release.target.sha256);
        let candidate = match state.db.release(namespace, model, &release.version).await? {
            None => return Err(refuse(expected, "none".to_owned())),
            Some(found) if found.manifest != release.target.sha256 => {
                return Err(refuse(expected, format!("manifest {}", found.manifest)));
            }
            Some(found) => found,
        };
        let counter = candidate.order.counter();
        let other = state.db.published_with_counter(namespace, model, counter).await?;
        let taken = other
            .filter(|other| *other != release.version)
            .map(|other| other.to_string());
        let twice = (!counters.insert((model, counter))).then(|| "another of this publication".to_owned());
        if let Some(other) = taken.or(twice) {
            let found = format!("{counter}, the counter of {other}");
            return Err(refuse(
                "a counter that no release of the model has".to_owned(),
                found,
            ));
        }
    }
    Ok(())
}

fn files(sent: &[NewRole], online: OnlineFiles) -> Vec<NewMetadata> {
    let signed = sent.iter().map(|r| {
        new_metadata(
            &r.name,
            r.file.version,
            r.bytes.clone().into_bytes(),
            r.file.expires,
        )
    });
    signed.chain(online.snapshot).chain([online.timestamp]).collect()
}

/// A state that does not stand yet.
struct Proposal<'a> {
    state: &'a AppState,
    present: &'a Present,
    sent: &'a [NewRole],
    releases: &'a [NewRelease],
    online: &'a OnlineFiles,
    blobs: &'a [TrustBlob],
}

impl Proposal<'_> {
    /// The device's own verifier, from what a device holds now to the proposed state.
    async fn judge(&self, now: Timestamp) -> Result<(), PublishError> {
        let present = self.present;
        let (snapshot, timestamp) = (
            text(present.snapshot.bytes.clone()),
            text(present.timestamp.bytes.clone()),
        );
        let record = &present.record;
        let held = Held::new(
            &record.name,
            record.identity,
            &present.root,
            Some((&timestamp, &snapshot)),
        );
        let sent_targets = self.sent.iter().find(|r| r.role == SignedBy::Targets);
        let targets = match sent_targets {
            Some(role) => role.bytes.clone(),
            None => text(present.targets.bytes.clone()),
        };
        let online = |file: &NewMetadata| text(file.bytes.clone());
        let new_snapshot = self
            .online
            .snapshot
            .as_ref()
            .map_or_else(|| snapshot.clone(), online);
        let new_timestamp = online(&self.online.timestamp);
        let top = TopLevel {
            timestamp: &new_timestamp,
            snapshot: &new_snapshot,
            targets: &targets,
        };
        let refreshed = held.walk(top, now)?;

        let mut files = Files::default();
        for file in self.online.snapshot.iter().chain([&self.online.timestamp]) {
            files.insert(&file.role, file.version, &text(file.bytes.clone()));
        }
        for role in self.sent {
            files.insert(&role.name, role.file.version, &role.bytes);
            if let SignedBy::Model(model_role) = &role.role {
                judge::role(&refreshed, model_role, &role.bytes)?;
            }
        }
        if sent_targets.is_some() {
            self.judge_unchanged_roles(&held, &refreshed, now).await?;
        }
        for release in self.releases {
            // Signatures cost milliseconds each; other requests of this thread have their turn in between.
            tokio::task::yield_now().await;
            let (model, version) = (&release.role.model, &release.version);
            match judge::release(&held, &files, model, version, now, self).await? {
                Judged::Accepted => {}
                Judged::Refused(verdict) => {
                    let (model, version) = (model.clone(), version.clone());
                    return Err(PublishError::Refused {
                        model,
                        version,
                        verdict,
                    });
                }
            }
        }
        Ok(())
    }

    /// New top-level targets must not take away what devices may use: a role that held under the old ones holds on. One that was
    /// refused already, because it expired, does not keep the others from going on.
    async fn judge_unchanged_roles(
        &self,
        held: &Held,
        refreshed: &assay_trust::Refreshed,
        now: Timestamp,
    ) -> Result<(), PublishError> {
        let present = self.present;
        let unchanged = present
            .model_roles()
            .filter(|(role, _)| !self.sent.iter().any(|s| s.name == role.name()));
        let (snapshot, timestamp, targets) = (
            text(present.snapshot.bytes.clone()),
            text(present.timestamp.bytes.clone()),
            text(present.targets.bytes.clone()),
        );
        let top = TopLevel {
            timestamp: &timestamp,
            snapshot: &snapshot,
            targets: &targets,
        };
        for (role, stands) in unchanged {
            let Some(bytes) = self.metadata(&role.name(), stands.version).await? else {
                continue;
            };
            let bytes = text(bytes);
            if let Err(error) = judge::role(refreshed, &role, &bytes) {
                let held_before = held
                    .walk(top, now)
                    .and_then(|old| judge::role(&old, &role, &bytes));
                if held_before.is_ok() {
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

impl Source for Proposal<'_> {
    type Error = PublishError;

    async fn metadata(&self, role: &str, version: u64) -> Result<Option<Vec<u8>>, PublishError> {
        // The file of a role that is replaced here must not be found under its old version.
        if self.sent.iter().any(|r| r.name == role) {
            return Ok(None);
        }
        let found = self
            .state
            .db
            .metadata(&self.present.record.name, role, version)
            .await?;
        Ok(found.map(|file| file.bytes))
    }

    async fn blob(&self, sha256: &Sha256Digest, max: u64) -> Result<Option<Vec<u8>>, PublishError> {
        if let Some(new) = self.blobs.iter().find(|b| b.sha256 == *sha256) {
            return Ok(Some(new.bytes.to_vec()));
        }
        let found = self
            .state
            .small_blob(&self.present.record.name, sha256, max)
            .await?;
        Ok(found.map(Into::into))
    }
}
