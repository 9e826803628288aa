//! What stands, and the proposed state that the device's own verifier judges before it may stand.

use std::collections::BTreeMap;

use assay_schema::Sha256Digest;
use assay_schema::api::RoleState;
use assay_schema::status::{self, Status};
use assay_schema::tuf::ModelRole;
use assay_trust::Refreshed;
use assay_trust::restricted::revoked_signer;
use assay_verifier::TrustError;
use jiff::Timestamp;

use super::commit::current;
use super::decide::{NewRelease, NewRole, NewRoot, ROOT, SignedBy, TARGETS};
use super::endorse::NewEndorsement;
use super::error::PublishError;
use super::judge::{self, Files, Held, Judged, Source, TopLevel};
use super::online::OnlineFiles;
use super::trust::TrustBlob;
use crate::metadata::utf8;
use crate::persistence::{MetadataFile, NamespaceRecord, NewMetadata, OnlineRole};
use crate::state::AppState;
/// What stands, as one attempt read it. A commit in between moves the revision, and the attempt's own commit fails.
pub struct Present {
    /// The namespace.
    pub record: NamespaceRecord,
    /// Every role's current file, without its bytes.
    pub states: BTreeMap<String, RoleState>,
    /// The current root.
    pub root: String,
    /// The current top-level targets.
    pub targets: MetadataFile,
    /// The current snapshot.
    pub snapshot: MetadataFile,
    /// The current timestamp.
    pub timestamp: MetadataFile,
}

impl Present {
    /// Reads it, file by file.
    ///
    /// # Errors
    /// The database fails, or a file that must be there is not.
    pub async fn read(state: &AppState, record: NamespaceRecord) -> Result<Self, PublishError> {
        let namespace = &record.name;
        let states = state.db.role_states(namespace).await?;
        let root = utf8(&current(state, namespace, "root").await?.bytes);
        let targets = current(state, namespace, TARGETS).await?;
        let snapshot = current(state, namespace, OnlineRole::Snapshot.name()).await?;
        let timestamp = current(state, namespace, OnlineRole::Timestamp.name()).await?;
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
    pub fn model_roles(&self) -> impl Iterator<Item = (ModelRole, &RoleState)> {
        self.states
            .iter()
            .filter_map(|(name, state)| Some((ModelRole::parse(name)?, state)))
    }
}

/// A state that does not stand yet.
pub struct Proposed<'a> {
    /// The registry's parts.
    pub state: &'a AppState,
    /// What stands.
    pub present: &'a Present,
    /// The next root.
    pub root: Option<&'a NewRoot>,
    /// The new targets files.
    pub sent: &'a [NewRole],
    /// The releases that they list for the first time.
    pub releases: &'a [NewRelease],
    /// The releases of other namespaces that they list for the first time.
    pub endorsements: &'a [NewEndorsement],
    /// The new snapshot and timestamp.
    pub online: &'a OnlineFiles,
    /// Bytes of `trust/*` targets that are not stored yet.
    pub blobs: &'a [TrustBlob],
}

impl Proposed<'_> {
    /// The device's own verifier, from what a device holds now to the proposed state.
    ///
    /// # Errors
    /// A device would refuse it.
    pub async fn judge(&self, now: Timestamp) -> Result<(), PublishError> {
        let present = self.present;
        let (snapshot, timestamp) = (utf8(&present.snapshot.bytes), utf8(&present.timestamp.bytes));
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
            None => utf8(&present.targets.bytes),
        };
        let online = |file: &NewMetadata| utf8(&file.bytes);
        let new_snapshot = self
            .online
            .snapshot
            .as_ref()
            .map_or_else(|| snapshot.clone(), online);
        let new_timestamp = online(&self.online.timestamp);
        let top = TopLevel {
            root: self.root.map(|root| root.bytes.as_str()),
            timestamp: &new_timestamp,
            snapshot: &new_snapshot,
            targets: &targets,
        };
        let refreshed = held.walk(top, now)?;

        let mut files = Files::default();
        for file in self.online.snapshot.iter().chain([&self.online.timestamp]) {
            files.insert(&file.role, file.version, &utf8(&file.bytes));
        }
        if let Some(root) = self.root {
            files.insert(ROOT, root.file.version, &root.bytes);
        }
        for role in self.sent {
            files.insert(&role.name, role.file.version, &role.bytes);
            if let SignedBy::Model(model_role) = &role.role {
                judge::role(&refreshed, model_role, &role.bytes)?;
                let endorsed = self.endorsements.iter().filter(|e| e.listed.role == *model_role);
                for new in endorsed {
                    let (version, manifest) = (new.version(), new.target().sha256);
                    judge::endorsement(&refreshed, model_role, &role.bytes, version, manifest)?;
                }
            }
        }
        let status = self.sent.iter().find(|r| r.role == SignedBy::Status);
        self.judge_status(&refreshed, status, &targets).await?;
        if sent_targets.is_some() || self.root.is_some() {
            self.judge_unchanged_roles(&refreshed).await?;
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

    /// Where the targets delegate a status, devices use nothing without a valid one, under which the state itself holds. One that
    /// stands and has expired, or stops every model, is the authority's to renew, and keeps the other roles from nothing here; but
    /// no file is published that it refuses for its signers.
    async fn judge_status(
        &self,
        refreshed: &Refreshed,
        sent: Option<&NewRole>,
        targets: &str,
    ) -> Result<(), PublishError> {
        let missing = |subject: &str, expected: &str| {
            PublishError::Trust(TrustError::Malformed {
                subject: subject.to_owned(),
                expected: expected.to_owned(),
                found: "none".to_owned(),
            })
        };
        let stands = self.present.states.get(status::ROLE);
        let bytes = match (refreshed.has_status(), sent, stands) {
            (false, Some(_), _) => return Err(missing(TARGETS, "a delegation to status")),
            (false, None, _) => return Ok(()),
            (true, Some(sent), _) => {
                let status = judge::status(refreshed, sent.bytes.as_bytes(), targets)?;
                return self.judge_signers(&status);
            }
            (true, None, None) => {
                return Err(missing("publication", "the status file that targets delegate"));
            }
            (true, None, Some(stands)) => self.metadata(status::ROLE, stands.version).await?,
        };
        match refreshed
            .clone()
            .accept_role(status::ROLE, &bytes.unwrap_or_default())
        {
            Ok(accepted) => self.judge_signers(&accepted.status()?),
            Err(failure) => match failure.error {
                TrustError::Expired { role, .. } if role == status::ROLE => Ok(()),
                error => Err(error.into()),
            },
        }
    }

    /// No new file has the signature of a key that the status revokes: devices would refuse what they may use now.
    fn judge_signers(&self, status: &Status) -> Result<(), PublishError> {
        let signed = self.sent.iter().filter(|role| role.role != SignedBy::Status);
        for role in signed {
            revoked_signer(status, &role.name, role.bytes.as_bytes())?;
        }
        Ok(())
    }

    /// New top-level targets must not take away what devices may use: every role holds on under them. Only a role that has itself
    /// expired, which devices refuse in any case, does not keep the others from going on.
    async fn judge_unchanged_roles(&self, refreshed: &Refreshed) -> Result<(), PublishError> {
        let sent = |role: &ModelRole| self.sent.iter().any(|s| s.name == role.name());
        for (role, stands) in self.present.model_roles().filter(|(role, _)| !sent(role)) {
            let name = role.name();
            let Some(bytes) = self.metadata(&name, stands.version).await? else {
                let namespace = self.present.record.name.clone();
                return Err(PublishError::NoFile {
                    namespace,
                    role: name,
                });
            };
            match judge::role(refreshed, &role, &utf8(&bytes)) {
                // Signatures are checked before expiry (TUF 5.6.3, 5.6.5): the new targets still delegate to its keys.
                Err(TrustError::Expired { role: expired, .. }) if expired == name => {}
                judged => judged?,
            }
        }
        Ok(())
    }
}

impl Source for Proposed<'_> {
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
