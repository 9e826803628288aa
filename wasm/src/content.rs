//! Stage 8.

use assay_schema::Verdict;
use assay_verifier::{Action, Event};
use wasm_bindgen::prelude::*;

use crate::convert::{from_js, to_js};

/// The content check of a permitted release, made by `Check.content()`.
///
/// `poll()` until it returns `undefined`, do what it asks, and tell `handle()` what came of it, in any order. After an action of
/// kind `"finish"`, `verdict()` holds the end.
#[wasm_bindgen]
pub struct Content {
    machine: assay_verifier::Content,
    verdict: Option<Box<Verdict>>,
}

impl Content {
    pub(crate) fn new(machine: assay_verifier::Content) -> Self {
        Self {
            machine,
            verdict: None,
        }
    }
}

#[wasm_bindgen]
impl Content {
    /// The next thing to do: `{kind: "read-index", file, sha256, size}`, `{kind: "hash-local", file, chunk, offset, len}` or
    /// `{kind: "finish", ...}`; `undefined` while everything that can be asked has been.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn poll(&mut self) -> Result<JsValue, JsError> {
        let Some(action) = self.machine.poll() else {
            return Ok(JsValue::UNDEFINED);
        };
        let value = to_js(&action)?;
        if let Action::Finish(verdict) = action {
            self.verdict = Some(verdict);
        }
        Ok(value)
    }

    /// Takes what came of an action: `{kind: "hashed", piece, sha256}`, `{kind: "absent", file, chunk, offset, len}`, `{kind:
    /// "failed", file, pieces, reason, retry}` or `{kind: "broken", reason}`.
    ///
    /// # Errors
    /// The object is none of these.
    pub fn handle(&mut self, event: &JsValue) -> Result<(), JsError> {
        let event: Event = from_js("event", event)?;
        self.machine.handle(event);
        Ok(())
    }

    /// Takes the bytes of the chunk index that `{kind: "read-index"}` asked for.
    pub fn index(&mut self, file: usize, bytes: Vec<u8>) {
        self.machine.handle(Event::Index { file, bytes });
    }

    /// Bytes that are known to be right, of `size()`.
    pub fn done(&self) -> f64 {
        number(self.machine.done())
    }

    /// Bytes of all files.
    pub fn size(&self) -> f64 {
        number(self.machine.manifest().size())
    }

    /// The verdict over all stages, once the machine has finished; `undefined` before.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn verdict(&self) -> Result<JsValue, JsError> {
        match &self.verdict {
            Some(verdict) => to_js(verdict.as_ref()),
            None => Ok(JsValue::UNDEFINED),
        }
    }
}

// A release has at most 2^44 bytes, which a JavaScript number holds exactly.
#[allow(clippy::cast_precision_loss)]
fn number(bytes: u64) -> f64 {
    bytes as f64
}
