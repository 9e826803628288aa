//! Starting registries, talking to them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_schema::api::{NewToken, Scope, StartUpload, UploadInfo, Visibility};
use assay_schema::problem::{MEDIA_TYPE, Problem, ProblemKind};
use assay_schema::{NamespaceName, Sha256Digest};
use assay_server::auth;
use assay_server::config::Config;
use assay_server::persistence::{Database, NewMetadata, NewNamespace};
use assay_server::run::{self, Running};
use assay_server::state::{AppState, StartError};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

pub const MIB: usize = 1 << 20;

/// A registry, and a client with an admin token.
pub struct Registry {
    pub running: Running,
    pub folder: PathBuf,
    pub token: String,
    client: reqwest::Client,
}

pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(bytes).into())
}

/// Bytes that differ from chunk to chunk.
pub fn sample(len: usize) -> Bytes {
    (0..len)
        .map(|i| (i.wrapping_mul(31) ^ (i >> 11)) as u8)
        .collect::<Vec<_>>()
        .into()
}

/// A configuration in a folder, without limits on requests.
pub fn config(folder: &Path) -> Config {
    let mut config = Config::in_folder(folder).unwrap();
    config.rate.enabled = false;
    // The sequencer writes whenever it likes, and these tests count writes: it works at the start only.
    config.transparency.batch_millis = 3_600_000;
    config
}

/// The registry's parts; waits for another registry in the folder to be gone.
pub async fn open(config: Config) -> AppState {
    for _ in 0..100 {
        match AppState::open(config.clone()).await {
            Err(StartError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            other => return other.unwrap(),
        }
    }
    panic!("the folder stays in use");
}

impl Registry {
    pub async fn start(folder: &Path) -> Self {
        Self::with(open(config(folder)).await, None).await
    }

    /// Serves a state; `token` is the one of an earlier start in the folder.
    pub async fn with(state: AppState, token: Option<String>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = state.config.data_dir.clone();
        let token = match token {
            Some(token) => token,
            None => auth::first_token(&state).await.unwrap().unwrap().secret,
        };
        let running = run::start(state).await.unwrap();
        Self {
            running,
            folder,
            token,
            client: reqwest::Client::new(),
        }
    }

    /// Stops it and starts another on the same folder.
    pub async fn restart(self) -> Self {
        let (folder, token) = (self.folder.clone(), self.token.clone());
        self.running.stop().await.unwrap();
        Self::with(open(config(&folder)).await, Some(token)).await
    }

    pub fn state(&self) -> &AppState {
        &self.running.state
    }

    pub async fn namespace(&self, name: &str, visibility: Visibility) -> NamespaceName {
        let new = NewNamespace {
            name: name.parse().unwrap(),
            identity: sha256(name.as_bytes()),
            visibility,
            created: Timestamp::now(),
            metadata: Vec::new(),
            blobs: Vec::new(),
            releases: Vec::new(),
        };
        self.state().db.create_namespace(new).await.unwrap().name
    }

    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.running.address))
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    pub async fn token(&self, scope: Scope, namespace: Option<&str>) -> String {
        let body = serde_json::json!({ "label": "test", "scope": scope, "namespace": namespace });
        let answer = self
            .request(Method::POST, "/v1/tokens")
            .json(&body)
            .send()
            .await
            .unwrap();
        json::<NewToken>(answer, StatusCode::CREATED).await.secret
    }

    /// Starts or finds an upload.
    pub async fn begin(&self, namespace: &NamespaceName, bytes: &[u8]) -> UploadInfo {
        self.declare(namespace, sha256(bytes), bytes.len() as u64).await
    }

    pub async fn declare(&self, namespace: &NamespaceName, sha256: Sha256Digest, size: u64) -> UploadInfo {
        let path = format!("/v1/namespaces/{namespace}/uploads");
        let answer = self
            .request(Method::POST, &path)
            .json(&StartUpload { sha256, size })
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let info: UploadInfo = json(answer, status).await;
        assert_eq!(
            status,
            if info.complete {
                StatusCode::OK
            } else {
                StatusCode::CREATED
            }
        );
        info
    }

    pub fn patch(&self, namespace: &NamespaceName, id: &str, offset: u64) -> RequestBuilder {
        self.request(Method::PATCH, &format!("/v1/namespaces/{namespace}/uploads/{id}"))
            .header("Upload-Offset", offset)
            .header("Content-Type", "application/octet-stream")
    }

    /// Sends what is missing of a blob, as a publisher does; gives what the registry says at the end.
    pub async fn upload(&self, namespace: &NamespaceName, bytes: &Bytes) -> UploadInfo {
        let info = self.begin(namespace, bytes).await;
        let Some(id) = info.id.clone().filter(|_| !info.complete) else {
            return info;
        };
        let rest = bytes.slice(info.offset as usize..);
        let answer = self
            .patch(namespace, &id, info.offset)
            .body(rest)
            .send()
            .await
            .unwrap();
        json(answer, StatusCode::OK).await
    }

    pub async fn offset(&self, namespace: &NamespaceName, id: &str) -> u64 {
        let path = format!("/v1/namespaces/{namespace}/uploads/{id}");
        let answer = self.request(Method::GET, &path).send().await.unwrap();
        let header: u64 = answer.headers()["upload-offset"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let info: UploadInfo = json(answer, StatusCode::OK).await;
        assert_eq!(info.offset, header);
        header
    }

    /// What the registry stored, if the namespace may use it.
    pub async fn stored(&self, namespace: &NamespaceName, sha256: &Sha256Digest) -> Option<Bytes> {
        let blob = self.state().db.linked_blob(namespace, sha256).await.unwrap()?;
        let mut all = BytesMut::new();
        let mut stream = std::pin::pin!(self.state().read_blob(&blob, 0..blob.size).await.unwrap());
        while let Some(piece) = stream.next().await {
            all.extend_from_slice(&piece.unwrap());
        }
        Some(all.freeze())
    }

    /// Segments' objects on the disk.
    pub fn segments_on_disk(&self) -> usize {
        files(&self.folder.join("storage/segments"))
    }
}

/// A namespace whose root and snapshot wait for their places in the log: two entries.
pub async fn logged_namespace(db: &Database, name: &str) {
    let metadata = ["root", "snapshot"].map(|role| {
        let text = format!("{name} {role}");
        NewMetadata {
            role: role.to_owned(),
            version: 1,
            sha256: sha256(text.as_bytes()),
            bytes: text.into_bytes(),
            expires: Timestamp::now(),
        }
    });
    let new = NewNamespace {
        name: name.parse().unwrap(),
        identity: sha256(name.as_bytes()),
        visibility: Visibility::Public,
        created: Timestamp::now(),
        metadata: metadata.to_vec(),
        blobs: Vec::new(),
        releases: Vec::new(),
    };
    db.create_namespace(new).await.unwrap();
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| {
            if entry.path().is_dir() {
                files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

pub async fn json<T: DeserializeOwned>(answer: Response, status: StatusCode) -> T {
    let found = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The problem that an answer must be.
pub async fn problem(answer: Response, kind: ProblemKind) -> Problem {
    let media = answer
        .headers()
        .get("content-type")
        .map(|value| value.to_str().unwrap().to_owned());
    let status = StatusCode::from_u16(kind.status()).unwrap();
    let problem: Problem = json(answer, status).await;
    assert_eq!(media.as_deref(), Some(MEDIA_TYPE));
    assert_eq!(
        (problem.kind, problem.status),
        (kind, kind.status()),
        "{}",
        problem.detail
    );
    problem
}

/// Waits for something that comes about by itself.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("did not come about: {what}");
}
