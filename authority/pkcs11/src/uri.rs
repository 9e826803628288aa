//! `pkcs11:` URIs (RFC 7512): which token, which key in it, through which module, with the PIN from which file.

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use assay_authority::token::TokenError;

const SCHEME: &str = "pkcs11:";
/// Attributes of PKCS#11 are short; a longer URI is not one that somebody typed.
const MAX_URI: usize = 4096;

/// A parsed URI. What it leaves out fits everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyUri {
    /// `token`: the token's label.
    pub token: Option<String>,
    /// `manufacturer` of the token.
    pub manufacturer: Option<String>,
    /// `model` of the token.
    pub model: Option<String>,
    /// `serial`: the token's serial number.
    pub serial: Option<String>,
    /// `slot-id`: the slot's number, which changes with the reader.
    pub slot_id: Option<u64>,
    /// `object`: the key's label.
    pub object: Option<String>,
    /// `id`: the key's CKA_ID.
    pub id: Option<Vec<u8>>,
    /// `module-path`: the library.
    pub module_path: Option<PathBuf>,
    /// `pin-source`: the file whose first line is the PIN.
    pub pin_source: Option<PathBuf>,
}

fn bad(what: &str, expected: &str, found: &str) -> TokenError {
    TokenError::Uri {
        what: what.to_owned(),
        expected: expected.to_owned(),
        found: found.chars().take(80).collect(),
    }
}

impl FromStr for KeyUri {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > MAX_URI {
            return Err(bad("length", "at most 4096 bytes", &text.len().to_string()));
        }
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| bad("scheme", "pkcs11:", text))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        for attribute in path.split(';').filter(|a| !a.is_empty()) {
            uri.path_attribute(attribute)?;
        }
        for attribute in query.split('&').filter(|a| !a.is_empty()) {
            uri.query_attribute(attribute)?;
        }
        Ok(uri)
    }
}

impl KeyUri {
    fn path_attribute(&mut self, attribute: &str) -> Result<(), TokenError> {
        let (name, value) = pair(attribute)?;
        match name {
            "token" => once(name, &mut self.token, text(name, value)?),
            "manufacturer" => once(name, &mut self.manufacturer, text(name, value)?),
            "model" => once(name, &mut self.model, text(name, value)?),
            "serial" => once(name, &mut self.serial, text(name, value)?),
            "object" => once(name, &mut self.object, text(name, value)?),
            "id" => once(name, &mut self.id, bytes(name, value)?),
            "slot-id" => {
                let number = value.parse().map_err(|_| bad(name, "a number", value))?;
                once(name, &mut self.slot_id, number)
            }
            // RFC 7512, 2.3: only private keys sign.
            "type" if value == "private" => Ok(()),
            "type" => Err(bad(name, "private", value)),
            // RFC 7512, 2.3: an attribute that is not understood must not match.
            _ => Err(bad(
                "attribute",
                "token, manufacturer, model, serial, slot-id, object, id or type",
                name,
            )),
        }
    }

    fn query_attribute(&mut self, attribute: &str) -> Result<(), TokenError> {
        let (name, value) = pair(attribute)?;
        match name {
            "module-path" => once(name, &mut self.module_path, file(name, value)?),
            "pin-source" => once(name, &mut self.pin_source, file(name, value)?),
            // RFC 7512, 7: others read command lines and files; the value itself is not shown either.
            "pin-value" => Err(bad(name, "no PIN in a URI; pin-source= names a file", "one")),
            _ => Err(bad("query attribute", "module-path or pin-source", name)),
        }
    }

    /// The words that choose the token, for people.
    pub fn token_words(&self) -> String {
        let mut words = Vec::new();
        let chosen = [
            ("token", &self.token),
            ("serial", &self.serial),
            ("model", &self.model),
            ("manufacturer", &self.manufacturer),
        ];
        for (name, value) in chosen {
            words.extend(value.as_ref().map(|value| format!("{name}={value:?}")));
        }
        words.extend(self.slot_id.map(|id| format!("slot-id={id}")));
        match words.is_empty() {
            true => "(any)".to_owned(),
            false => words.join(", "),
        }
    }

    /// The words that choose the key, for people.
    pub fn key_words(&self) -> String {
        let object = self.object.as_ref().map(|object| format!("object={object:?}"));
        let id = self.id.as_ref().map(|id| format!("id={}", percent(id, false)));
        let words: Vec<_> = object.into_iter().chain(id).collect();
        match words.is_empty() {
            true => "(any)".to_owned(),
            false => words.join(", "),
        }
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |name: &str, value: &Option<String>| {
            value
                .as_ref()
                .map(|value| format!("{name}={}", percent(value.as_bytes(), true)))
        };
        let path: Vec<String> = [
            text("token", &self.token),
            text("manufacturer", &self.manufacturer),
            text("model", &self.model),
            text("serial", &self.serial),
            self.slot_id.map(|id| format!("slot-id={id}")),
            text("object", &self.object),
            self.id.as_ref().map(|id| format!("id={}", percent(id, false))),
        ]
        .into_iter()
        .flatten()
        .collect();
        let file = |name: &str, value: &Option<PathBuf>| {
            let path = value.as_ref()?.to_str()?;
            Some(format!("{name}={}", percent(path.as_bytes(), true)))
        };
        let query: Vec<String> = [
            file("module-path", &self.module_path),
            file("pin-source", &self.pin_source),
        ]
        .into_iter()
        .flatten()
        .collect();
        write!(f, "{SCHEME}{}", path.join(";"))?;
        if !query.is_empty() {
            write!(f, "?{}", query.join("&"))?;
        }
        Ok(())
    }
}

fn pair(attribute: &str) -> Result<(&str, &str), TokenError> {
    attribute
        .split_once('=')
        .ok_or_else(|| bad("attribute", "name=value", attribute))
}

fn once<T>(name: &str, place: &mut Option<T>, value: T) -> Result<(), TokenError> {
    // RFC 7512, 2.3: no attribute twice.
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(bad(name, "it once", "it twice")),
    }
}

fn text(name: &str, value: &str) -> Result<String, TokenError> {
    String::from_utf8(bytes(name, value)?).map_err(|_| bad(name, "UTF-8", value))
}

fn file(name: &str, value: &str) -> Result<PathBuf, TokenError> {
    let value = text(name, value)?;
    // RFC 7512, 2.4: `file:` URIs; a bare path is what most tools write. A command (`|`) is not run.
    let path = value.strip_prefix("file:").unwrap_or(&value);
    let path = path
        .strip_prefix("//")
        .map_or(path, |rest| rest.strip_prefix("localhost").unwrap_or(rest));
    match path.starts_with('/') {
        true => Ok(PathBuf::from(path)),
        false => Err(bad(name, "the absolute path of a file", &value)),
    }
}

/// Percent-decoding (RFC 3986, 2.1).
fn bytes(name: &str, value: &str) -> Result<Vec<u8>, TokenError> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(bad(name, "two hexadecimal digits after %", value));
        };
        out.extend(u8::try_from(high * 16 + low));
    }
    Ok(out)
}

fn percent(bytes: &[u8], readable: bool) -> String {
    let mut out = String::new();
    for byte in bytes {
        // RFC 7512, 2.3: these stand for themselves in paths and in queries; an id is written in hexadecimal throughout.
        if readable && (byte.is_ascii_alphanumeric() || b"-._~/".contains(byte)) {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let uri: KeyUri = "pkcs11:token=Acme%20Root;serial=2f;slot-id=3;object=root;id=%01%aB;type=private\
                           ?module-path=/usr/lib/x.so&pin-source=file:///run/pin"
            .parse()
            .unwrap();
        assert_eq!(uri.token.as_deref(), Some("Acme Root"));
        assert_eq!(uri.id, Some(vec![1, 0xab]));
        assert_eq!(uri.slot_id, Some(3));
        assert_eq!(uri.pin_source, Some(PathBuf::from("/run/pin")));
        assert_eq!(
            uri.to_string(),
            "pkcs11:token=Acme%20Root;serial=2f;slot-id=3;object=root;id=%01%AB?module-path=/usr/lib/x.so&pin-source=/run/pin"
        );
        assert_eq!(uri.to_string().parse::<KeyUri>().unwrap(), uri);
        let strange: KeyUri = "pkcs11:token=%3B%3F%26%25%C3%A9".parse().unwrap();
        assert_eq!(strange.token.as_deref(), Some(";?&%é"));
        assert_eq!(strange.to_string().parse::<KeyUri>().unwrap(), strange);
    }

    #[test]
    fn refuses_what_is_no_key_uri() {
        let refused = |text: &str, part: &str| match text.parse::<KeyUri>() {
            Err(TokenError::Uri { what, .. }) => assert_eq!(what, part, "{text}"),
            other => panic!("{text}: {other:?}"),
        };
        for (text, part) in [
            ("", "scheme"),
            ("http://x", "scheme"),
            ("pkcs11:token", "attribute"),
            ("pkcs11:library-version=3", "attribute"),
            ("pkcs11:token=a;token=b", "token"),
            ("pkcs11:type=cert", "type"),
            ("pkcs11:id=%0", "id"),
            ("pkcs11:id=%zz", "id"),
            ("pkcs11:id=%+1", "id"),
            ("pkcs11:token=%ff", "token"),
            ("pkcs11:slot-id=-1", "slot-id"),
            ("pkcs11:?module-path=lib.so", "module-path"),
            ("pkcs11:?pin-source=%7Cecho%201", "pin-source"),
            ("pkcs11:?x=y", "query attribute"),
        ] {
            refused(text, part);
        }
        refused(&format!("pkcs11:token={}", "x".repeat(5000)), "length");
    }

    #[test]
    fn refuses_a_pin_in_the_uri_and_does_not_repeat_it() {
        let error = "pkcs11:token=a?pin-value=sesame".parse::<KeyUri>().unwrap_err();
        assert!(!error.to_string().contains("sesame"), "{error}");
        assert!(error.to_string().contains("pin-source"), "{error}");
    }
}
