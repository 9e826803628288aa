//! Telling somebody elsewhere: one `POST` of JSON for each alert.

use std::time::Duration;

use ureq::http;

use super::alert::Alert;

/// For connection, request and answer together: a slow receiver must not keep the monitor from watching.
const TIME: Duration = Duration::from_secs(15);

/// An address that takes alerts. It is a secret: whoever knows it can post, so that no error shows more than its host.
pub struct Webhook {
    url: String,
    host: String,
    agent: ureq::Agent,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// An address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("webhook: expected {expected}, as in https://hooks.example.org/T0/B0; check the address")]
pub struct BadWebhook {
    /// The rule.
    expected: &'static str,
}

impl Webhook {
    /// Takes the address. Nothing is sent yet.
    ///
    /// # Errors
    /// Not `http://` or `https://` with a host.
    pub fn new(url: &str) -> Result<Self, BadWebhook> {
        let bad = |expected| BadWebhook { expected };
        let uri: http::Uri = url.trim().parse().map_err(|_| bad("an address"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(bad("http:// or https:// at its beginning"));
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("a host"))?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(TIME))
            .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            host: host.to_owned(),
            url: url.trim().to_owned(),
            agent: ureq::Agent::new_with_config(config),
        })
    }

    /// Delivers an alert. The receiver knows by `id`, which is also the `Idempotency-Key`, whether it has it already.
    ///
    /// # Errors
    /// It was not taken: no connection, or another status than 200 to 299.
    pub(super) fn post(&self, alert: &Alert) -> Result<(), String> {
        let fail = |why: String| format!("webhook at {}: {why}", self.host);
        let body = serde_json::to_vec(alert).map_err(|e| fail(e.to_string()))?;
        let request = self
            .agent
            .post(&self.url)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", alert.id.to_hex());
        match request.send(&body[..]) {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(fail(format!(
                "expected status 200 to 299, found {}",
                response.status().as_u16()
            ))),
            // What ureq says may hold the address.
            Err(error) => Err(fail(reason(&error).to_owned())),
        }
    }
}

fn reason(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Timeout(_) => "it did not answer in time",
        ureq::Error::HostNotFound => "its host is not known",
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "its certificate does not hold",
        _ => "it cannot be reached",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_needs_scheme_and_host_and_shows_only_its_host() {
        for bad in ["", "hooks.example", "ftp://x/y", "https://", "file:///etc"] {
            assert!(Webhook::new(bad).is_err(), "{bad}");
        }
        let hook = Webhook::new("https://hooks.example/secret?token=secret").unwrap();
        assert_eq!(format!("{hook:?}"), "Webhook { host: \"hooks.example\", .. }");
    }
}
