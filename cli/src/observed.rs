//! The way to a registry, with a memory: a verdict that says *unavailable* does not say why, and scripts want to know.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use assay_client::transport::{Fetched, Reply, Request, Traffic};
use assay_client::{HttpTransport, Transport, TransportError};

use crate::exit::Exit;
use crate::failure::Failure;

/// What the last request that brought nothing came to.
#[derive(Debug, Clone)]
struct Lost {
    exit: Exit,
    code: String,
    advice: Option<String>,
}

const HIDDEN: &str = "Check the name; a private namespace needs a token";

/// A transport that remembers why it last brought nothing.
pub(crate) struct Observed {
    inner: HttpTransport,
    lost: Mutex<Option<Lost>>,
}

impl Observed {
    pub(crate) fn new(inner: HttpTransport) -> Self {
        Self {
            inner,
            lost: Mutex::new(None),
        }
    }

    /// Refines a failure that a verdict is: *unavailable* becomes what the network or the registry said, and a release that is
    /// not listed is not found. Judgements stay as they are.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        match failure.code.as_str() {
            "no-release" => Failure {
                exit: Exit::NotFound,
                ..failure
            },
            "unavailable" => {
                let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match lost {
                    Some(lost) => Failure {
                        exit: lost.exit,
                        code: lost.code,
                        advice: lost.advice.or(failure.advice),
                        ..failure
                    },
                    None => Failure {
                        exit: Exit::Network,
                        ..failure
                    },
                }
            }
            _ => failure,
        }
    }

    fn remember(&self, lost: Option<Lost>) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = lost;
    }

    /// A registry that has no check bundle for a model, and not even a timestamp, has no such namespace or does not show it. A
    /// root that is missing only means that the one before is the newest. Any other file is one that signed metadata names.
    fn missing(&self, path: &str) {
        if path.ends_with(".root.json") {
            return;
        }
        let lost = if path.contains("/check?") || path.ends_with("/timestamp.json") {
            Lost {
                exit: Exit::NotFound,
                code: "not-found".to_owned(),
                advice: Some(HIDDEN.to_owned()),
            }
        } else {
            Lost {
                exit: Exit::Network,
                code: "unavailable".to_owned(),
                advice: None,
            }
        };
        self.remember(Some(lost));
    }

    fn failed(&self, error: &TransportError) {
        self.remember(Some(Lost::of(error)));
    }
}

impl Lost {
    fn of(error: &TransportError) -> Self {
        let (exit, code, advice) = Failure::of_transport(error);
        Self {
            exit,
            code: code.to_owned(),
            advice: advice.map(str::to_owned),
        }
    }
}

impl Transport for Observed {
    fn get(&self, path: &str, max: u64, etag: Option<&str>) -> Result<Fetched, TransportError> {
        let result = self.inner.get(path, max, etag);
        match &result {
            Ok(Fetched::Missing) => self.missing(path),
            Ok(_) => self.remember(None),
            Err(error) => self.failed(error),
        }
        result
    }

    fn open(&self, path: &str, offset: u64, len: u64) -> Result<Box<dyn Read + '_>, TransportError> {
        let result = self.inner.open(path, offset, len);
        match &result {
            // What breaks while the body is read is the network's doing.
            Ok(_) => self.remember(None),
            Err(error) => self.failed(error),
        }
        result
    }

    fn send(&self, request: Request<'_>) -> Result<Reply, TransportError> {
        self.inner.send(request)
    }

    fn traffic(&self) -> Traffic {
        self.inner.traffic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_client::transport::Limits;
    use assay_schema::problem::{Problem, ProblemKind};

    fn observed() -> Observed {
        Observed::new(HttpTransport::new("http://127.0.0.1:1", None, Limits::default()).unwrap())
    }

    fn explained(observed: &Observed, code: &str) -> (Exit, String) {
        let failure = observed.explain(Failure::new(Exit::Refused, code, "refused"));
        (failure.exit, failure.code)
    }

    #[test]
    fn unavailable_becomes_what_the_registry_said() {
        let observed = observed();
        assert_eq!(explained(&observed, "unavailable").0, Exit::Network);
        let problem = Box::new(Problem::new(ProblemKind::Unauthorized, "no token"));
        observed.failed(&TransportError::Problem {
            path: "/v1/x".to_owned(),
            problem,
        });
        assert_eq!(
            explained(&observed, "unavailable"),
            (Exit::Denied, "unauthorized".into())
        );
        observed.missing("/v1/namespaces/acme/models/m/check?root=1");
        assert_eq!(explained(&observed, "unavailable").0, Exit::NotFound);
        observed.missing("/tuf/acme/metadata/3.snapshot.json");
        assert_eq!(explained(&observed, "unavailable").0, Exit::Network);
        observed.missing("/tuf/acme/metadata/timestamp.json");
        observed.missing("/tuf/acme/metadata/2.root.json");
        assert_eq!(explained(&observed, "unavailable").0, Exit::NotFound);
    }

    #[test]
    fn what_the_network_does_never_softens_a_judgement() {
        let observed = observed();
        observed.missing("/v1/namespaces/acme/models/m/check?root=1");
        for code in ["digest-mismatch", "signature-threshold", "expired", "rollback"] {
            assert_eq!(explained(&observed, code), (Exit::Refused, code.into()));
        }
    }
}
