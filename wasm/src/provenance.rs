//! Stage 5 by itself: a Sigstore bundle, or a model signature, against who may have made it.

use assay_schema::Sha256Digest;
use assay_schema::signers::{Signer, Signers};
use assay_verifier::provenance::PublicKey;
use assay_verifier::provenance::oms;
use assay_verifier::provenance::sigstore::{Artifact, Expected, TrustedRoot, verify};
use jiff::Timestamp;
use js_sys::Reflect;
use serde::Deserialize;
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::convert::{error, from_js, to_js};

/// What a bundle must be about, and who must have made it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// Absent: an in-toto statement for its own sake.
    #[serde(default)]
    sha256: Option<Sha256Digest>,
    #[serde(default)]
    identity: Option<String>,
    #[serde(default)]
    issuer: Option<String>,
    #[serde(default)]
    key: Option<String>,
}

/// A refusal as an `Error` with the stable name of its kind in `code`.
fn refusal(code: &str, message: &dyn std::fmt::Display) -> JsValue {
    let error = js_sys::Error::new(&message.to_string());
    // Fails for frozen objects only.
    drop(Reflect::set(&error, &"code".into(), &code.into()));
    error.into()
}

fn usage(what: &str, cause: &dyn std::fmt::Display) -> JsValue {
    refusal("usage", &format!("{what}: {cause}"))
}

/// Verifies a Sigstore bundle (v0.1 to v0.3) without a network: certificate chain, SCT, transparency log, time and signature.
///
/// `request`: `{sha256?, identity, issuer}` or `{sha256?, key}`, the key in PEM; without `sha256` the bundle must hold an in-toto
/// statement, whose subjects the caller compares. `root`: the bytes of the instance's `trusted_root.json`. Returns `{subject?, issuer?,
/// signed_at?}`.
///
/// # Errors
/// An `Error` whose `code` says what does not hold: `signature`, `log`, `certificate`, `identity` ...
#[wasm_bindgen(js_name = verifySigstore)]
pub fn verify_sigstore(bundle: &[u8], request: &JsValue, root: &[u8], now: &str) -> Result<JsValue, JsValue> {
    let request: Request = from_js("request", request)?;
    let now: Timestamp = now.parse().map_err(|e| usage("now", &e))?;
    let key = match &request.key {
        Some(pem) => Some(PublicKey::from_pem(pem).map_err(|e| refusal("key", &e))?),
        None => None,
    };
    let expected = match (&key, &request.identity, &request.issuer) {
        (Some(key), None, None) => Expected::Key(key),
        (None, Some(subject), Some(issuer)) => Expected::Identity { subject, issuer },
        _ => return Err(usage("request", &"expected identity and issuer, or key")),
    };
    let artifact = request.sha256.map_or(Artifact::Statement, Artifact::Digest);
    let root = TrustedRoot::read(root).map_err(|e| refusal(e.code(), &e))?;
    let evidence = verify(bundle, artifact, expected, &root, now).map_err(|e| refusal(e.code(), &e))?;
    let document = json!({
        "subject": evidence.subject,
        "issuer": evidence.issuer,
        "signed_at": evidence.signed_at,
    });
    Ok(to_js(&document)?)
}

/// Verifies a model signature (OMS 1.0 and the format before it) by one of the permitted signers.
///
/// `signers`: a document as in `trust/signers.json`. `root`: the bytes of a `trusted_root.json`, if a signer is known by a Sigstore
/// identity. Returns `{signer, signed_by, predicate_type, model_name, files: {path: sha256}, signed_at?}`; comparing the files with those that are
/// there is the caller's.
///
/// # Errors
/// An `Error` whose `code` says what does not hold: `not-permitted`, `statement`, `oms`, `bundle` ...
#[wasm_bindgen(js_name = verifyModelSignature)]
pub fn verify_model_signature(
    bundle: &[u8],
    signers: &JsValue,
    root: Option<Vec<u8>>,
    now: &str,
) -> Result<JsValue, JsValue> {
    let signers: Signers = from_js("signers", signers)?;
    let now: Timestamp = now.parse().map_err(|e| error("now", &e))?;
    let may = |signer: &&Signer| {
        let mut kinds = oms::MODEL_SIGNATURES.iter();
        kinds.any(|kind| signer.may_sign(kind, &oms::MODEL_SIGNATURES))
    };
    let permitted: Vec<&Signer> = signers.signers.iter().filter(may).collect();
    let verified = oms::verify_model_signature(bundle, &permitted, root.as_deref(), now)
        .map_err(|e| refusal(e.code(), &e))?;
    let document = json!({
        "signer": verified.signer,
        "signed_by": verified.signed_by.to_string(),
        "predicate_type": verified.predicate_type,
        "model_name": verified.model_name,
        "files": verified.resources,
        "signed_at": verified.signed_at,
    });
    Ok(to_js(&document)?)
}
