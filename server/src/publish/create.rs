//! Creating a namespace from metadata that its authority signed: P3 on a namespace that does not exist yet.

use assay_authority::metadata::FileMeta;
use assay_schema::NamespaceName;
use assay_schema::api::{CreateNamespace, NamespaceInfo, OnlineKeys};
use jiff::Timestamp;

use super::decide::{self, BadPublication, TARGETS};
use super::error::PublishError;
use super::judge::{Held, TopLevel};
use super::online::{self, Lifetimes, OnlineError, OnlineSigner, new_metadata};
use super::{first, import, trust};
use crate::metadata::{sha256, utf8, version_and_expiry};
use crate::persistence::{DatabaseError, NamespaceRecord, NewNamespace};
use crate::state::AppState;
use crate::steps::Step;

/// What came of creating a namespace.
#[derive(Debug)]
pub struct Created {
    /// The namespace as it stands.
    pub info: NamespaceInfo,
    /// It is new; otherwise the same content stood already.
    pub new: bool,
}

/// The public halves of a namespace's online keys, which are made when they are first asked for.
///
/// # Errors
/// The keys cannot be made, sealed or stored.
pub async fn keys(state: &AppState, namespace: &NamespaceName) -> Result<OnlineKeys, PublishError> {
    let mut found = state.db.online_keys(namespace).await?;
    if found.is_empty() {
        let made = online::make(state.seal.key().map_err(OnlineError::Seal)?, namespace)?;
        found = state.db.reserve_online_keys(namespace, made).await?;
        state.steps.done(Step::N3)?;
    }
    Ok(online::publics(namespace, &found)?)
}

/// The public halves of the keys that become a namespace's online keys when a root that lists them is published; they are made
/// when they are first asked for.
///
/// # Errors
/// There is no such namespace, or the keys cannot be made, sealed or stored.
pub async fn next_keys(state: &AppState, namespace: &NamespaceName) -> Result<OnlineKeys, PublishError> {
    if state.db.namespace(namespace).await?.is_none() {
        return Err(PublishError::NoNamespace(namespace.clone()));
    }
    let mut found = state.db.next_online_keys(namespace).await?;
    // A root may have taken one of the two only: the other is still the next one.
    if found.len() < 2 {
        let made = online::make(state.seal.key().map_err(OnlineError::Seal)?, namespace)?;
        found = state.db.reserve_next_online_keys(namespace, made).await?;
        state.steps.done(Step::N3)?;
    }
    Ok(online::publics(namespace, &found)?)
}

/// Creates a namespace, after the device's own verifier has judged what it would see.
///
/// # Errors
/// The name is taken, the root does not list the registry's keys, or a device would refuse the namespace.
pub async fn create(
    state: &AppState,
    name: &NamespaceName,
    request: CreateNamespace,
    now: Timestamp,
) -> Result<Created, PublishError> {
    if !request.later_roots.is_empty() || !request.roles.is_empty() {
        return import::import(state, name, request, now).await;
    }
    if let Some(record) = state.db.namespace(name).await? {
        return same_again(state, record, &request).await;
    }
    let stored = state.db.online_keys(name).await?;
    if stored.is_empty() {
        return Err(PublishError::NoKeys(name.clone()));
    }
    let root = first::check(request.root.as_bytes(), &online::publics(name, &stored)?)?;
    let targets = decide::read_role(TARGETS.to_owned(), request.targets.clone(), None)?;
    if targets.file.version != 1 {
        let (role, found) = (TARGETS.to_owned(), targets.file.version);
        return Err(BadPublication::Version {
            role,
            expected: 1,
            found,
        }
        .into());
    }
    let (_, root_expires) =
        version_and_expiry("root", request.root.as_bytes()).map_err(first::BadRoot::Metadata)?;
    let identity = sha256(request.root.as_bytes());
    let along: Vec<&str> = request.blobs.iter().map(String::as_str).collect();
    let blobs = trust::find(state, name, std::slice::from_ref(&targets), &[], &along).await?;

    let seal = state.seal.key().map_err(OnlineError::Seal)?;
    let signer = OnlineSigner::open(
        seal,
        name,
        identity,
        &stored,
        Lifetimes::from(&state.config.signing),
    )?;
    let files = [(TARGETS, FileMeta::of(1, request.targets.as_bytes()))];
    let online = signer.first(files, now)?;
    let snapshot = online
        .snapshot
        .as_ref()
        .map(|s| utf8(&s.bytes))
        .unwrap_or_default();
    let top = TopLevel {
        root: None,
        timestamp: &utf8(&online.timestamp.bytes),
        snapshot: &snapshot,
        targets: &request.targets,
    };
    Held::new(name, identity, &request.root, None).walk(top, now)?;

    trust::put(state, &blobs).await?;
    let root = new_metadata(
        "root",
        root.version,
        request.root.clone().into_bytes(),
        root_expires,
    );
    let targets = new_metadata(
        TARGETS,
        1,
        request.targets.clone().into_bytes(),
        targets.file.expires,
    );
    let new = NewNamespace {
        name: name.clone(),
        identity,
        visibility: request.visibility,
        created: now,
        metadata: [root, targets]
            .into_iter()
            .chain(online.snapshot)
            .chain([online.timestamp])
            .collect(),
        blobs: blobs.iter().map(trust::TrustBlob::row).collect(),
        releases: Vec::new(),
    };
    match commit(state, name, new).await? {
        Outcome::Made(created) => Ok(created),
        Outcome::Taken(record) => same_again(state, record, &request).await,
    }
}

/// What came of a namespace's creation.
pub(super) enum Outcome {
    Made(Created),
    /// Another creation came first.
    Taken(NamespaceRecord),
}

/// P3 of a namespace that does not exist.
pub(super) async fn commit(
    state: &AppState,
    name: &NamespaceName,
    new: NewNamespace,
) -> Result<Outcome, PublishError> {
    let record = match state.db.create_namespace(new).await {
        Err(DatabaseError::Exists { .. }) => {
            let found = state.db.namespace(name).await?;
            let record = found.ok_or_else(|| PublishError::NoNamespace(name.clone()))?;
            return Ok(Outcome::Taken(record));
        }
        made => made?,
    };
    state.steps.done(Step::P3)?;
    state.delta_work.notify_one();
    Ok(Outcome::Made(Created {
        info: state.db.namespace_info(record).await?,
        new: true,
    }))
}

/// The same first root and targets again: the namespace as it stands now. Anything else: the name is taken.
async fn same_again(
    state: &AppState,
    record: NamespaceRecord,
    request: &CreateNamespace,
) -> Result<Created, PublishError> {
    let first = async |role: &str| state.db.metadata(&record.name, role, 1).await;
    let targets = first(TARGETS).await?.map(|file| file.sha256);
    let same = record.identity == sha256(request.root.as_bytes())
        && targets == Some(sha256(request.targets.as_bytes()))
        && record.visibility == request.visibility;
    if same {
        return Ok(Created {
            info: state.db.namespace_info(record).await?,
            new: false,
        });
    }
    Err(PublishError::NamespaceExists {
        name: record.name,
        identity: record.identity,
    })
}
