//! Names that nobody else makes.

use getrandom::Error;

/// 128 random bits in hexadecimal.
///
/// # Errors
/// The system has no randomness.
pub(crate) fn nonce() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// Whether a text has the form of one.
pub(crate) fn is_nonce(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
