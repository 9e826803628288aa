//! The publisher's side of the REST API, typed.

use assay_schema::api::{
    CreateNamespace, LogInfo, NamespaceInfo, OnlineKeys, Page, Publication, Published, ReleaseInfo,
    StartUpload, UploadInfo,
};
use assay_schema::delta::{AttachDelta, DeltaInfo};
use assay_schema::limits::{MAX_JSON_BODY, MAX_PROPOSAL, MAX_PROPOSAL_LIST, MAX_PROPOSALS};
use assay_schema::proposal::{AddSignatures, ProposalDetail, ProposalInfo};
use assay_schema::{ModelName, NamespaceName, Sha256Digest, VersionName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::journal::Recorded;
use crate::transport::{Body, Fetched, Request, Transport, TransportError, paths};

/// A namespace on a registry.
#[derive(Clone, Copy)]
pub(super) struct Registry<'a> {
    pub(super) transport: &'a dyn Transport,
    pub(super) namespace: &'a NamespaceName,
}

type Result<T> = std::result::Result<T, TransportError>;

impl Registry<'_> {
    fn base(&self) -> String {
        format!("/v1/namespaces/{}", self.namespace)
    }

    pub(super) fn online_keys(&self) -> Result<OnlineKeys> {
        self.send("POST", format!("{}/keys", self.base()), Body::Empty)
    }

    /// The keys that become the online keys with a root that lists them.
    pub(super) fn next_online_keys(&self) -> Result<OnlineKeys> {
        self.send("POST", format!("{}/keys?next=true", self.base()), Body::Empty)
    }

    /// The registry's log; `None` if it has none.
    pub(super) fn log(&self) -> Result<Option<LogInfo>> {
        self.get("/v1/log".to_owned())
    }

    pub(super) fn create(&self, body: &Recorded<CreateNamespace>) -> Result<NamespaceInfo> {
        self.send_json("PUT", self.base(), body.get())
    }

    pub(super) fn info(&self) -> Result<Option<NamespaceInfo>> {
        self.get(self.base())
    }

    pub(super) fn start_upload(&self, sha256: Sha256Digest, size: u64) -> Result<UploadInfo> {
        self.send_json(
            "POST",
            format!("{}/uploads", self.base()),
            &StartUpload { sha256, size },
        )
    }

    pub(super) fn upload(&self, id: &str) -> Result<Option<UploadInfo>> {
        self.get(self.upload_path(id)?)
    }

    pub(super) fn send_part(
        &self,
        id: &str,
        offset: u64,
        part: &mut dyn std::io::Read,
        len: u64,
    ) -> Result<UploadInfo> {
        let path = self.upload_path(id)?;
        let request = Request {
            method: "PATCH",
            path: path.clone(),
            body: Body::Part(part, len),
            offset: Some(offset),
        };
        read(&path, &self.transport.send(request)?.body)
    }

    /// The id is the registry's word, and goes into a path.
    fn upload_path(&self, id: &str) -> Result<String> {
        let path = format!("{}/uploads/{id}", self.base());
        if id.is_empty()
            || !id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            let expected = "an upload id of letters, digits, '-' and '_'";
            return Err(TransportError::Malformed {
                path: self.base(),
                expected,
                found: id.chars().take(80).collect(),
            });
        }
        Ok(path)
    }

    pub(super) fn put_release(
        &self,
        model: &ModelName,
        version: &VersionName,
        manifest: &[u8],
    ) -> Result<ReleaseInfo> {
        self.send(
            "PUT",
            paths::release(self.namespace, model, version),
            Body::Json(manifest.to_vec()),
        )
    }

    /// Attaches a delta whose blob is uploaded; what the registry keeps for its pair of releases.
    pub(super) fn attach_delta(&self, model: &ModelName, delta: &AttachDelta) -> Result<DeltaInfo> {
        self.send_json("POST", format!("{}/models/{model}/deltas", self.base()), delta)
    }

    pub(super) fn publish(&self, publication: &Recorded<Publication>) -> Result<Published> {
        self.send_json("POST", format!("{}/metadata", self.base()), publication.get())
    }

    /// Keeps a proposal with the signatures that there are.
    pub(super) fn propose(&self, publication: &Recorded<Publication>) -> Result<ProposalDetail> {
        self.send_json("POST", format!("{}/proposals", self.base()), publication.get())
    }

    /// Adds the signatures of these files to a proposal.
    pub(super) fn add_signatures(
        &self,
        id: &Sha256Digest,
        signatures: &AddSignatures,
    ) -> Result<ProposalDetail> {
        self.send_json(
            "POST",
            format!("{}/proposals/{id}/signatures", self.base()),
            signatures,
        )
    }

    pub(super) fn proposal(&self, id: &Sha256Digest) -> Result<Option<ProposalDetail>> {
        self.get_up_to(format!("{}/proposals/{id}", self.base()), MAX_PROPOSAL)
    }

    /// Every proposal that the registry keeps.
    pub(super) fn proposals(&self) -> Result<Vec<ProposalInfo>> {
        let path = format!("{}/proposals?limit={MAX_PROPOSALS}", self.base());
        let page: Option<Page<ProposalInfo>> = self.get_up_to(path, MAX_PROPOSAL_LIST)?;
        Ok(page.map(|page| page.items).unwrap_or_default())
    }

    pub(super) fn withdraw(&self, id: &Sha256Digest) -> Result<()> {
        self.transport.send(Request {
            method: "DELETE",
            path: format!("{}/proposals/{id}", self.base()),
            body: Body::Empty,
            offset: None,
        })?;
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, path: String) -> Result<Option<T>> {
        self.get_up_to(path, MAX_JSON_BODY)
    }

    fn get_up_to<T: DeserializeOwned>(&self, path: String, max: u64) -> Result<Option<T>> {
        match self.transport.get(&path, max, None)? {
            Fetched::Found { bytes, .. } => read(&path, &bytes).map(Some),
            Fetched::Missing | Fetched::NotModified => Ok(None),
        }
    }

    fn send_json<T: DeserializeOwned>(
        &self,
        method: &'static str,
        path: String,
        body: &impl Serialize,
    ) -> Result<T> {
        let bytes = serde_json::to_vec(body).map_err(|e| TransportError::Malformed {
            path: path.clone(),
            expected: "a request that can be written as JSON",
            found: e.to_string(),
        })?;
        self.send(method, path, Body::Json(bytes))
    }

    fn send<T: DeserializeOwned>(&self, method: &'static str, path: String, body: Body<'_>) -> Result<T> {
        let reply = self.transport.send(Request {
            method,
            path: path.clone(),
            body,
            offset: None,
        })?;
        read(&path, &reply.body)
    }
}

fn read<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| TransportError::Malformed {
        path: path.to_owned(),
        expected: "the answer that the API describes",
        found: assay_schema::shown::json_error(&e),
    })
}
