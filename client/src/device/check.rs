//! Driving stages 1 to 6.

use assay_schema::{ModelRef, NamespaceName, Verdict};
use assay_verifier::{Answer, Approved, CheckRequest, CheckStep, Checked, Fetch, Route, Want, check};

use super::{Device, Options, Result, RouteChoice};
use crate::store::{PinRecord, Writer};
use crate::transport::{Fetched, Transport, paths};

/// How a check ended.
#[derive(Debug)]
pub enum Decision {
    /// Stages 1 to 6 let the release pass, and everybody whose signature the owner requires had signed it.
    Approved(Box<Approved>),
    /// Refused or deferred.
    Not(Box<Verdict>),
}

impl Device {
    /// Walks stages 1 to 6 for a model: what would a pull bring, and may it? Newer trusted metadata is persisted; nothing else
    /// changes.
    ///
    /// # Errors
    /// The namespace is not trusted here, or the store cannot be read or written. An unreachable or hostile registry is a verdict.
    pub fn check(&self, model: &ModelRef, options: &Options) -> Result<Verdict> {
        match self.approve(model, options)? {
            Decision::Approved(approved) => Ok(approved.verdict()),
            Decision::Not(verdict) => Ok(*verdict),
        }
    }

    /// As [`Device::check`], with the release's manifest: for whoever signs it as another authority.
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn approve(&self, model: &ModelRef, options: &Options) -> Result<Decision> {
        let pin = self.store.pin(&model.namespace)?;
        let writer = self.store.writer()?;
        let transport = self.transport(&pin.registry)?;
        self.run_check(&writer, &pin, transport.as_ref(), model, options)
    }

    pub(super) fn run_check(
        &self,
        writer: &Writer<'_>,
        pin: &PinRecord,
        transport: &dyn Transport,
        model: &ModelRef,
        options: &Options,
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
            consensus: self.consensus(model)?,
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
                        false => self.ask_authority(whose, await_fetch.wanted())?,
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

    /// Another authority is asked where it was trusted, which may be another registry. One that cannot be asked does not count.
    fn ask_authority(&self, namespace: &NamespaceName, fetch: &Fetch) -> Result<Answer> {
        let pin = self.store.pin(namespace)?;
        Ok(match self.transport(&pin.registry) {
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
