//! Values across the border: JSON documents as plain objects.

use js_sys::JSON;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsError, JsValue};

/// A value as a plain JavaScript object.
pub(crate) fn to_js<T: Serialize>(value: &T) -> Result<JsValue, JsError> {
    let text = serde_json::to_string(value).map_err(|e| error("a value", &e))?;
    JSON::parse(&text).map_err(|_| JsError::new("expected JSON that this engine reads, found another"))
}

/// A plain JavaScript object as a value.
pub(crate) fn from_js<T: DeserializeOwned>(what: &str, value: &JsValue) -> Result<T, JsError> {
    let text = JSON::stringify(value).map_err(|_| {
        JsError::new(&format!(
            "{what}: expected a plain object, found one that JSON cannot hold"
        ))
    })?;
    from_text(what, &String::from(text))
}

/// JSON text as a value.
pub(crate) fn from_text<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, JsError> {
    serde_json::from_str(text).map_err(|e| error(what, &e))
}

pub(crate) fn error(what: &str, cause: &dyn std::fmt::Display) -> JsError {
    JsError::new(&format!("{what}: {cause}"))
}
