//! `[transparency]`: the transparency log, and the witnesses that are asked to cosign its checkpoints.

use std::time::Duration;

use assay_log::cosignature::WitnessPolicy;
use assay_log::note::{SignatureType, VerifierKey};
use serde::{Deserialize, Deserializer, de};
use url::Url;

use super::ConfigError;

/// `[transparency]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransparencyConfig {
    /// The log's unique name, for ever: a host and path that are the operator's, without scheme. Without it the name follows from the
    /// log's key.
    pub origin: Option<String>,
    /// Milliseconds between two batches.
    pub batch_millis: u64,
    /// Who is asked to cosign what is published.
    pub witnesses: Vec<WitnessConfig>,
}

impl Default for TransparencyConfig {
    fn default() -> Self {
        Self {
            origin: None,
            batch_millis: 200,
            witnesses: Vec::new(),
        }
    }
}

/// One of `[transparency] witnesses`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// The submission prefix (c2sp.org/tlog-witness): `add-checkpoint` lies below it.
    #[serde(deserialize_with = "url")]
    pub url: Url,
    /// Its verifier key; a cosignature by another one is refused.
    pub key: VerifierKey,
    /// Seconds that an answer may take, with its last byte.
    #[serde(default = "timeout")]
    pub timeout_seconds: u64,
}

const fn timeout() -> u64 {
    10
}

fn url<'de, D: Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    let text = String::deserialize(from)?;
    Url::parse(&text).map_err(|error| de::Error::custom(format_args!("expected a URL: {error}")))
}

impl WitnessConfig {
    /// Where checkpoints are sent.
    pub fn endpoint(&self) -> String {
        format!("{}/add-checkpoint", self.url.as_str().trim_end_matches('/'))
    }

    /// How long an answer may take.
    pub const fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    fn refuse_bad(&self) -> Result<(), ConfigError> {
        let bad = |expected, found| {
            Err(ConfigError::Value {
                what: "transparency.witnesses",
                expected,
                found,
            })
        };
        let plain = self.url.username().is_empty()
            && self.url.password().is_none()
            && self.url.query().is_none()
            && self.url.fragment().is_none();
        if !["http", "https"].contains(&self.url.scheme()) || !plain {
            // Where there is a password, the URL must not be shown.
            let found = format!(
                "{}://{}",
                self.url.scheme(),
                self.url.host_str().unwrap_or_default()
            );
            return bad(
                "an http or https URL without user, password, query and fragment",
                found,
            );
        }
        if self.key.kind() != SignatureType::CosignatureEd25519 {
            let found = format!("{} of type {}", self.key.name(), self.key.kind());
            return bad("a witness's key, of type 0x04 (Ed25519 cosignature)", found);
        }
        if self.timeout_seconds == 0 {
            return bad("timeout_seconds of at least 1", "0".to_owned());
        }
        Ok(())
    }
}

impl TransparencyConfig {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`ConfigError::Value`], with the key that is wrong.
    pub(super) fn refuse_bad(&self) -> Result<(), ConfigError> {
        if self.batch_millis == 0 {
            return Err(ConfigError::Value {
                what: "transparency.batch_millis",
                expected: "at least 1",
                found: "0".to_owned(),
            });
        }
        self.witnesses.iter().try_for_each(WitnessConfig::refuse_bad)?;
        if self.witnesses.is_empty() {
            return Ok(());
        }
        // What a device would refuse as a policy is refused here: one key twice, or too many.
        let keys = self.witnesses.iter().map(|witness| witness.key.clone()).collect();
        match WitnessPolicy::new(1, keys) {
            Ok(_) => Ok(()),
            Err(error) => Err(ConfigError::Value {
                what: "transparency.witnesses",
                expected: "at most 32 witnesses, each with a name and a key of its own",
                found: error.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use assay_log::note::KeyName;

    use super::*;

    fn key(name: &str, byte: u8) -> VerifierKey {
        let public = ed25519_dalek::SigningKey::from_bytes(&[byte; 32]).verifying_key();
        VerifierKey::witness(KeyName::new(name).unwrap(), &public.to_bytes()).unwrap()
    }

    fn parse(text: &str) -> Result<TransparencyConfig, String> {
        let config: TransparencyConfig = toml::from_str(text).map_err(|e| e.to_string())?;
        config.refuse_bad().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_witness_is_a_submission_prefix_and_a_key() {
        for prefix in ["https://w.example/assay", "https://w.example/assay/"] {
            let text = format!("witnesses = [{{ url = '{prefix}', key = '{}' }}]", key("w", 1));
            let config = parse(&text).unwrap();
            let witness = &config.witnesses[0];
            assert_eq!(witness.endpoint(), "https://w.example/assay/add-checkpoint");
            assert_eq!(witness.timeout(), Duration::from_secs(10));
        }
    }

    #[test]
    fn witnesses_that_cannot_work_are_refused() {
        let witness = |url: &str, key: &str| format!("witnesses = [{{ url = '{url}', key = '{key}' }}]");
        let good = key("w", 1).to_string();
        let log = VerifierKey::log(KeyName::new("w").unwrap(), key("w", 1).raw().try_into().unwrap());
        let secret = parse(&witness("https://me:hush@w.example", &good)).unwrap_err();
        assert!(!secret.contains("hush"), "{secret}");
        for (text, said) in [
            (witness("ftp://w.example", &good), "http or https"),
            (witness("no url", &good), "URL"),
            (witness("https://w.example?x", &good), "query"),
            (witness("https://w.example", "w+00000000+AA=="), "key"),
            (witness("https://w.example", &log.unwrap().to_string()), "0x04"),
            (
                format!("witnesses = [{{ url = 'https://w.example', key = '{good}', timeout_seconds = 0 }}]"),
                "timeout_seconds",
            ),
            (
                format!(
                    "witnesses = [{{ url = 'https://a.example', key = '{good}' }}, {{ url = 'https://b.example', key = '{}' }}]",
                    key("other", 1)
                ),
                "of its own",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
