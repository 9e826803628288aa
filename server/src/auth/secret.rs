//! The secrets of tokens: making, splitting, comparing.

use assay_schema::Sha256Digest;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of a secret.
const SECRET: usize = 32;
/// Bytes of an id.
const ID: usize = 8;
const PREFIX: &str = "assay_";

/// The operating system gives no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("no random bytes from the operating system: {0}")]
pub struct NoRandomness(getrandom::Error);

/// A new token: its id, the text that its holder keeps, and the hash that the registry keeps.
pub(super) struct Fresh {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) hash: String,
}

pub(super) fn fresh() -> Result<Fresh, NoRandomness> {
    let (mut id, mut secret) = ([0; ID], [0; SECRET]);
    getrandom::fill(&mut id).map_err(NoRandomness)?;
    getrandom::fill(&mut secret).map_err(NoRandomness)?;
    let (id, secret) = (hex::encode(id), hex::encode(secret));
    Ok(Fresh {
        text: format!("{PREFIX}{id}_{secret}"),
        hash: hash(&secret),
        id,
    })
}

/// Id and secret of a token's text; `None` if it cannot be one.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    (is_id(id) && hexadecimal(secret, SECRET)).then_some((id, secret))
}

/// Whether a text can be the id of a token.
pub(super) fn is_id(text: &str) -> bool {
    hexadecimal(text, ID)
}

fn hexadecimal(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn hash(secret: &str) -> String {
    Sha256Digest::new(Sha256::digest(secret.as_bytes()).into()).to_hex()
}

/// Compares without telling by its duration how much was right.
pub(super) fn matches(secret: &str, stored: &str) -> bool {
    hash(secret).as_bytes().ct_eq(stored.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_by_its_own_hash_only() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        let (id, secret) = split(&one.text).unwrap();
        assert_eq!(id, one.id);
        assert!(matches(secret, &one.hash));
        assert!(!matches(secret, &other.hash));
        assert!(!matches(secret, ""));
    }

    #[test]
    fn text_that_is_no_token_is_refused_before_the_database_sees_it() {
        let good = fresh().unwrap().text;
        for bad in [
            "",
            "assay_",
            "assay__",
            "assay_1_2",
            &good.to_uppercase(),
            &format!("{good}0"),
            "a' OR 1=1 --",
        ] {
            assert!(split(bad).is_none(), "{bad}");
        }
    }
}
