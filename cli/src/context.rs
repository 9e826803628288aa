//! What a run has at hand: how to print, and the way to the registry, whose traffic is reported.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use assay_client::transport::{Limits, Secret, Traffic, registry_address};
use assay_client::{Device, HttpTransport, Store, Transport, TransportError};
use assay_schema::ModelRef;

use crate::args::{Age, RegistryArgs, Show, StoreArgs, TokenArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::observed::Observed;
use crate::passphrase;

/// How long to wait for a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pace {
    /// As long as it may help.
    Patient,
    /// Once and briefly: what does not come is asked for another time.
    Brief,
}

impl Pace {
    fn limits(self) -> Limits {
        match self {
            Self::Patient => Limits::default(),
            Self::Brief => Limits::brief(),
        }
    }
}

/// The way to a registry, or why there is none.
type Way = Result<Arc<dyn Transport>, TransportError>;

/// What a run has at hand.
pub(crate) struct Context {
    pub(crate) show: Show,
    /// The registries that were asked, by address.
    transports: RefCell<BTreeMap<(String, Pace), Arc<Observed>>>,
}

impl Context {
    pub(crate) fn new(show: Show) -> Self {
        Self {
            show,
            transports: RefCell::default(),
        }
    }

    /// What went over the wire, if the registry was asked for anything.
    pub(crate) fn traffic(&self) -> Option<Traffic> {
        let transports = self.transports.borrow();
        let all = transports.values().map(|t| t.traffic());
        all.reduce(|sum, t| Traffic {
            requests: sum.requests + t.requests,
            received: sum.received + t.received,
            sent: sum.sent + t.sent,
        })
    }

    /// The way to a registry that the command line or the environment names.
    pub(crate) fn registry(&self, args: &RegistryArgs) -> Result<Arc<Observed>, Failure> {
        self.connect(&args.registry, &args.token)
    }

    /// The way to `address`. A token is sent to the registry that it was given for and to no other: one from the
    /// environment belongs to ASSAY_REGISTRY, where that is set.
    pub(crate) fn connect(&self, address: &str, token: &TokenArgs) -> Result<Arc<Observed>, Failure> {
        self.connect_at(address, token, Pace::Patient)
    }

    /// As [`Self::connect`], with a say in how long to wait.
    pub(crate) fn connect_at(
        &self,
        address: &str,
        token: &TokenArgs,
        pace: Pace,
    ) -> Result<Arc<Observed>, Failure> {
        let key = (address.to_owned(), pace);
        if let Some(connected) = self.transports.borrow().get(&key) {
            return Ok(Arc::clone(connected));
        }
        let secret = match (&token.token, &token.token_file) {
            (Some(token), _) => Some(Secret::new(token)),
            (None, Some(path)) => Some(Secret::new(&passphrase::from_file(path)?)),
            (None, None) => match variable("ASSAY_TOKEN") {
                Some(token) if belongs_to(variable("ASSAY_REGISTRY").as_deref(), address) => {
                    Some(Secret::new(&token))
                }
                _ => None,
            },
        };
        let transport = Arc::new(Observed::new(HttpTransport::new(address, secret, pace.limits())?));
        let mut transports = self.transports.borrow_mut();
        transports.insert(key, Arc::clone(&transport));
        Ok(transport)
    }

    /// The ways to every registry that a check of a model may ask: that of its own namespace, at `registry`, or what stands in for it;
    /// and those of the namespaces that the owner's trust policy names. A token of the command line goes to the first alone.
    pub(crate) fn ways(
        &self,
        store: &Store,
        model: &ModelRef,
        registry: &str,
        instead: Option<(&str, &TokenArgs)>,
    ) -> Result<(impl Fn(&str) -> Way + Send + Sync + use<>, Arc<Observed>), Failure> {
        let none = TokenArgs::none();
        let (address, token) = instead.unwrap_or((registry, &none));
        let own = self.connect(address, token)?;
        let mut ways = BTreeMap::from([(registry.to_owned(), Arc::clone(&own))]);
        let requirement = store.requirement(model)?;
        for authority in requirement.iter().flat_map(|r| &r.authorities) {
            // One that is not trusted here is not asked; the verdict says so.
            if let Ok(pin) = store.pin(&authority.namespace)
                && !ways.contains_key(&pin.registry)
            {
                // One that does not answer must not keep the others' word from counting.
                let way = self.connect_at(&pin.registry, &none, Pace::Brief)?;
                ways.insert(pin.registry, way);
            }
        }
        let find = move |address: &str| -> Way {
            match ways.get(address) {
                Some(way) => Ok(Arc::clone(way) as Arc<dyn Transport>),
                None => Ok(Arc::new(HttpTransport::new(address, None, Limits::default())?)),
            }
        };
        Ok((find, own))
    }

    /// The device's store.
    pub(crate) fn store(&self, args: &StoreArgs) -> Result<Store, Failure> {
        // A variable that is empty counts as one that is not set.
        let path = match args.store.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => path.clone(),
            None => default_store().ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    "no-store",
                    "no folder for the device's store: neither XDG_DATA_HOME nor HOME is set",
                )
                .advise("Give one with --store or ASSAY_STORE")
            })?,
        };
        Ok(Store::open(&path)?)
    }
}

/// The device in a store, with the owner's default bound on the age of states.
pub(crate) fn device(store: Store) -> Result<Device, Failure> {
    let device = Device::new(store);
    match variable("ASSAY_MAX_STALE").map(|text| text.parse::<Age>()) {
        None => Ok(device),
        Some(Ok(age)) => Ok(device.max_stale(age.0)),
        Some(Err(expected)) => {
            let message = format!("ASSAY_MAX_STALE: {expected}");
            Err(Failure::new(Exit::Usage, "usage", message))
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn belongs_to(named: Option<&str>, address: &str) -> bool {
    match named {
        None => true,
        Some(named) => match (registry_address(named), registry_address(address)) {
            (Ok(named), Ok(address)) => named == address,
            _ => false,
        },
    }
}

/// XDG Base Directory Specification: a relative XDG_DATA_HOME is invalid and ignored.
fn default_store() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data.map(|path| path.join("assay"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_the_environment_is_not_sent_to_another_registry() {
        assert!(belongs_to(None, "https://a.example"));
        assert!(belongs_to(Some("https://a.example/"), "https://a.example"));
        assert!(!belongs_to(Some("https://a.example"), "https://b.example"));
        assert!(!belongs_to(Some("https://a.example"), "http://a.example"));
        assert!(!belongs_to(Some("not an address"), "https://a.example"));
    }
}
