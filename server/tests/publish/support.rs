//! A registry in a temporary folder with a clock of its own, asked over HTTP semantics.

#![allow(unreachable_pub)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, test};
use assay_schema::api::{
    CreateNamespace, CreateToken, NamespaceInfo, NewToken, OnlineKeys, Publication, Published, Scope,
    UploadInfo, Visibility,
};
use assay_schema::problem::Problem;
use assay_schema::{ReleaseManifest, Sha256Digest, Stage};
use assay_server::AppState;
use assay_server::clock::Clock;
use assay_server::config::Config;
use assay_server::steps::{Observer, Step, Stopped};
use assay_verifier::{
    Answer as Answered, Approved, CheckRequest, CheckStep, Checked, Consensus, DeviceState, Pin, Resource,
    Route, Want, check,
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::authority::{Authority, publication, role, sha256};

/// When every test begins.
pub fn start() -> Timestamp {
    "2026-12-01T00:00:00Z".parse().unwrap()
}

pub struct Registry {
    pub state: AppState,
    pub admin: String,
    now: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status.as_u16(),
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    /// The problem, which must be of this kind: `stale-parent`.
    #[track_caller]
    pub fn problem(self, kind: &str) -> Problem {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem: Problem = self.json();
        let expected = format!("urn:assay:problem:{kind}");
        assert_eq!(problem.kind.uri(), expected, "{}", problem.detail);
        assert_eq!(problem.status, self.status.as_u16());
        problem
    }
}

impl Registry {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::in_folder(folder.path()).unwrap();
        change(&mut config);
        let mut state = AppState::open(config).await.unwrap();
        let now = Arc::new(AtomicI64::new(start().as_second()));
        let told = Arc::clone(&now);
        state.clock = Clock::new(move || Timestamp::from_second(told.load(Ordering::SeqCst)).unwrap());
        let admin = assay_server::auth::first_token(&state)
            .await
            .unwrap()
            .unwrap()
            .secret;
        Self {
            state,
            admin,
            now,
            _folder: folder,
        }
    }

    /// A new registry on what this one left.
    pub async fn restart(self) -> Self {
        let Self {
            state,
            admin,
            now,
            _folder,
        } = self;
        let config = (*state.config).clone();
        assert!(state.tasks.stop(Duration::from_secs(60)).await);
        state.db.clone().close().await.unwrap();
        drop(state);
        let mut state = AppState::open(config).await.unwrap();
        let told = Arc::clone(&now);
        state.clock = Clock::new(move || Timestamp::from_second(told.load(Ordering::SeqCst)).unwrap());
        Self {
            state,
            admin,
            now,
            _folder,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.state.clock.now()
    }

    pub fn pass(&self, time: SignedDuration) {
        self.now.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let app = App::new()
            .app_data(Data::new(self.state.clone()))
            .wrap(from_fn(assay_server::problem::as_problems))
            .configure(assay_server::configure);
        let app = test::init_service(app).await;
        let mut request = test::TestRequest::with_uri(path).method(method).set_payload(body);
        if let Some(token) = token {
            request = request.insert_header(("authorization", format!("Bearer {token}")));
        }
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let answer = test::call_service(&app, request.to_request()).await;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = test::read_body(answer).await;
        Answer {
            status,
            headers,
            body,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, &[], Bytes::new()).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, None, headers, Bytes::new()).await
    }

    pub async fn as_admin(&self, method: Method, path: &str, body: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(body).unwrap();
        self.send(
            method,
            path,
            Some(&self.admin),
            &[("content-type", "application/json")],
            body,
        )
        .await
    }

    /// The secret of a new token for `acme`.
    pub async fn token(&self, scope: Scope) -> String {
        let asked = CreateToken {
            label: "a test's".to_owned(),
            scope,
            namespace: Some("acme".parse().unwrap()),
            expires: None,
        };
        let made: NewToken = self.as_admin(Method::POST, "/v1/tokens", &asked).await.json();
        made.secret
    }

    pub async fn keys(&self, namespace: &str) -> OnlineKeys {
        self.as_admin(Method::POST, &format!("/v1/namespaces/{namespace}/keys"), &())
            .await
            .expect(200)
            .json()
    }

    pub async fn create(&self, namespace: &str, request: &CreateNamespace) -> Answer {
        self.as_admin(Method::PUT, &format!("/v1/namespaces/{namespace}"), request)
            .await
    }

    /// A namespace whose targets delegate the first block of `minilm`.
    pub async fn namespace(&self, name: &str, visibility: Visibility) -> Authority {
        let authority = Authority::new(&self.keys(name).await, "2027-05-01T00:00:00Z");
        let request = CreateNamespace {
            visibility,
            ..authority.creation(&[role("minilm")])
        };
        let info: NamespaceInfo = self.create(name, &request).await.expect(201).json();
        assert_eq!(info.identity, authority.identity);
        authority
    }

    pub async fn upload(&self, namespace: &str, bytes: &[u8]) -> UploadInfo {
        let start = serde_json::json!({"sha256": sha256(bytes), "size": bytes.len()});
        let path = format!("/v1/namespaces/{namespace}/uploads");
        let info: UploadInfo = self.as_admin(Method::POST, &path, &start).await.json();
        let Some(id) = info.id.clone() else { return info };
        let path = format!("{path}/{id}");
        let headers = [
            ("upload-offset", "0"),
            ("content-type", "application/octet-stream"),
        ];
        let answer = self
            .send(Method::PATCH, &path, Some(&self.admin), &headers, bytes.to_vec())
            .await;
        let info: UploadInfo = answer.json();
        assert!(info.complete, "{answer:?}");
        info
    }

    pub async fn put(&self, namespace: &str, manifest: &ReleaseManifest) -> Answer {
        let path = format!(
            "/v1/namespaces/{namespace}/models/{}/releases/{}",
            manifest.model, manifest.version
        );
        let bytes = manifest.to_bytes().unwrap();
        self.send(Method::PUT, &path, Some(&self.admin), &[], bytes).await
    }

    /// Uploads the contents and puts a candidate of them.
    pub async fn candidate(
        &self,
        namespace: &str,
        authority: &Authority,
        version: &str,
        counter: u64,
        contents: &[&[u8]],
    ) -> ReleaseManifest {
        for bytes in contents {
            self.upload(namespace, bytes).await;
        }
        let manifest = authority.manifest("minilm", version, counter, contents);
        self.put(namespace, &manifest).await.expect(201);
        manifest
    }

    pub async fn publish(&self, namespace: &str, publication: &Publication) -> Answer {
        self.as_admin(
            Method::POST,
            &format!("/v1/namespaces/{namespace}/metadata"),
            publication,
        )
        .await
    }

    /// One published release, `minilm@1.0.0`; gives its manifest and the role's file.
    pub async fn first_release(&self, namespace: &str, authority: &Authority) -> (ReleaseManifest, String) {
        let manifest = self
            .candidate(namespace, authority, "1.0.0", 1, &[b"weights of one"])
            .await;
        let file = authority.model(&role("minilm"), 1, &[&manifest]);
        let sent = publication(&[("model.minilm.0", &file, None)]);
        let done: Published = self.publish(namespace, &sent).await.expect(200).json();
        assert_eq!(done.releases, std::slice::from_ref(&manifest.version));
        (manifest, file)
    }
}

pub fn digest_of(manifest: &ReleaseManifest) -> Sha256Digest {
    sha256(&manifest.to_bytes().unwrap())
}

/// What a device came to, and what it asked for on the way.
pub struct DeviceCheck {
    pub checked: Checked,
    pub requests: Vec<String>,
}

impl DeviceCheck {
    #[track_caller]
    pub fn permitted(self) -> Approved {
        match self.checked {
            Checked::Permitted(approved) => *approved,
            Checked::Refused(verdict) | Checked::Deferred(verdict) => panic!("{verdict:#?}"),
        }
    }
}

/// A device that has just pinned a namespace checks `minilm` over HTTP.
pub async fn device(
    registry: &Registry,
    namespace: &str,
    authority: &Authority,
    want: Want,
    route: Route,
) -> DeviceCheck {
    let pin = Pin::new(namespace.parse().unwrap(), authority.identity);
    let state = DeviceState::first(&pin, authority.root.as_bytes()).unwrap();
    device_with(registry, &pin, state, want, route).await
}

/// A device that holds this state checks `minilm` over HTTP.
pub async fn device_with(
    registry: &Registry,
    pin: &Pin,
    state: DeviceState,
    want: Want,
    route: Route,
) -> DeviceCheck {
    let namespace = &pin.namespace;
    let model = "minilm".parse().unwrap();
    let request = CheckRequest {
        model,
        want,
        route,
        require: [Stage::Release].into(),
        consensus: Consensus::none(),
    };
    let mut step = check(pin, state, request, registry.now());
    let mut requests = Vec::new();
    loop {
        step = match step {
            CheckStep::Fetch(wait) => {
                let wanted = wait.wanted();
                let path = match &wanted.resource {
                    Resource::Bundle {
                        model,
                        version,
                        root,
                        log,
                        have,
                    } => {
                        let version = version
                            .as_ref()
                            .map_or_else(String::new, |v| format!("&version={v}"));
                        let log = log.map_or_else(String::new, |size| format!("&log={size}"));
                        format!(
                            "/v1/namespaces/{namespace}/models/{model}/check?root={root}{version}{log}&have={have}"
                        )
                    }
                    Resource::Endorsement {
                        model,
                        block,
                        root,
                        have,
                        ..
                    } => format!(
                        "/v1/namespaces/{namespace}/models/{model}/check?root={root}&have={have}&block={block}"
                    ),
                    Resource::Metadata { file } => format!("/tuf/{namespace}/metadata/{file}"),
                    Resource::Target { path } => format!("/tuf/{namespace}/targets/{path}"),
                    Resource::LogProof { snapshot, size } => {
                        let size = size.map_or_else(String::new, |size| format!("&log={size}"));
                        format!("/v1/namespaces/{namespace}/log-proof?snapshot={snapshot}{size}")
                    }
                    Resource::RootProof { root, size } => {
                        let size = size.map_or_else(String::new, |size| format!("&log={size}"));
                        format!("/v1/namespaces/{namespace}/log-proof?root={root}{size}")
                    }
                    Resource::Blob { sha256, .. } => format!("/v1/namespaces/{namespace}/blobs/{sha256}"),
                };
                let etag = wanted.etag.clone();
                let headers: Vec<_> = etag.iter().map(|tag| ("if-none-match", tag.as_str())).collect();
                let answer = registry.get_with(&path, &headers).await;
                let answer = match answer.status.as_u16() {
                    200 => Answered::Found {
                        etag: answer.headers.get("etag").map(|t| t.to_str().unwrap().to_owned()),
                        bytes: answer.body.to_vec(),
                    },
                    304 => Answered::NotModified,
                    404 => Answered::Missing,
                    other => Answered::Failed {
                        reason: format!("status {other}"),
                    },
                };
                requests.push(path);
                wait.answer(answer)
            }
            CheckStep::Persist(wait) => wait.persisted(),
            CheckStep::Done(checked) => return DeviceCheck { checked, requests },
        };
    }
}

/// Notes each step, and stops behind it.
#[derive(Default)]
pub struct StopsEverywhere(pub Mutex<Vec<Step>>);

impl Observer for StopsEverywhere {
    fn done(&self, step: Step) -> Result<(), Stopped> {
        self.0.lock().unwrap().push(step);
        Err(Stopped(step))
    }
}
