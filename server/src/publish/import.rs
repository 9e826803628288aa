//! A namespace that moves here from another registry: P3 on a namespace that does not exist yet, with all its roots, roles and
//! releases at once. Their blobs were uploaded before (U1 to U6), into a name that only has online keys until then.

use std::collections::{BTreeMap, BTreeSet};

use assay_authority::metadata::FileMeta;
use assay_schema::api::CreateNamespace;
use assay_schema::limits::{MAX_MANIFEST, MAX_ROOT_ROTATIONS};
use assay_schema::{ModelName, NamespaceName, ReleaseManifest, Sha256Digest, Stage, Verdict, status};
use assay_trust::Refreshed;
use assay_verifier::TrustError;
use jiff::{SignedDuration, Timestamp};

use super::candidate;
use super::create::{Created, Outcome, commit};
use super::decide::{self, BadPublication, NewRelease, NewRole, ROOT, SignedBy, TARGETS};
use super::endorse::{self, NewEndorsement};
use super::error::PublishError;
use super::first::{self, BadRoot};
use super::judge::{self, Files, Held, Judged, Source, TopLevel};
use super::online::{self, Lifetimes, OnlineError, OnlineFiles, OnlineSigner, new_metadata};
use super::trust::{self, TrustBlob};
use crate::metadata::{RootFile, sha256, utf8, version_and_expiry};
use crate::persistence::{DatabaseError, NamespaceRecord, NewCandidate, NewMetadata, NewNamespace};
use crate::state::AppState;

/// What was sent, read.
struct Moving<'a> {
    state: &'a AppState,
    name: &'a NamespaceName,
    /// SHA-256 of the first root.
    identity: Sha256Digest,
    /// Every root, ascending.
    roots: Vec<NewMetadata>,
    targets: NewRole,
    /// Status and model roles.
    roles: Vec<NewRole>,
    /// Bytes of `trust/*` targets that are not stored yet.
    blobs: Vec<TrustBlob>,
}

/// Makes a namespace with all that it was on another registry.
///
/// # Errors
/// The name is taken by another history, the last root does not list this registry's keys, a blob is missing, or a device that has
/// pinned the first root would refuse what it would see. Nothing is visible then.
pub async fn import(
    state: &AppState,
    name: &NamespaceName,
    request: CreateNamespace,
    now: Timestamp,
) -> Result<Created, PublishError> {
    if let Some(record) = state.db.namespace(name).await? {
        return same_again(state, record, &request).await;
    }
    let stored = state.db.online_keys(name).await?;
    if stored.is_empty() {
        return Err(PublishError::NoKeys(name.clone()));
    }
    let moving = read(state, name, &request).await?;
    let last = moving
        .roots
        .last()
        .map(|file| file.bytes.as_slice())
        .unwrap_or_default();
    let last = RootFile::parse(last).map_err(BadRoot::Metadata)?;
    let own = online::publics(name, &stored)?;
    for (role, key) in [("snapshot", &own.snapshot), ("timestamp", &own.timestamp)] {
        first::online_key(&last, role, &[key])?;
    }
    let (releases, endorsements) = moving.releases().await?;

    let seal = state.seal.key().map_err(OnlineError::Seal)?;
    let lifetimes = Lifetimes::from(&state.config.signing);
    let signer = OnlineSigner::open(seal, name, moving.identity, &stored, lifetimes)?;
    let files = moving.files().map(|role| {
        let meta = FileMeta::of(role.file.version, role.bytes.as_bytes());
        (role.name.as_str(), meta)
    });
    let online = signer.first(files, now)?;
    moving.judge(&online, &endorsements, now).await?;

    trust::put(state, &moving.blobs).await?;
    let roles = moving.files().map(|role| {
        let bytes = role.bytes.clone().into_bytes();
        new_metadata(&role.name, role.file.version, bytes, role.file.expires)
    });
    let roles: Vec<_> = roles.collect();
    let new = NewNamespace {
        name: name.clone(),
        identity: moving.identity,
        visibility: request.visibility,
        created: now,
        // Roots ascending: the last one stays current.
        metadata: moving
            .roots
            .into_iter()
            .chain(roles)
            .chain(online.snapshot)
            .chain([online.timestamp])
            .collect(),
        blobs: moving.blobs.iter().map(TrustBlob::row).collect(),
        releases: releases
            .into_iter()
            .map(|new| NewCandidate { created: now, ..new })
            .collect(),
    };
    match commit(state, name, new).await {
        Ok(Outcome::Made(created)) => Ok(created),
        Ok(Outcome::Taken(record)) => same_again(state, record, &request).await,
        Err(PublishError::Database(DatabaseError::BlobsMissing { missing })) => {
            let what = "the releases".to_owned();
            Err(PublishError::BlobsMissing { what, missing })
        }
        Err(error) => Err(error),
    }
}

/// The same files again, be they current or replaced since: nothing is to do. Anything else: the name is taken.
async fn same_again(
    state: &AppState,
    record: NamespaceRecord,
    request: &CreateNamespace,
) -> Result<Created, PublishError> {
    let (mut same, mut version) = (record.visibility == request.visibility, 0);
    for root in std::iter::once(&request.root).chain(&request.later_roots) {
        version += 1;
        let stored = state.db.metadata(&record.name, ROOT, version).await?;
        same &= stored.is_some_and(|file| file.sha256 == sha256(root.as_bytes()));
    }
    let roles = request.roles.iter().map(|(name, bytes)| (name.as_str(), bytes));
    for (name, bytes) in roles.chain([(TARGETS, &request.targets)]) {
        let (version, _) = version_and_expiry(name, bytes.as_bytes()).map_err(BadPublication::Metadata)?;
        let stored = state.db.metadata(&record.name, name, version).await?;
        same &= stored.is_some_and(|file| file.sha256 == sha256(bytes.as_bytes()));
    }
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

async fn read<'a>(
    state: &'a AppState,
    name: &'a NamespaceName,
    request: &CreateNamespace,
) -> Result<Moving<'a>, PublishError> {
    let mut roots = Vec::new();
    for (n, root) in std::iter::once(&request.root)
        .chain(&request.later_roots)
        .enumerate()
    {
        let (version, expires) = version_and_expiry(ROOT, root.as_bytes()).map_err(BadRoot::Metadata)?;
        let expected = n as u64 + 1;
        // TUF 5.3.5: one by one, from the root that devices pin.
        if version != expected {
            let (role, found) = (ROOT.to_owned(), version);
            return Err(BadPublication::Version {
                role,
                expected,
                found,
            }
            .into());
        }
        roots.push(new_metadata(ROOT, version, root.clone().into_bytes(), expires));
    }
    let targets = decide::read_role(TARGETS.to_owned(), request.targets.clone(), None)?;
    let mut roles = Vec::new();
    for (role, bytes) in &request.roles {
        let role = decide::read_role(role.clone(), bytes.clone(), None)?;
        if role.role == SignedBy::Targets {
            return Err(BadPublication::Role(role.name).into());
        }
        roles.push(role);
    }
    // Each `trust/*` target and the status: sent along, or inside its own entry.
    let mut listing = vec![targets.clone()];
    listing.extend(roles.iter().filter(|r| r.role == SignedBy::Status).cloned());
    let along: Vec<&str> = request.blobs.iter().map(String::as_str).collect();
    let blobs = trust::find(state, name, &listing, &[], &along).await?;
    Ok(Moving {
        state,
        name,
        identity: sha256(request.root.as_bytes()),
        roots,
        targets,
        roles,
        blobs,
    })
}

impl Moving<'_> {
    fn files(&self) -> impl Iterator<Item = &NewRole> {
        std::iter::once(&self.targets).chain(&self.roles)
    }

    fn listed(&self) -> Result<Vec<NewRelease>, PublishError> {
        let mut listed = Vec::new();
        for role in &self.roles {
            listed.extend(role.new_releases(None)?);
        }
        Ok(listed)
    }

    /// Every release that the roles list, with all its blobs: as if it had been a candidate here. Of another namespace's release,
    /// which the roles list too, the manifest is all that is demanded.
    async fn releases(&self) -> Result<(Vec<NewCandidate>, Vec<NewEndorsement>), PublishError> {
        let (state, name) = (self.state, self.name);
        let mut counters: BTreeSet<(ModelName, u64)> = BTreeSet::new();
        let (mut found, mut endorsements, mut missing) = (Vec::new(), Vec::new(), BTreeSet::new());
        for listed in self.listed()? {
            let digest = listed.target.sha256;
            let Some(bytes) = state.small_blob(name, &digest, MAX_MANIFEST).await? else {
                missing.insert(digest);
                continue;
            };
            let manifest = ReleaseManifest::parse(&bytes)?;
            if manifest.namespace != self.identity {
                endorse::placed(&listed, &manifest, bytes.len())?;
                endorsements.push(NewEndorsement { listed });
                continue;
            }
            let new = candidate::examine(
                state,
                name,
                self.identity,
                (&listed.role.model, &listed.version),
                &bytes,
            );
            let new = match new.await {
                Err(PublishError::BlobsMissing { missing: more, .. }) => {
                    missing.extend(more);
                    continue;
                }
                new => new?,
            };
            if !counters.insert((new.model.clone(), new.order.counter())) {
                return Err(PublishError::ManifestField {
                    what: format!("order of {}@{}", new.model, new.version),
                    expected: "a counter that no other release of the model has".to_owned(),
                    found: new.order.counter().to_string(),
                });
            }
            found.push(new);
        }
        let own = found.iter().map(|new| new.model.clone()).collect();
        endorse::apart(name, &own, &endorsements)?;
        if missing.is_empty() {
            return Ok((found, endorsements));
        }
        Err(PublishError::BlobsMissing {
            what: "the releases".to_owned(),
            missing: missing.into_iter().collect(),
        })
    }

    /// The device's own verifier, from the first root on: every root, role and release.
    async fn judge(
        &self,
        online: &OnlineFiles,
        endorsements: &[NewEndorsement],
        now: Timestamp,
    ) -> Result<(), PublishError> {
        let first = self
            .roots
            .first()
            .map(|root| utf8(&root.bytes))
            .unwrap_or_default();
        let later: Vec<_> = self.roots.iter().skip(1).map(|root| utf8(&root.bytes)).collect();
        let held = Held::new(self.name, self.identity, &first, None).follow(&later, now)?;
        let snapshot = online
            .snapshot
            .as_ref()
            .map(|s| utf8(&s.bytes))
            .unwrap_or_default();
        let timestamp = utf8(&online.timestamp.bytes);
        let top = TopLevel {
            root: None,
            timestamp: &timestamp,
            snapshot: &snapshot,
            targets: &self.targets.bytes,
        };
        let refreshed = held.walk(top, now)?;
        self.judge_status(&refreshed)?;
        let mut files = Files::default();
        for file in online.snapshot.iter().chain([&online.timestamp]) {
            files.insert(&file.role, file.version, &utf8(&file.bytes));
        }
        for role in self.files() {
            files.insert(&role.name, role.file.version, &role.bytes);
        }
        // A role that has expired, which devices refuse in any case, moves as it is: it is judged at its last valid moment.
        let at = |role: &NewRole| now.min(role.file.expires - SignedDuration::from_secs(1));
        let mut valid: BTreeMap<String, Timestamp> = BTreeMap::new();
        for role in &self.roles {
            let SignedBy::Model(model_role) = &role.role else {
                continue;
            };
            let at = at(role);
            let refreshed = match at == now {
                true => refreshed.clone(),
                false => held.walk(top, at)?,
            };
            judge::role(&refreshed, model_role, &role.bytes)?;
            for new in endorsements.iter().filter(|e| e.listed.role == *model_role) {
                let (version, manifest) = (new.version(), new.target().sha256);
                judge::endorsement(&refreshed, model_role, &role.bytes, version, manifest)?;
            }
            valid.insert(role.name.clone(), at);
        }
        // The status may have expired, too; the release itself is judged while it held.
        let status = self.roles.iter().find(|r| r.role == SignedBy::Status).map(at);
        let endorsed = |release: &NewRelease| endorsements.iter().any(|e| e.listed == *release);
        for release in self.listed()?.into_iter().filter(|release| !endorsed(release)) {
            // Signatures cost milliseconds each; other requests of this thread have their turn in between.
            tokio::task::yield_now().await;
            let at = valid.get(&release.role.name()).copied().unwrap_or(now);
            let at = status.map_or(at, |status| status.min(at));
            let (model, version) = (release.role.model, release.version);
            match judge::release(&held, &files, &model, &version, at, self).await? {
                Judged::Accepted => {}
                Judged::Refused(verdict) if is_restricted(&verdict) => {}
                Judged::Refused(verdict) => {
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

    fn judge_status(&self, refreshed: &Refreshed) -> Result<(), PublishError> {
        let sent = self.roles.iter().find(|r| r.role == SignedBy::Status);
        let missing = |subject: &str, expected: &str| {
            PublishError::Trust(TrustError::Malformed {
                subject: subject.to_owned(),
                expected: expected.to_owned(),
                found: "none".to_owned(),
            })
        };
        match (refreshed.has_status(), sent) {
            (false, None) => Ok(()),
            (false, Some(_)) => Err(missing(TARGETS, "a delegation to status")),
            (true, None) => Err(missing("roles", "the status file that targets delegate")),
            (true, Some(sent)) => {
                match judge::status(refreshed, sent.bytes.as_bytes(), &self.targets.bytes) {
                    // The authority's to renew, as where it stood before.
                    Err(TrustError::Expired { role, .. }) if role == status::ROLE => Ok(()),
                    judged => Ok(judged.map(drop)?),
                }
            }
        }
    }
}

/// What the authority restricted was published once: it moves with the status that restricts it, and devices refuse it here as there.
fn is_restricted(verdict: &Verdict) -> bool {
    let by_status = |code: &str| matches!(code, "revoked" | "below-status" | "revoked-key");
    verdict
        .refusal()
        .is_some_and(|(stage, refusal)| stage == Stage::Release && by_status(&refusal.code))
}

impl Source for Moving<'_> {
    type Error = PublishError;

    async fn metadata(&self, role: &str, version: u64) -> Result<Option<Vec<u8>>, PublishError> {
        let root = self.roots.iter().find(|r| r.role == role && r.version == version);
        Ok(root.map(|r| r.bytes.clone()))
    }

    async fn blob(&self, sha256: &Sha256Digest, max: u64) -> Result<Option<Vec<u8>>, PublishError> {
        if let Some(new) = self.blobs.iter().find(|b| b.sha256 == *sha256) {
            return Ok(Some(new.bytes.to_vec()));
        }
        let found = self.state.small_blob(self.name, sha256, max).await?;
        Ok(found.map(Into::into))
    }
}

impl Held {
    /// The device after these roots, in as many runs as it needs for them.
    ///
    /// # Errors
    /// It would refuse one.
    fn follow(mut self, roots: &[String], now: Timestamp) -> Result<Self, TrustError> {
        for run in roots.chunks(MAX_ROOT_ROTATIONS as usize) {
            let opened = assay_trust::Roots::open(&self.pin, self.state.clone(), now);
            let followed = run.iter().fold(opened, |roots, next| {
                roots.and_then(|roots| roots.accept(next.as_bytes()))
            });
            self.state = followed.map_err(|failure| failure.error)?.state().clone();
        }
        Ok(self)
    }
}
