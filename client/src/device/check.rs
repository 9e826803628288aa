//! Driving stages 1 to 6.

use assay_schema::{ModelRef, NamespaceName, ReleaseManifest, Sha256Digest, Verdict};
use assay_verifier::consensus::Consensus;
use assay_verifier::{Answer, Approved, CheckRequest, CheckStep, Checked, Fetch, Route, Want, check};

use super::{Device, Options, Result, RouteChoice};
use crate::store::{PinRecord, Writer};
use crate::transport::{Fetched, Transport, paths};

/// How a check ended.
#[derive(Debug)]
pub(super) enum Decision {
    /// Stages 1 to 6 let the release pass, and everybody whose signature was required had signed it.
    Approved(Box<Approved>),
    /// Refused or deferred.
    Not(Box<Verdict>),
}

/// A release that passed stages 1 to 6 by its own namespace's word, for whoever is about to sign it as another authority. It cannot be
/// pulled: the owner's trust policy was not asked, since this authority's word may be the one that it waits for.
#[derive(Debug)]
pub struct Endorsable(Box<Approved>);

impl Endorsable {
    /// The release manifest.
    pub fn manifest(&self) -> &ReleaseManifest {
        self.0.manifest()
    }

    /// Its exact bytes.
    pub fn manifest_bytes(&self) -> &[u8] {
        self.0.manifest_bytes()
    }

    /// Their SHA-256.
    pub fn manifest_digest(&self) -> Sha256Digest {
        self.0.manifest_digest()
    }
}

impl Device {
    /// Walks stages 1 to 6 for a model: what would a pull bring, and may it? Newer trusted metadata is persisted; nothing else
    /// changes.
    ///
    /// # Errors
    /// The namespace is not trusted here, or the store cannot be read or written. An unreachable or hostile registry is a verdict.
    pub fn check(&self, model: &ModelRef, options: &Options) -> Result<Verdict> {
        let consensus = self.consensus(model)?;
        match self.decide(model, options, consensus)? {
            Decision::Approved(approved) => Ok(approved.verdict()),
            Decision::Not(verdict) => Ok(*verdict),
        }
    }

    /// As [`Device::check`], for whoever signs the release next; the verdict if it does not pass.
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn endorsable(
        &self,
        model: &ModelRef,
        options: &Options,
    ) -> Result<std::result::Result<Endorsable, Box<Verdict>>> {
        Ok(match self.decide(model, options, Consensus::none())? {
            Decision::Approved(approved) => Ok(Endorsable(approved)),
            Decision::Not(verdict) => Err(verdict),
        })
    }

    fn decide(&self, model: &ModelRef, options: &Options, consensus: Consensus) -> Result<Decision> {
        let pin = self.store.pin(&model.namespace)?;
        let writer = self.store.writer()?;
        let transport = self.transport(&pin.registry)?;
        self.run_check(&writer, &pin, transport.as_ref(), model, options, consensus)
    }

    pub(super) fn run_check(
        &self,
        writer: &Writer<'_>,
        pin: &PinRecord,
        transport: &dyn Transport,
        model: &ModelRef,
        options: &Options,
        consensus: Consensus,
    ) -> Result<Decision> {
        let cached = self.store.cached(model);
        let route = match options.route {
            // A bundle of one version is no use to a check of another.
            RouteChoice::Bundle => Route::Bundle {
                cached: cached.clone().filter(|_| options.want == Want::Highest),
            },
            RouteChoice::Static => Route::Static {
                cached: cached.clone(),
            },
        };
        let request = CheckRequest {
            model: model.model.clone(),
            want: options.want.clone(),
            route,
            require: options.require.clone(),
            consensus,
        };
        let mut step = check(
            &self.pin_of(pin),
            self.store.state(&model.namespace)?,
            request,
            self.now(),
        );
        loop {
            step = match step {
                CheckStep::Fetch(await_fetch) => {
                    let whose = await_fetch.namespace();
                    let answer = match *whose == model.namespace {
                        true => answer(transport, whose, await_fetch.wanted()),
                        false => self.ask_authority(&pin.registry, whose, await_fetch.wanted())?,
                    };
                    await_fetch.answer(answer)
                }
                CheckStep::Persist(await_persist) => {
                    writer.state(await_persist.namespace(), await_persist.state())?;
                    await_persist.persisted()
                }
                CheckStep::Done(Checked::Permitted(approved)) => {
                    if let Some(bundle) = approved.bundle()
                        && options.want == Want::Highest
                        && cached.as_ref() != Some(bundle)
                    {
                        writer.cache(model, bundle)?;
                    }
                    for endorsement in approved.endorsements() {
                        let authority = &endorsement.authority().namespace;
                        if let Some(bundle) = endorsement.bundle()
                            && self.store.cached_endorsement(model, authority).as_ref() != Some(bundle)
                        {
                            writer.cache_endorsement(model, authority, bundle)?;
                        }
                    }
                    return Ok(Decision::Approved(approved));
                }
                CheckStep::Done(Checked::Refused(verdict) | Checked::Deferred(verdict)) => {
                    return Ok(Decision::Not(verdict));
                }
            };
        }
    }

    /// Another authority is asked where it was trusted, which may be another registry than the release's `own`: then briefly, since
    /// the others' word may be enough. One that cannot be asked does not count.
    fn ask_authority(&self, own: &str, namespace: &NamespaceName, fetch: &Fetch) -> Result<Answer> {
        let pin = self.store.pin(namespace)?;
        Ok(match self.reach(&pin.registry, pin.registry != own) {
            Ok(transport) => answer(transport.as_ref(), namespace, fetch),
            Err(error) => Answer::Failed {
                reason: error.to_string(),
            },
        })
    }
}

fn answer(transport: &dyn Transport, namespace: &NamespaceName, fetch: &Fetch) -> Answer {
    let path = paths::resource(namespace, &fetch.resource);
    match transport.get(&path, fetch.max, fetch.etag.as_deref()) {
        Ok(Fetched::Found { bytes, etag }) => Answer::Found { bytes, etag },
        Ok(Fetched::NotModified) => Answer::NotModified,
        Ok(Fetched::Missing) => Answer::Missing,
        Err(error) => Answer::Failed {
            reason: error.to_string(),
        },
    }
}
