//! Keys in a token: found by a URI, made there, used.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use assay_authority::token::{FoundKey, TokenError, TokenKey};
use assay_authority::{KeyKind, PublicKey};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::token::{Modules, Opened, fault};
use crate::uri::KeyUri;

/// Every kind with its curve as DER (RFC 5480, RFC 8410), as CKA_EC_PARAMS has it.
const CURVES: [(KeyKind, &[u8]); 4] = [
    (KeyKind::Ed25519, &[0x06, 3, 0x2b, 0x65, 0x70]),
    (KeyKind::P256, &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]),
    (KeyKind::P384, &[0x06, 5, 0x2b, 0x81, 4, 0, 0x22]),
    (KeyKind::P521, &[0x06, 5, 0x2b, 0x81, 4, 0, 0x23]),
];
/// Ed25519 by name, as PKCS#11 v3.0, 2.3.10 permits: a PrintableString.
const EDWARDS25519: &[u8] = b"\x13\x0cedwards25519";

/// A key that is used through its token. The token is opened for the first signature and stays open.
pub struct Key {
    modules: Arc<Modules>,
    uri: KeyUri,
    public: PublicKey,
    opened: Mutex<Option<(Opened, ObjectHandle)>>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("uri", &self.uri.to_string())
            .finish_non_exhaustive()
    }
}

impl Key {
    /// The key that the URI names, whose public half must be `public`.
    pub fn new(modules: Arc<Modules>, uri: KeyUri, public: PublicKey) -> Self {
        Self {
            modules,
            uri,
            public,
            opened: Mutex::default(),
        }
    }

    fn open(&self) -> Result<(Opened, ObjectHandle), TokenError> {
        let opened = self.modules.open(&self.uri, false)?;
        let (private, id) = private_key(&opened, &self.uri)?;
        // Compared before anything is signed. A token without public halves still signs nothing wrong: every signature is verified.
        if let Some(found) = public_key(&opened, private, &id)?
            && found != self.public
        {
            return Err(TokenError::OtherKey {
                token: opened.token,
                wanted: self.uri.key_words(),
                recorded: format!("{:?}", self.public),
                found: format!("{found:?}"),
            });
        }
        Ok((opened, private))
    }
}

impl TokenKey for Key {
    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, TokenError> {
        let mechanism = match self.public.kind() {
            KeyKind::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
            KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => Mechanism::Ecdsa,
        };
        let mut place = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let (opened, private) = match place.take() {
            Some(open) => open,
            None => self.open()?,
        };
        // What fails here is closed: a token that comes back is opened anew, with its PIN.
        let signature = opened
            .session
            .sign(&mechanism, private, input)
            .map_err(|e| fault(&opened.token, "sign", &e))?;
        *place = Some((opened, private));
        Ok(signature)
    }
}

/// Finds the one private key that the URI names, and its public half.
///
/// # Errors
/// The token or the key is not there, or is one that this software cannot use.
pub fn find(modules: &Modules, uri: &KeyUri) -> Result<FoundKey, TokenError> {
    let opened = modules.open(uri, false)?;
    let (private, id) = private_key(&opened, uri)?;
    let public = match public_key(&opened, private, &id)? {
        Some(public) => public,
        None => return Err(without_public(&opened, private, uri)),
    };
    let mut uri = recorded(modules, uri, &opened)?;
    uri.id = Some(id).filter(|id| !id.is_empty()).or(uri.id);
    Ok(FoundKey {
        uri: uri.to_string(),
        public,
    })
}

/// Makes a key that cannot be read out, under a new id.
///
/// # Errors
/// The token is not there or cannot do it, or a key of this label is there.
pub fn make(modules: &Modules, uri: &KeyUri, label: &str, kind: KeyKind) -> Result<FoundKey, TokenError> {
    let opened = modules.open(uri, true)?;
    let fail = |what, e| fault(&opened.token, what, &e);
    let named = Attribute::Label(label.as_bytes().to_vec());
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let found = opened
            .session
            .find_objects(&[Attribute::Class(class), named.clone()])
            .map_err(|e| fail("look for a key", e))?;
        if !found.is_empty() {
            return Err(TokenError::KeyExists {
                token: opened.token,
                label: label.to_owned(),
            });
        }
    }
    let mut id = vec![0_u8; 16];
    getrandom::fill(&mut id).map_err(|e| TokenError::Failed {
        token: opened.token.clone(),
        what: "choose an id",
        reason: e.to_string(),
    })?;
    let curve = CURVES.iter().find(|(of, _)| *of == kind);
    let curve = curve.map(|(_, der)| der.to_vec()).unwrap_or_default();
    let mechanism = match kind {
        KeyKind::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
        KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => Mechanism::EccKeyPairGen,
    };
    let both = [Attribute::Token(true), named, Attribute::Id(id.clone())];
    let public = [
        &both[..],
        &[
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(curve),
        ],
    ]
    .concat();
    let private = [
        &both[..],
        &[
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ],
    ]
    .concat();
    let (_, private) = opened
        .session
        .generate_key_pair(&mechanism, &public, &private)
        .map_err(|e| fail("make a key", e))?;
    let found = public_key(&opened, private, &id)?.ok_or_else(|| TokenError::NoKey {
        token: opened.token.clone(),
        what: "public key of the key that it just made",
        wanted: uri.key_words(),
    })?;
    let mut uri = recorded(modules, uri, &opened)?;
    uri.object = Some(label.to_owned());
    uri.id = Some(id);
    Ok(FoundKey {
        uri: uri.to_string(),
        public: found,
    })
}

/// The URI to keep: with the module that this run was given, and the token's label where nothing else names the token.
fn recorded(modules: &Modules, uri: &KeyUri, opened: &Opened) -> Result<KeyUri, TokenError> {
    let mut kept = uri.clone();
    kept.module_path = Some(modules.path(uri)?.to_owned());
    // A slot's number changes when tokens are plugged in otherwise.
    kept.slot_id = None;
    if kept.token.is_none() && kept.serial.is_none() {
        kept.token = Some(opened.token.clone());
    }
    Ok(kept)
}

fn private_key(opened: &Opened, uri: &KeyUri) -> Result<(ObjectHandle, Vec<u8>), TokenError> {
    let token = &opened.token;
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    template.extend(
        uri.object
            .as_ref()
            .map(|o| Attribute::Label(o.as_bytes().to_vec())),
    );
    template.extend(uri.id.clone().map(Attribute::Id));
    let found = opened
        .session
        .find_objects(&template)
        .map_err(|e| fault(token, "look for the key", &e))?;
    let private = match found.as_slice() {
        [one] => *one,
        [] => {
            return Err(TokenError::NoKey {
                token: token.clone(),
                what: "private key",
                wanted: uri.key_words(),
            });
        }
        several => {
            return Err(TokenError::Ambiguous {
                wanted: uri.key_words(),
                what: "private keys",
                add: "object= or id=",
                found: several.len(),
            });
        }
    };
    let asked = [
        AttributeType::Id,
        AttributeType::AlwaysAuthenticate,
        AttributeType::Sign,
    ];
    let mut id = Vec::new();
    for attribute in attributes(&opened.session, token, private, &asked)? {
        let unsupported = |what, expected: &str, found: &str| TokenError::Unsupported {
            token: token.clone(),
            what,
            expected: expected.to_owned(),
            found: found.to_owned(),
        };
        match attribute {
            Attribute::Id(bytes) => id = bytes,
            Attribute::AlwaysAuthenticate(true) => {
                return Err(unsupported(
                    "CKA_ALWAYS_AUTHENTICATE of the key",
                    "a key that one login opens",
                    "one that demands a login for each signature",
                ));
            }
            Attribute::Sign(false) => {
                return Err(unsupported("CKA_SIGN of the key", "true", "false"));
            }
            _ => {}
        }
    }
    Ok((private, id))
}

/// The public half: of the public key object with the same id, or what the private one says of it.
fn public_key(opened: &Opened, private: ObjectHandle, id: &[u8]) -> Result<Option<PublicKey>, TokenError> {
    let token = &opened.token;
    let mut places = Vec::new();
    if !id.is_empty() {
        let template = [
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::Id(id.to_vec()),
        ];
        let found = opened.session.find_objects(&template);
        places = found.map_err(|e| fault(token, "look for the public key", &e))?;
    }
    places.push(private);
    for place in places {
        let asked = [AttributeType::EcParams, AttributeType::EcPoint];
        let (mut curve, mut point) = (Vec::new(), Vec::new());
        for attribute in attributes(&opened.session, token, place, &asked)? {
            match attribute {
                Attribute::EcParams(bytes) => curve = bytes,
                Attribute::EcPoint(bytes) => point = bytes,
                _ => {}
            }
        }
        if !point.is_empty() {
            return read_public(token, &curve, &point).map(Some);
        }
    }
    Ok(None)
}

/// Why a private key has no public half: its kind has no curve, or the object beside it is missing.
fn without_public(opened: &Opened, private: ObjectHandle, uri: &KeyUri) -> TokenError {
    let token = opened.token.clone();
    let asked = attributes(&opened.session, &token, private, &[AttributeType::KeyType]);
    let kind = asked.unwrap_or_default().into_iter().find_map(|a| match a {
        Attribute::KeyType(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(kind) if ![KeyType::EC, KeyType::EC_EDWARDS].contains(&kind) => TokenError::Unsupported {
            token,
            what: "kind of the key",
            expected: "Ed25519, P-256, P-384 or P-521".to_owned(),
            found: kind.to_string(),
        },
        _ => TokenError::NoKey {
            token,
            what: "public key beside the private key",
            wanted: uri.key_words(),
        },
    }
}

fn attributes(
    session: &Session,
    token: &str,
    object: ObjectHandle,
    asked: &[AttributeType],
) -> Result<Vec<Attribute>, TokenError> {
    session
        .get_attributes(object, asked)
        .map_err(|e| fault(token, "read the key's attributes", &e))
}

fn read_public(token: &str, curve: &[u8], point: &[u8]) -> Result<PublicKey, TokenError> {
    let unsupported = |what, expected: &str, found: String| TokenError::Unsupported {
        token: token.to_owned(),
        what,
        expected: expected.to_owned(),
        found,
    };
    let kind = match CURVES.iter().find(|(_, der)| *der == curve) {
        Some((kind, _)) => *kind,
        None if curve == EDWARDS25519 => KeyKind::Ed25519,
        None => {
            let found = format!("CKA_EC_PARAMS {curve:02x?}");
            return Err(unsupported(
                "curve of the key",
                "Ed25519, P-256, P-384 or P-521",
                found,
            ));
        }
    };
    PublicKey::from_point(kind, bare(kind, point))
        .map_err(|e| unsupported("public key", "a point of its curve", e.to_string()))
}

/// CKA_EC_POINT is a DER octet string; some tokens leave its head away (PKCS#11 v2.20 was read so). The length tells.
fn bare(kind: KeyKind, point: &[u8]) -> &[u8] {
    let length = match kind {
        KeyKind::Ed25519 => 32,
        KeyKind::P256 => 65,
        KeyKind::P384 => 97,
        KeyKind::P521 => 133,
    };
    let head: &[u8] = match kind {
        KeyKind::P521 => &[0x04, 0x81, 133],
        KeyKind::Ed25519 => &[0x04, 32],
        KeyKind::P256 => &[0x04, 65],
        KeyKind::P384 => &[0x04, 97],
    };
    match point.strip_prefix(head) {
        Some(inner) if inner.len() == length => inner,
        _ => point,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_with_and_without_its_der_head() {
        let key = assay_authority::SigningKey::generate(KeyKind::P256).unwrap();
        let spki = key.public_key().spki_der();
        let point = &spki[spki.len() - 65..];
        let curve = CURVES[1].1;
        let headed = [&[0x04, 65], point].concat();
        for form in [point, headed.as_slice()] {
            assert_eq!(&read_public("t", curve, form).unwrap(), key.public_key());
        }
    }

    #[test]
    fn refuses_other_curves_and_points_off_the_curve() {
        let is = |found, expected| match found {
            Err(TokenError::Unsupported { what, .. }) => assert_eq!(what, expected),
            other => panic!("{other:?}"),
        };
        is(read_public("t", &[0x06, 1, 1], &[4; 65]), "curve of the key");
        is(read_public("t", &[], &[4; 65]), "curve of the key");
        is(read_public("t", CURVES[1].1, &[4; 65]), "public key");
        is(read_public("t", CURVES[1].1, &[4; 64]), "public key");
        is(read_public("t", CURVES[0].1, &[1; 31]), "public key");
    }
}
