//! Web pages of other origins (Fetch standard, section 3.3 "HTTP CORS protocol"): they may check and pull what everybody may read.
//!
//! Never with credentials: no answer carries `Access-Control-Allow-Credentials`, and no page may send `Authorization`. So a page sees
//! public namespaces alone, whoever looks at it.

use actix_cors::Cors;
use serde::Deserialize;
use url::Url;

/// `[cors]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorsConfig {
    /// Origins whose pages may read this registry, as in `https://app.example.org`. `*`, the default, is all of them; an empty list
    /// is none.
    pub origins: Vec<String>,
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self {
            origins: vec![ANY.to_owned()],
        }
    }
}

const ANY: &str = "*";

/// What a page's script may send beside what every request may: conditional requests and ranges.
const SENT: [&str; 3] = ["if-none-match", "if-range", "range"];

/// What a page's script may read of an answer beside the body.
const EXPOSED: [&str; 5] = [
    "accept-ranges",
    "content-range",
    "etag",
    "repr-digest",
    "retry-after",
];

/// How long a browser may remember a preflight, in seconds.
const MAX_AGE: usize = 86_400;

impl CorsConfig {
    /// The first entry that is no origin (RFC 6454 section 6.2), or `*` beside others.
    pub fn bad_origin(&self) -> Option<&str> {
        let is_origin = |text: &str| {
            Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.origin().ascii_serialization() == text
                    // No browser sends a host with this character, which looks like a pattern.
                    && !text.contains('*')
            })
        };
        let alone = self.origins.len() == 1;
        let bad = |text: &&String| !(is_origin(text) || (alone && *text == ANY));
        self.origins.iter().find(bad).map(String::as_str)
    }

    /// The middleware.
    pub fn middleware(&self) -> Cors {
        let cors = Cors::default()
            .allowed_methods(["GET", "HEAD"])
            .allowed_headers(SENT)
            .expose_headers(EXPOSED)
            .max_age(MAX_AGE);
        self.origins
            .iter()
            .fold(cors, |cors, origin| match origin.as_str() {
                ANY => cors.allow_any_origin().send_wildcard(),
                origin => cors.allowed_origin(origin),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(origins: &[&str]) -> bool {
        let origins = origins.iter().map(|o| (*o).to_owned()).collect();
        CorsConfig { origins }.bad_origin().is_some()
    }

    #[test]
    fn origins_have_a_scheme_and_a_host_and_nothing_else() {
        for good in [
            &["*"][..],
            &[],
            &["https://app.example.org", "http://localhost:8080"],
        ] {
            assert!(!bad(good), "{good:?}");
        }
        for wrong in [
            "app.example.org",
            "https://app.example.org/",
            "https://app.example.org:443",
            "https://App.example.org",
            "https://user@app.example.org",
            "https://app.example.org/page",
            "file:///srv",
            "null",
            "https://*.example.org",
            "",
        ] {
            assert!(bad(&[wrong]), "{wrong}");
        }
        assert!(bad(&["*", "https://app.example.org"]));
    }
}
