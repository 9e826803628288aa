//! Pieces that the text formats share, each in the one form that they permit.

use assay_schema::Sha256Digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// An ASCII decimal without sign or leading zeroes, at most `max`.
pub(crate) fn decimal(text: &str, max: u64) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok().filter(|n| *n <= max)
}

/// Base64 of RFC 4648 section 4: padded, and nothing in its unused bits.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// The base64 of 32 bytes.
pub(crate) fn hash(text: &str) -> Option<Sha256Digest> {
    if text.len() != 44 {
        return None;
    }
    Some(Sha256Digest::new(base64(text)?.try_into().ok()?))
}

pub(crate) fn hash_line(hash: &Sha256Digest) -> String {
    let mut line = to_base64(hash.as_bytes());
    line.push('\n');
    line
}

/// The beginning of a stranger's text, for a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The next line and what follows it; a line ends with a line feed.
pub(crate) fn line(text: &str) -> Option<(&str, &str)> {
    text.split_once('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_form_of_a_number_is_refused() {
        assert_eq!(decimal("0", 9), Some(0));
        assert_eq!(decimal("18446744073709551615", u64::MAX), Some(u64::MAX));
        for bad in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "18446744073709551616",
            "1e3",
            "١",
        ] {
            assert_eq!(decimal(bad, u64::MAX), None, "{bad:?}");
        }
        assert_eq!(decimal("10", 9), None);
    }

    #[test]
    fn a_second_form_of_a_hash_is_refused() {
        let right = to_base64(&[0xff; 32]);
        assert_eq!(hash(&right), Some(Sha256Digest::new([0xff; 32])));
        // Unused bits set, no padding, the alphabet of section 5, 31 bytes.
        for bad in [
            right.replace("8=", "9="),
            right.replace('=', ""),
            right.replace('/', "_"),
            to_base64(&[1; 31]),
        ] {
            assert_eq!(hash(&bad), None, "{bad}");
        }
    }
}
