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

    fn remember(&self, lost: Lost) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(lost);
    }

    /// A registry that has no check bundle for a model has no such model. Any other file that is missing is one that its own
    /// metadata names.
    fn missing(&self, path: &str) {
        let is_question = path.contains("/check?") || path.ends_with(".root.json");
        let (exit, code) = if is_question {
            (Exit::NotFound, "not-found")
        } else {
            (Exit::Network, "unavailable")
        };
        self.remember(Lost {
            exit,
            code: code.to_owned(),
            advice: None,
        });
    }

    fn failed(&self, error: &TransportError) {
        self.remember(Lost::of(error));
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
            Ok(_) => {}
            Err(error) => self.failed(error),
        }
        result
    }

    fn open(&self, path: &str, offset: u64, len: u64) -> Result<Box<dyn Read + '_>, TransportError> {
        self.inner
            .open(path, offset, len)
            .inspect_err(|error| self.failed(error))
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
