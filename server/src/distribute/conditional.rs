//! Conditional requests and ranges (RFC 9110 sections 13 and 14), decided before a body is opened.

use actix_web::HttpRequest;
use actix_web::http::header::{self, ETag, EntityTag, Header, IfNoneMatch, IfRange, Range};
use assay_schema::Sha256Digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// 304: the asker has it.
    NotModified,
    /// 200: all of it.
    Whole,
    /// 206: bytes `first` to `last`, both included.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// 416: no byte of the range exists.
    Unsatisfiable,
}

/// The strong entity tag of content with this digest.
pub fn tag(sha256: &Sha256Digest) -> EntityTag {
    EntityTag::new_strong(sha256.to_hex())
}

/// `Repr-Digest` of the whole representation, also on a part of it (RFC 9530 section 3).
pub fn repr_digest(sha256: &Sha256Digest) -> (&'static str, String) {
    (
        "repr-digest",
        format!("sha-256=:{}:", STANDARD.encode(sha256.as_bytes())),
    )
}

/// The `ETag` header.
pub fn etag(sha256: &Sha256Digest) -> ETag {
    ETag(tag(sha256))
}

/// The weak entity tag of a state that has several forms: one for each coding, and for each state that a device comes from
/// (RFC 9110 sections 8.8.1 and 8.8.3.3).
pub fn state_tag(sha256: &Sha256Digest) -> EntityTag {
    EntityTag::new_weak(sha256.to_hex())
}

/// Whether the asker already has this content (RFC 9110 section 13.1.2: weak comparison).
pub fn not_modified(request: &HttpRequest, tag: &EntityTag) -> bool {
    if !request.headers().contains_key(header::IF_NONE_MATCH) {
        return false;
    }
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|t| t.weak_eq(tag)),
        Err(_) => false,
    }
}

/// Decides in the order of RFC 9110 section 13.2.2: If-None-Match, then If-Range, then Range.
pub fn select(request: &HttpRequest, tag: &EntityTag, length: u64) -> Selection {
    if not_modified(request, tag) {
        return Selection::NotModified;
    }
    let Some(range) = single_range(request) else {
        return Selection::Whole;
    };
    if request.headers().contains_key(header::IF_RANGE) {
        // RFC 9110 section 13.1.5: strong comparison; a date never matches, since blobs have none.
        match IfRange::parse(request) {
            Ok(IfRange::EntityTag(t)) if t.strong_eq(tag) => {}
            _ => return Selection::Whole,
        }
    }
    match range.to_satisfiable_range(length) {
        Some((first, last)) => Selection::Part { first, last },
        None => Selection::Unsatisfiable,
    }
}

/// The one range of bytes asked for. Several ranges, other units and malformed headers are answered with the whole
/// (RFC 9110 section 14.2 allows that).
fn single_range(request: &HttpRequest) -> Option<header::ByteRangeSpec> {
    let text = request.headers().get(header::RANGE)?.to_str().ok()?;
    // The parser below leaves out items that it cannot read; one comma is enough to answer the whole.
    if text.contains(',') {
        return None;
    }
    match Range::parse(request).ok()? {
        Range::Bytes(ranges) => ranges.into_iter().next(),
        Range::Unregistered(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    const LENGTH: u64 = 1000;

    fn digest() -> Sha256Digest {
        Sha256Digest::new([0xab; 32])
    }

    fn ask(headers: &[(&'static str, &str)]) -> Selection {
        let request = headers
            .iter()
            .fold(TestRequest::get(), |r, h| r.insert_header(*h));
        select(&request.to_http_request(), &tag(&digest()), LENGTH)
    }

    #[test]
    fn single_ranges_are_served_as_asked() {
        let part = |first, last| Selection::Part { first, last };
        assert_eq!(ask(&[("range", "bytes=0-0")]), part(0, 0));
        assert_eq!(ask(&[("range", "bytes=10-")]), part(10, 999));
        assert_eq!(ask(&[("range", "bytes=-10")]), part(990, 999));
        assert_eq!(ask(&[("range", "bytes=990-5000")]), part(990, 999));
        assert_eq!(ask(&[("range", "bytes=-5000")]), part(0, 999));
    }

    #[test]
    fn ranges_outside_are_unsatisfiable_and_malformed_ones_are_ignored() {
        assert_eq!(ask(&[("range", "bytes=1000-")]), Selection::Unsatisfiable);
        assert_eq!(ask(&[("range", "bytes=-0")]), Selection::Unsatisfiable);
        for whole in [
            "bytes=5-1",
            "bytes=a-b",
            "bytes=",
            "lines=1-2",
            "bytes=0-1,5-6",
            "bytes=0-99999999999999999999999",
        ] {
            assert_eq!(ask(&[("range", whole)]), Selection::Whole, "{whole}");
        }
    }

    #[test]
    fn if_range_serves_the_whole_unless_the_strong_tag_is_the_same() {
        let same = format!("\"{}\"", digest());
        let weak = format!("W/\"{}\"", digest());
        let range = ("range", "bytes=1-2");
        assert_eq!(
            ask(&[range, ("if-range", &same)]),
            Selection::Part { first: 1, last: 2 }
        );
        assert_eq!(ask(&[range, ("if-range", &weak)]), Selection::Whole);
        assert_eq!(ask(&[range, ("if-range", "\"other\"")]), Selection::Whole);
        assert_eq!(
            ask(&[range, ("if-range", "Wed, 21 Oct 2026 07:28:00 GMT")]),
            Selection::Whole
        );
    }

    #[test]
    fn if_none_match_comes_before_the_range() {
        let same = format!("\"x\", \"{}\"", digest());
        assert_eq!(
            ask(&[("if-none-match", &same), ("range", "bytes=1-2")]),
            Selection::NotModified
        );
        assert_eq!(ask(&[("if-none-match", "*")]), Selection::NotModified);
        assert_eq!(ask(&[("if-none-match", "\"x\"")]), Selection::Whole);
    }

    #[test]
    fn the_digest_field_is_base64_between_colons() {
        let (name, value) = repr_digest(&Sha256Digest::new([0; 32]));
        assert_eq!(name, "repr-digest");
        assert_eq!(value, "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:");
    }
}
