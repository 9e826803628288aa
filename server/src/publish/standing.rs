//! What devices may use today they may use after a publication, too, unless its authority restricts it by a status.
//!
//! Top-level targets and roots decide about every model of the namespace at once, and only their own signers can repair them. So the
//! device's own verifier judges what stands again under those that are proposed.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::status::{self, Status};
use assay_schema::tuf::ModelRole;
use assay_schema::{ModelName, ReleaseOrder, Sha256Digest, VersionName, signers};
use jiff::{SignedDuration, Timestamp};

use super::decide::{self, BadPublication, ROOT, SignedBy, TARGETS};
use super::error::PublishError;
use super::judge::{self, Files, Held, Judged, Source};
use super::proposed::Proposed;
use crate::metadata::{BadMetadata, TargetsFile, utf8, version_and_expiry};
use crate::persistence::OnlineRole;

/// How many models are judged again at most, the first by name: each takes some milliseconds while the publisher waits. In larger
/// namespaces the documents of stage 5 and every role are judged all the same.
const MODELS_JUDGED: usize = 256;

/// A model's highest release that nobody revoked, as proposed.
struct Highest {
    order: ReleaseOrder,
    version: VersionName,
}

/// A model as proposed.
struct Model {
    highest: Option<Highest>,
    /// The last moment at which all its roles and the status are valid: what expired is its authority's to renew, and takes nothing
    /// away here.
    valid: Timestamp,
}

impl Proposed<'_> {
    /// Judges the highest release of every model again, if the proposed root or targets could take it away. What devices refuse
    /// already keeps nobody from publishing.
    ///
    /// # Errors
    /// [`PublishError::TakesAway`], or a store fails.
    pub(super) async fn judge_standing(
        &self,
        held: &Held,
        files: &Files,
        now: Timestamp,
    ) -> Result<(), PublishError> {
        if !self.may_take_away()? {
            return Ok(());
        }
        for (model, found) in self.models(now).await?.into_iter().take(MODELS_JUDGED) {
            let Some(highest) = found.highest else { continue };
            // Signatures cost milliseconds each; other requests of this thread have their turn in between.
            tokio::task::yield_now().await;
            let (version, at) = (highest.version, found.valid);
            let judged = judge::release(held, files, &model, &version, at, self).await?;
            let Judged::Refused(verdict) = judged else {
                continue;
            };
            if !judge::is_restricted(&verdict) && self.stands(&model, &version, at).await? {
                return Err(PublishError::TakesAway {
                    model,
                    version,
                    verdict,
                });
            }
        }
        Ok(())
    }

    /// Whether devices could lose a release. Renewals and delegations of more blocks take nothing away: delegations are searched in
    /// their order (TUF 5.6.7).
    fn may_take_away(&self) -> Result<bool, PublishError> {
        let Some(sent) = self.sent.iter().find(|role| role.role == SignedBy::Targets) else {
            return Ok(self.root.is_some());
        };
        let present = &self.present.targets.bytes;
        let present = TargetsFile::parse(TARGETS, present).map_err(PublishError::Stored)?;
        // Without permitted signers stage 5 is skipped, which only devices refuse that demand it: no release shows that.
        let signers = |file: &TargetsFile| file.targets.contains_key(signers::TARGET);
        if signers(&present) && !signers(&sent.file) {
            let (role, path) = (sent.name.clone(), signers::TARGET);
            return Err(BadPublication::Gone { role, path }.into());
        }
        let same = sent.file.targets == present.targets;
        let longer = sent.file.delegated.starts_with(&present.delegated);
        Ok(self.root.is_some() || !same || !longer)
    }

    /// Every model of the proposed state.
    async fn models(&self, now: Timestamp) -> Result<BTreeMap<ModelName, Model>, PublishError> {
        let status = match self.sent.iter().find(|role| role.role == SignedBy::Status) {
            Some(sent) => Some(sent.file.clone()),
            None => self.stored(status::ROLE).await?,
        };
        let valid = status
            .as_ref()
            .map_or(now, |file| now.min(last_moment(file.expires)));
        let inline = status.and_then(|file| file.targets.get(status::TARGET)?.note.inline.clone());
        let restricts = inline.and_then(|text| Status::parse(text.as_bytes()).ok());

        let stands = self.present.model_roles().map(|(role, _)| role);
        let sent = self.sent.iter().filter_map(|sent| match &sent.role {
            SignedBy::Model(role) => Some(role.clone()),
            SignedBy::Targets | SignedBy::Status => None,
        });
        let roles: BTreeSet<ModelRole> = stands.chain(sent).collect();
        let mut models = BTreeMap::new();
        for role in roles {
            let name = role.name();
            let file = match self.sent.iter().find(|sent| sent.name == name) {
                Some(sent) => Some(sent.file.clone()),
                None => self.stored(&name).await?,
            };
            let Some(file) = file else { continue };
            let known = models
                .entry(role.model.clone())
                .or_insert(Model { highest: None, valid });
            known.valid = known.valid.min(last_moment(file.expires));
            for (path, target) in &file.targets {
                let (Some(version), Some(order)) = (decide::release(&role, path), target.note.order) else {
                    continue;
                };
                let revoked = restricts
                    .as_ref()
                    .is_some_and(|s| s.revocation(&role.model, &version, &target.sha256).is_some());
                if !revoked && known.highest.as_ref().is_none_or(|h| h.order < order) {
                    known.highest = Some(Highest { order, version });
                }
            }
        }
        Ok(models)
    }

    /// The file of a role that is not replaced.
    async fn stored(&self, role: &str) -> Result<Option<TargetsFile>, PublishError> {
        let Some(stands) = self.present.states.get(role) else {
            return Ok(None);
        };
        let bytes = self.metadata(role, stands.version).await?;
        let read = bytes.map(|bytes| TargetsFile::parse(role, &bytes));
        read.transpose().map_err(PublishError::Stored)
    }

    /// Whether devices may use the release as it stands, or could as long as what stands was valid.
    async fn stands(
        &self,
        model: &ModelName,
        version: &VersionName,
        at: Timestamp,
    ) -> Result<bool, PublishError> {
        let present = self.present;
        let record = &present.record;
        let held = Held::new(&record.name, record.identity, &present.root, None);
        let mut files = Files::default();
        let timestamp = OnlineRole::Timestamp.name();
        files.insert(
            timestamp,
            present.timestamp.version,
            &utf8(&present.timestamp.bytes),
        );
        let expires = |role: &str, bytes: &[u8]| -> Result<Timestamp, BadMetadata> {
            Ok(version_and_expiry(role, bytes)?.1)
        };
        let mut valid = at;
        for (role, bytes) in [
            (ROOT, present.root.as_bytes()),
            (TARGETS, present.targets.bytes.as_slice()),
            (OnlineRole::Snapshot.name(), present.snapshot.bytes.as_slice()),
            (timestamp, present.timestamp.bytes.as_slice()),
        ] {
            valid = valid.min(last_moment(expires(role, bytes).map_err(PublishError::Stored)?));
        }
        let judged = judge::release(&held, &files, model, version, valid, &Stored(self)).await?;
        Ok(matches!(judged, Judged::Accepted))
    }
}

/// The last moment at which a file is valid.
fn last_moment(expires: Timestamp) -> Timestamp {
    expires - SignedDuration::from_secs(1)
}

/// What is stored, whatever is proposed.
struct Stored<'a>(&'a Proposed<'a>);

impl Source for Stored<'_> {
    type Error = PublishError;

    async fn metadata(&self, role: &str, version: u64) -> Result<Option<Vec<u8>>, PublishError> {
        let Proposed { state, present, .. } = self.0;
        let found = state.db.metadata(&present.record.name, role, version).await?;
        Ok(found.map(|file| file.bytes))
    }

    async fn blob(&self, sha256: &Sha256Digest, max: u64) -> Result<Option<Vec<u8>>, PublishError> {
        self.0.blob(sha256, max).await
    }
}
