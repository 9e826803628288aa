//! Content codings (RFC 9110 section 8.4). gzip alone: every browser, client and proxy reads it, and what a bundle mostly
//! consists of, digests, no coding makes much shorter.

use std::io::Write;

use actix_web::HttpRequest;
use actix_web::http::header::{AcceptEncoding, Encoding, Header};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Shorter bodies are sent as they are: they fit one packet in any case.
const LEAST: usize = 1 << 10;

/// The gzip form of a body, where that is shorter.
pub fn gzip(plain: &[u8]) -> Option<Bytes> {
    if plain.len() < LEAST {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail; were it to, the body is sent as it is.
    encoder.write_all(plain).ok()?;
    let made = encoder.finish().ok()?;
    (made.len() < plain.len()).then(|| made.into())
}

/// Whether the asker prefers gzip (RFC 9110 section 12.5.3). Without the header nothing is coded: not every client that
/// leaves it out reads it.
pub fn accepts_gzip(request: &HttpRequest) -> bool {
    let asked = request
        .headers()
        .contains_key(actix_web::http::header::ACCEPT_ENCODING);
    let known = [Encoding::gzip(), Encoding::identity()];
    asked
        && AcceptEncoding::parse(request)
            .ok()
            .and_then(|accept| accept.negotiate(known.iter()))
            .is_some_and(|chosen| chosen == Encoding::gzip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn gzip_is_for_those_who_ask_for_it() {
        let asks = |value: Option<&str>| {
            let request = TestRequest::get();
            let request = match value {
                Some(value) => request.insert_header(("accept-encoding", value)),
                None => request,
            };
            accepts_gzip(&request.to_http_request())
        };
        for yes in ["gzip", "gzip, deflate, br, zstd", "br;q=1, gzip;q=0.8"] {
            assert!(asks(Some(yes)), "{yes}");
        }
        for no in [
            None,
            Some("identity"),
            Some("br"),
            Some("gzip;q=0"),
            Some("*"),
            Some(""),
        ] {
            assert!(!asks(no), "{no:?}");
        }
    }

    #[test]
    fn what_does_not_get_shorter_is_sent_as_it_is() {
        assert_eq!(gzip(&[b'x'; LEAST - 1]), None);
        assert!(gzip(&[b'x'; LEAST]).unwrap().len() < 100);
    }
}
