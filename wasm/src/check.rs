//! Stages 1 to 6.

use std::collections::BTreeSet;

use assay_schema::{ModelName, Stage, VersionName};
use assay_verifier::{
    Answer, Approved, CachedBundle, CheckRequest, CheckStep, Checked, Consensus, DeviceState, Pin,
    PresentFile, Route, Want, check,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::content::Content;
use crate::convert::{error, from_js, from_text, to_js};

/// What JavaScript asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    model: ModelName,
    #[serde(default)]
    version: Option<VersionName>,
    #[serde(default)]
    route: RouteName,
    #[serde(default)]
    require: BTreeSet<Stage>,
    #[serde(default)]
    cached: Option<Cached>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum RouteName {
    #[default]
    Bundle,
    Static,
}

/// A [`CachedBundle`]; bundles are UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cached {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    text: String,
}

impl Request {
    fn into_native(self) -> CheckRequest {
        let cached = self.cached.map(|c| CachedBundle {
            etag: c.etag,
            bytes: c.text.into_bytes(),
        });
        CheckRequest {
            model: self.model,
            want: self.version.map_or(Want::Highest, Want::Version),
            route: match self.route {
                RouteName::Bundle => Route::Bundle { cached },
                RouteName::Static => Route::Static { cached },
            },
            require: self.require,
            // A page has no owner's trust policy: it shows what the model's own authority signed.
            consensus: Consensus::none(),
        }
    }
}

/// A check of one model, from a pinned root to a release whose maker is known.
///
/// Ask `status()`; for `"fetch"` get what `wanted()` names and call one of the `answer...` methods; for `"persist"` store
/// `state()` and call `persisted()`; `"permitted"`, `"refused"` and `"deferred"` are the end, and `verdict()` says why.
#[wasm_bindgen]
pub struct Check {
    // Between two calls there is always a step; each answer consumes it and leaves the next.
    step: Option<CheckStep>,
}

#[wasm_bindgen]
impl Check {
    /// Begins a check.
    ///
    /// `pin`: `{namespace, identity, first_use?, terms?}`, where `terms` is `{log?, least_root?, confirmed_root?, max_stale?}`, the
    /// last an ISO 8601 duration. `state`: what an earlier check said to persist, as text, or the bytes of `1.root.json` as text on a
    /// device's first check, for which `first` is true. `request`: `{model, version?, route?: "bundle" | "static", require?: [stage],
    /// cached?: {etag?, text}}`. `now`: the device's time, ISO 8601.
    ///
    /// # Errors
    /// An argument is malformed, or the root is not the one that the pin names.
    #[wasm_bindgen(constructor)]
    pub fn new(
        pin: &JsValue,
        state: &str,
        first: bool,
        request: &JsValue,
        now: &str,
    ) -> Result<Check, JsError> {
        let pin: Pin = from_js("pin", pin)?;
        let state = if first {
            DeviceState::first(&pin, state.as_bytes()).map_err(|e| error("root", &e))?
        } else {
            from_text("state", state)?
        };
        let request: Request = from_js("request", request)?;
        let now: Timestamp = now.parse().map_err(|e| error("now", &e))?;
        Ok(Self {
            step: Some(check(&pin, state, request.into_native(), now)),
        })
    }

    /// `"fetch"`, `"persist"`, `"permitted"`, `"refused"`, `"deferred"`; `"spent"` once `content()` has taken the release.
    pub fn status(&self) -> String {
        let name = match &self.step {
            Some(CheckStep::Fetch(_)) => "fetch",
            Some(CheckStep::Persist(_)) => "persist",
            Some(CheckStep::Done(Checked::Permitted(_))) => "permitted",
            Some(CheckStep::Done(Checked::Refused(_))) => "refused",
            Some(CheckStep::Done(Checked::Deferred(_))) => "deferred",
            None => "spent",
        };
        name.to_owned()
    }

    /// What to fetch: `{resource: {kind, ...}, max, etag?}`; `undefined` unless `status()` is `"fetch"`.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn wanted(&self) -> Result<JsValue, JsError> {
        match &self.step {
            Some(CheckStep::Fetch(step)) => to_js(step.wanted()),
            _ => Ok(JsValue::UNDEFINED),
        }
    }

    /// Answers a fetch with bytes and the entity tag that came with them.
    ///
    /// # Errors
    /// Nothing was to be fetched.
    #[wasm_bindgen(js_name = answerFound)]
    pub fn answer_found(&mut self, bytes: Vec<u8>, etag: Option<String>) -> Result<(), JsError> {
        self.answer(Answer::Found { bytes, etag })
    }

    /// Answers a fetch: the entity tag still holds (304).
    ///
    /// # Errors
    /// Nothing was to be fetched.
    #[wasm_bindgen(js_name = answerNotModified)]
    pub fn answer_not_modified(&mut self) -> Result<(), JsError> {
        self.answer(Answer::NotModified)
    }

    /// Answers a fetch: there is none (404).
    ///
    /// # Errors
    /// Nothing was to be fetched.
    #[wasm_bindgen(js_name = answerMissing)]
    pub fn answer_missing(&mut self) -> Result<(), JsError> {
        self.answer(Answer::Missing)
    }

    /// Answers a fetch: no answer came.
    ///
    /// # Errors
    /// Nothing was to be fetched.
    #[wasm_bindgen(js_name = answerFailed)]
    pub fn answer_failed(&mut self, reason: String) -> Result<(), JsError> {
        self.answer(Answer::Failed { reason })
    }

    /// What to persist, as text, when `status()` is `"persist"`; what was persisted last, once it is `"permitted"`.
    ///
    /// # Errors
    /// There is nothing to persist.
    pub fn state(&self) -> Result<String, JsError> {
        let state = match &self.step {
            Some(CheckStep::Persist(step)) => step.state(),
            Some(CheckStep::Done(Checked::Permitted(approved))) => approved.state(),
            _ => return Err(self.out_of_turn("persist")),
        };
        serde_json::to_string(state).map_err(|e| error("state", &e))
    }

    /// The state is safely stored.
    ///
    /// # Errors
    /// There was nothing to persist.
    pub fn persisted(&mut self) -> Result<(), JsError> {
        match self.step.take() {
            Some(CheckStep::Persist(step)) => {
                self.step = Some(step.persisted());
                Ok(())
            }
            other => {
                self.step = other;
                Err(self.out_of_turn("persist"))
            }
        }
    }

    /// The verdict, once the check has ended. For a permitted release its content is still `skipped`.
    ///
    /// # Errors
    /// The check goes on.
    pub fn verdict(&self) -> Result<JsValue, JsError> {
        match &self.step {
            Some(CheckStep::Done(Checked::Permitted(approved))) => to_js(&approved.verdict()),
            Some(CheckStep::Done(Checked::Refused(verdict) | Checked::Deferred(verdict))) => {
                to_js(verdict.as_ref())
            }
            _ => Err(self.out_of_turn("permitted, refused or deferred")),
        }
    }

    /// The release manifest, of a permitted release.
    ///
    /// # Errors
    /// No release was permitted.
    pub fn manifest(&self) -> Result<JsValue, JsError> {
        to_js(self.approved()?.manifest())
    }

    /// What to keep for the next check of this model, `{etag?, text}`; `undefined` if there is nothing.
    ///
    /// # Errors
    /// No release was permitted.
    pub fn cache(&self) -> Result<JsValue, JsError> {
        let Some(bundle) = self.approved()?.bundle() else {
            return Ok(JsValue::UNDEFINED);
        };
        let text = String::from_utf8(bundle.bytes.clone()).map_err(|e| error("bundle", &e))?;
        to_js(&Cached {
            etag: bundle.etag.clone(),
            text,
        })
    }

    /// Goes on to stage 8 over files that lie somewhere already: `present` lists all of them, `[{path, size}]`. The check is
    /// spent.
    ///
    /// # Errors
    /// No release was permitted, or the list is malformed.
    pub fn content(&mut self, present: &JsValue) -> Result<Content, JsError> {
        let present: Vec<PresentFile> = from_js("present", present)?;
        match self.step.take() {
            Some(CheckStep::Done(Checked::Permitted(approved))) => {
                Ok(Content::new(assay_verifier::Content::verify(*approved, &present)))
            }
            other => {
                self.step = other;
                Err(self.out_of_turn("permitted"))
            }
        }
    }

    fn approved(&self) -> Result<&Approved, JsError> {
        match &self.step {
            Some(CheckStep::Done(Checked::Permitted(approved))) => Ok(approved),
            _ => Err(self.out_of_turn("permitted")),
        }
    }

    fn answer(&mut self, answer: Answer) -> Result<(), JsError> {
        match self.step.take() {
            Some(CheckStep::Fetch(step)) => {
                self.step = Some(step.answer(answer));
                Ok(())
            }
            other => {
                self.step = other;
                Err(self.out_of_turn("fetch"))
            }
        }
    }

    fn out_of_turn(&self, expected: &str) -> JsError {
        JsError::new(&format!(
            "expected status() to be {expected}, found {}",
            self.status()
        ))
    }
}
