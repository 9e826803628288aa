//! A registry in memory that keeps proposals.

use super::*;

type Doctor = Box<dyn Fn(&mut Publication) + Send + Sync>;

/// A registry that keeps proposals, hands them out as its `doctor` likes, and loses publications while it is cut.
pub(crate) struct Keeper {
    pub inner: Arc<MemoryRegistry>,
    pub identity: Sha256Digest,
    pub kept: Mutex<BTreeMap<Sha256Digest, Publication>>,
    pub doctor: Mutex<Option<Doctor>>,
    pub cut: AtomicBool,
}

pub(crate) const PROPOSALS: &str = "/v1/namespaces/acme/proposals";

impl Keeper {
    pub(crate) fn doctored(&self, with: impl Fn(&mut Publication) + Send + Sync + 'static) {
        *self.doctor.lock().unwrap() = Some(Box::new(with));
    }

    pub(crate) fn detail(&self, id: Sha256Digest) -> Option<ProposalDetail> {
        let mut publication = self.kept.lock().unwrap().get(&id)?.clone();
        if let Some(doctor) = &*self.doctor.lock().unwrap() {
            doctor(&mut publication);
        }
        Some(ProposalDetail {
            proposal: self.info(id, &publication),
            publication,
        })
    }

    pub(crate) fn info(&self, id: Sha256Digest, publication: &Publication) -> ProposalInfo {
        let files = publication.roles.iter().map(|(role, file)| {
            let shown = ProposedFile {
                version: 1,
                parent: file.parent,
                signatures: Vec::new(),
                thresholds: Vec::new(),
            };
            (role.clone(), shown)
        });
        ProposalInfo {
            id,
            standing: ProposalStanding::Open,
            files: files.collect(),
            created: now(),
            updated: now(),
        }
    }

    /// Adds the signatures of these files, of whatever worth.
    pub(crate) fn merge(&self, id: Sha256Digest, added: &AddSignatures) {
        let mut kept = self.kept.lock().unwrap();
        for (role, signatures) in &added.roles {
            let file = kept.get_mut(&id).unwrap().roles.get_mut(role).unwrap();
            let mut all = signing::signatures(role, file.metadata.as_bytes()).unwrap();
            all.extend(signatures.clone());
            file.metadata = signing::with_signatures(role, file.metadata.as_bytes(), all).unwrap();
        }
    }
}

impl Transport for Keeper {
    fn get(&self, path: &str, max: u64, etag: Option<&str>) -> Result<Fetched, TransportError> {
        let Some(rest) = path.strip_prefix(PROPOSALS) else {
            return self.inner.get(path, max, etag);
        };
        let bytes = match rest.strip_prefix('/') {
            Some(id) => self
                .detail(id.parse().unwrap())
                .map(|d| serde_json::to_vec(&d).unwrap()),
            None => {
                let kept = self.kept.lock().unwrap();
                let items = kept.iter().map(|(id, p)| self.info(*id, p)).collect();
                Some(serde_json::to_vec(&Page { items, next: None }).unwrap())
            }
        };
        Ok(bytes.map_or(Fetched::Missing, |bytes| Fetched::Found { bytes, etag: None }))
    }

    fn open(&self, path: &str, offset: u64, len: u64) -> Result<Box<dyn Read + '_>, TransportError> {
        self.inner.open(path, offset, len)
    }

    fn send(&self, request: Request<'_>) -> Result<Reply, TransportError> {
        if request.path.ends_with("/metadata") && self.cut.load(Ordering::SeqCst) {
            return Err(TransportError::Unreachable {
                registry: "memory".into(),
                path: request.path,
                reason: "cut".into(),
                attempts: 1,
            });
        }
        let path = request.path.clone();
        let Some(rest) = path.strip_prefix(PROPOSALS) else {
            return self.inner.send(request);
        };
        let body = match &request.body {
            Body::Json(body) => body.as_slice(),
            _ => b"",
        };
        let id = match (request.method, rest) {
            ("POST", "") => {
                let sent: Publication = serde_json::from_slice(body).unwrap();
                let id = signing::id(self.identity, &sent).unwrap();
                let mut added = AddSignatures::default();
                for (role, file) in &sent.roles {
                    let signatures = signing::signatures(role, file.metadata.as_bytes()).unwrap();
                    added.roles.insert(role.clone(), signatures);
                }
                self.kept.lock().unwrap().entry(id).or_insert(sent);
                self.merge(id, &added);
                id
            }
            ("POST", one) => {
                let id = one.trim_start_matches('/').trim_end_matches("/signatures");
                let id = id.parse().unwrap();
                self.merge(id, &serde_json::from_slice(body).unwrap());
                id
            }
            (_, one) => {
                let id: Sha256Digest = one.trim_start_matches('/').parse().unwrap();
                let problem = Problem::new(ProblemKind::NotFound, "none");
                return match self.kept.lock().unwrap().remove(&id) {
                    Some(_) => Ok(Reply {
                        status: 204,
                        body: Vec::new(),
                    }),
                    None => Err(TransportError::Problem {
                        path,
                        problem: Box::new(problem),
                    }),
                };
            }
        };
        Ok(Reply {
            status: 200,
            body: serde_json::to_vec(&self.detail(id).unwrap()).unwrap(),
        })
    }

    fn traffic(&self) -> Traffic {
        self.inner.traffic()
    }
}
