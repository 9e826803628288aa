//! Driving stages 1 to 6.

use assay_schema::{ModelRef, Verdict};
use assay_verifier::{Answer, Approved, CheckRequest, CheckStep, Checked, Fetch, Route, Want, check};

use super::{Device, Options, Result, RouteChoice};
use crate::store::{PinRecord, Writer};
use crate::transport::{Fetched, Transport, paths};

/// How a check ended.
pub(super) enum Ended {
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
        let pin = self.store.pin(&model.namespace)?;
        let writer = self.store.writer()?;
        let transport = self.transport(&pin.registry)?;
        match self.run_check(&writer, &pin, transport.as_ref(), model, options)? {
            Ended::Approved(approved) => Ok(approved.verdict()),
            Ended::Not(verdict) => Ok(*verdict),
        }
    }

    pub(super) fn run_check(
        &self,
        writer: &Writer<'_>,
        pin: &PinRecord,
        transport: &dyn Transport,
        model: &ModelRef,
        options: &Options,
    ) -> Result<Ended> {
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
                    let answer = answer(transport, model, await_fetch.wanted());
                    await_fetch.answer(answer)
                }
                CheckStep::Persist(await_persist) => {
                    writer.state(&model.namespace, await_persist.state())?;
                    await_persist.persisted()
                }
                CheckStep::Done(Checked::Permitted(approved)) => {
                    if let Some(bundle) = approved.bundle()
                        && options.want == Want::Highest
                        && cached.as_ref() != Some(bundle)
                    {
                        writer.cache(model, bundle)?;
                    }
                    return Ok(Ended::Approved(approved));
                }
                CheckStep::Done(Checked::Refused(verdict) | Checked::Deferred(verdict)) => {
                    return Ok(Ended::Not(verdict));
                }
            };
        }
    }
}

fn answer(transport: &dyn Transport, model: &ModelRef, fetch: &Fetch) -> Answer {
    let path = paths::resource(&model.namespace, &fetch.resource);
    match transport.get(&path, fetch.max, fetch.etag.as_deref()) {
        Ok(Fetched::Found { bytes, etag }) => Answer::Found { bytes, etag },
        Ok(Fetched::NotModified) => Answer::NotModified,
        Ok(Fetched::Missing) => Answer::Missing,
        Err(error) => Answer::Failed {
            reason: error.to_string(),
        },
    }
}
