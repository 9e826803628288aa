//! Test keys: each is made of its number, so that what they sign is the same in every run. Anybody can make them: they protect nothing.

use std::cell::Cell;

use assay_authority::SigningKey;
use assay_verifier::provenance::sha256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// PKCS#8 around a key of 32 bytes: RFC 8410 for Ed25519, RFC 5915 for P-256.
const ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const P256: [u8; 36] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
    0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04,
    0x20, 0x00,
];

thread_local!(static NUMBER: Cell<u64> = const { Cell::new(0) });

/// The next keys of this thread are numbered from here on.
pub(crate) fn number_keys_from(number: u64) {
    NUMBER.set(number);
}

fn made(prefix: &[u8], cut: usize) -> SigningKey {
    let number = NUMBER.replace(NUMBER.get() + 1);
    let seed = sha256(format!("assay test key {number}").as_bytes());
    let mut der = prefix.to_vec();
    der.extend(&seed.as_bytes()[cut..]);
    let base64 = STANDARD.encode(der);
    // RFC 7468: 64 characters a line.
    let (first, rest) = base64.split_at(base64.len().min(64));
    let rest = if rest.is_empty() {
        String::new()
    } else {
        format!("{rest}\n")
    };
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{first}\n{rest}-----END PRIVATE KEY-----\n");
    SigningKey::from_pem(&pem, None).unwrap()
}

/// An Ed25519 key that nobody in this test has yet.
pub(crate) fn new_key() -> SigningKey {
    made(&ED25519, 0)
}

/// The same on P-256. Its first byte is zero, which keeps it below the curve's order.
pub(crate) fn new_signer() -> SigningKey {
    made(&P256, 1)
}
