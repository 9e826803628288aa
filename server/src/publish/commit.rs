//! Publications: new targets files, the releases that they make visible, the next root, in one compare-and-swap (P3).

use std::collections::{BTreeMap, BTreeSet};

use assay_authority::metadata::FileMeta;
use assay_schema::api::{Publication, Published, RoleState};
use assay_schema::{ModelName, NamespaceName};
use jiff::Timestamp;

use super::decide::{self, NewRelease, NewRole, Sent, Standing};
use super::endorse::{self, NewEndorsement};
use super::error::PublishError;
use super::online::{self, Lifetimes, OnlineError, OnlineFiles, OnlineSigner, new_metadata};
use super::proposed::{Present, Proposed};
use super::trust;
use crate::metadata::TargetsFile;
use crate::persistence::{
    DatabaseError, MetadataFile, NamespaceRecord, NewMetadata, OnlineKey, OnlineRole, PublishRelease,
};
use crate::state::AppState;
use crate::steps::Step;

/// How often a publication begins again because the re-signing, or a publication of other roles, came first.
const ATTEMPTS: usize = 8;

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

pub(super) async fn find(
    state: &AppState,
    namespace: &NamespaceName,
) -> Result<NamespaceRecord, PublishError> {
    let found = state.db.namespace(namespace).await?;
    found.ok_or_else(|| PublishError::NoNamespace(namespace.clone()))
}

async fn attempt(
    state: &AppState,
    record: NamespaceRecord,
    sent: &Sent,
    now: Timestamp,
) -> Result<Published, PublishError> {
    let present = Present::read(state, record).await?;
    let namespace = &present.record.name;
    if published_before(state, namespace, sent).await? {
        return answer(state, namespace, sent, present.states).await;
    }
    let (releases, endorsements) = follows(state, &present, sent).await?;
    let endorsed: Vec<_> = endorsements.iter().map(NewEndorsement::target).collect();
    let along: Vec<&str> = sent.manifests.iter().map(|(_, bytes)| bytes.as_str()).collect();
    let blobs = trust::find(state, namespace, &sent.roles, &endorsed, &along).await?;

    let (signer, promoted) = signer_under(state, &present.record, sent).await?;
    let changed = sent
        .roles
        .iter()
        .map(|r| (r.name.as_str(), FileMeta::of(r.file.version, r.bytes.as_bytes())));
    let online = signer.next(&present.snapshot, &present.timestamp, changed, now)?;
    let proposed = Proposed {
        state,
        present: &present,
        root: sent.root.as_ref(),
        sent: &sent.roles,
        releases: &releases,
        endorsements: &endorsements,
        online: &online,
        blobs: &blobs,
    };
    proposed.judge(now).await?;

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
        .commit_rotation(
            namespace,
            present.record.revision,
            files,
            &publish,
            &promoted,
            now,
        )
        .await?;
    state.steps.done(Step::P3)?;
    state.delta_work.notify_one();
    answer(state, namespace, sent, states).await
}

/// Whether what was sent may follow what stands: parents, versions, and that no release changes. Gives the releases that it lists
/// for the first time, all of them candidates.
pub(super) async fn follows(
    state: &AppState,
    present: &Present,
    sent: &Sent,
) -> Result<(Vec<NewRelease>, Vec<NewEndorsement>), PublishError> {
    let namespace = &present.record.name;
    if decide::compare(sent, &present.states)? == Standing::Stale {
        return Err(stale(present, sent));
    }
    let mut releases = Vec::new();
    for role in &sent.roles {
        let version = present.states.get(&role.name).map(|s| s.version);
        let before = before(state, namespace, role, version).await?;
        releases.extend(role.new_releases(before.as_ref())?);
    }
    let (releases, endorsements) = endorse::part(state, present, sent, releases).await?;
    check_candidates(state, namespace, &releases).await?;
    Ok((releases, endorsements))
}

/// Another publication came first: with the current files of the roles that were sent.
pub(super) fn stale(present: &Present, sent: &Sent) -> PublishError {
    let named = |role: &String| sent.files().any(|s| s.name == *role);
    let states = present.states.iter().filter(|(role, _)| named(role));
    PublishError::Stale {
        current: states
            .map(|(role, state)| (role.clone(), state.clone()))
            .collect(),
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
    open(state, record, &state.db.online_keys(&record.name).await?)
}

/// Opens the online keys that a publication's root lists, or the present ones; and the roles whose next key it lists.
async fn signer_under(
    state: &AppState,
    record: &NamespaceRecord,
    sent: &Sent,
) -> Result<(OnlineSigner, Vec<OnlineRole>), PublishError> {
    let Some(root) = &sent.root else {
        return Ok((signer(state, record).await?, Vec::new()));
    };
    let present = state.db.online_keys(&record.name).await?;
    let next = state.db.next_online_keys(&record.name).await?;
    let listed = online::listed(&root.file, present, next)?;
    Ok((open(state, record, &listed.keys)?, listed.promoted))
}

fn open(
    state: &AppState,
    record: &NamespaceRecord,
    keys: &[OnlineKey],
) -> Result<OnlineSigner, PublishError> {
    let seal = state.seal.key().map_err(OnlineError::Seal)?;
    let lifetimes = Lifetimes::from(&state.config.signing);
    Ok(OnlineSigner::open(
        seal,
        &record.name,
        record.identity,
        keys,
        lifetimes,
    )?)
}

/// Whether each of these files was published before, be it current or replaced since.
async fn published_before(
    state: &AppState,
    namespace: &NamespaceName,
    sent: &Sent,
) -> Result<bool, PublishError> {
    for role in sent.files() {
        let stored = state.db.metadata(namespace, role.name, role.version).await?;
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
    sent: &Sent,
    mut states: BTreeMap<String, RoleState>,
) -> Result<Published, PublishError> {
    let mut releases = Vec::new();
    for role in &sent.roles {
        let before = before(state, namespace, role, Some(role.file.version - 1)).await?;
        let own = role.new_releases(before.as_ref())?.into_iter();
        // What came with its manifest is another namespace's release.
        let own = own.filter(|r| sent.along(&r.target.sha256).is_none());
        releases.extend(own.map(|r| r.version));
    }
    states.retain(|role, _| {
        matches!(role.as_str(), "snapshot" | "timestamp") || sent.files().any(|s| s.name == *role)
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

fn files(sent: &Sent, online: OnlineFiles) -> Vec<NewMetadata> {
    let signed = sent
        .files()
        .map(|f| new_metadata(f.name, f.version, f.bytes.as_bytes().to_vec(), f.expires));
    signed.chain(online.snapshot).chain([online.timestamp]).collect()
}
