//! The module, the token behind a URI, and the login.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use assay_authority::token::TokenError;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::AskPin;
use crate::uri::KeyUri;

/// PINs are short; a device file would never end.
const MAX_PIN: u64 = 4096;

/// The modules that this process has loaded: each is initialised once.
pub struct Modules {
    chosen: Option<PathBuf>,
    ask_pin: Box<AskPin>,
    loaded: Mutex<BTreeMap<PathBuf, Pkcs11>>,
}

/// A session with a token that its user is logged in to.
pub struct Opened {
    /// The session; whoever drops it ends it.
    pub session: Session,
    /// The token's label, for messages.
    pub token: String,
}

impl Modules {
    /// See [`crate::Pkcs11Tokens::new`].
    pub fn new(chosen: Option<PathBuf>, ask_pin: Box<AskPin>) -> Self {
        Self {
            chosen,
            ask_pin,
            loaded: Mutex::default(),
        }
    }

    /// The library to reach the token by: what the owner gave with this run, else what the URI names.
    ///
    /// # Errors
    /// [`TokenError::NoModule`].
    pub fn path<'a>(&'a self, uri: &'a KeyUri) -> Result<&'a Path, TokenError> {
        let path = self.chosen.as_deref().or(uri.module_path.as_deref());
        path.ok_or_else(|| TokenError::NoModule { uri: uri.to_string() })
    }

    fn load(&self, path: &Path) -> Result<Pkcs11, TokenError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = loaded.get(path) {
            return Ok(module.clone());
        }
        let fail = |e: Error| TokenError::Module {
            path: path.to_owned(),
            reason: e.to_string(),
        };
        let module = Pkcs11::new(path).map_err(fail)?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another part of this process uses it, too.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(e) => return Err(fail(e)),
        }
        loaded.insert(path.to_owned(), module.clone());
        Ok(module)
    }

    /// Finds the one token that the URI names and logs in to it. `write` for making keys.
    ///
    /// # Errors
    /// There is none, or more than one; or its PIN is missing, wrong or locked.
    pub fn open(&self, uri: &KeyUri, write: bool) -> Result<Opened, TokenError> {
        let path = self.path(uri)?;
        let module = self.load(path)?;
        let (slot, info) = find(&module, path, uri)?;
        let token = info.label().to_owned();
        let opened = match write {
            true => module.open_rw_session(slot),
            false => module.open_ro_session(slot),
        };
        let session = opened.map_err(|e| fault(&token, "open a session", &e))?;
        self.login(&session, &info, uri)?;
        Ok(Opened { session, token })
    }

    fn login(&self, session: &Session, info: &TokenInfo, uri: &KeyUri) -> Result<(), TokenError> {
        let token = info.label().to_owned();
        let fail = |e: Error| fault(&token, "look at the session", &e);
        let state = session.get_session_info().map_err(fail)?.session_state();
        // All sessions of a process share the login (PKCS#11 v3.1, 2.6.4).
        if matches!(state, SessionState::RoUser | SessionState::RwUser) || !info.login_required() {
            return Ok(());
        }
        if info.user_pin_locked() {
            return Err(TokenError::PinLocked { token });
        }
        let warning = match (info.user_pin_final_try(), info.user_pin_count_low()) {
            (true, _) => "; the next wrong one locks it",
            (false, true) => "; wrong ones were given before, and too many lock it",
            (false, false) => "",
        };
        let pin = match info.protected_authentication_path() {
            // A reader with keys of its own asks.
            true => None,
            false => Some(self.pin(uri, &token)?),
        };
        let pin = pin.map(|pin| AuthPin::new(pin.as_str().into()));
        match session.login(UserType::User, pin.as_ref()) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                Err(TokenError::WrongPin { token, warning })
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(TokenError::PinLocked { token }),
            Err(e) => Err(fault(&token, "log in", &e)),
        }
    }

    fn pin(&self, uri: &KeyUri, token: &str) -> Result<Zeroizing<String>, TokenError> {
        let Some(path) = &uri.pin_source else {
            return (self.ask_pin)(token).ok_or_else(|| TokenError::PinNeeded {
                token: token.to_owned(),
            });
        };
        let fail = |reason: String| TokenError::PinFile {
            path: path.clone(),
            reason,
        };
        let mut text = Zeroizing::new(String::new());
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_PIN).read_to_string(&mut text))
            .map_err(|e| fail(e.to_string()))?;
        match text.lines().next().filter(|line| !line.is_empty()) {
            Some(line) => Ok(Zeroizing::new(line.to_owned())),
            None => Err(fail(
                "expected the PIN in its first line, found nothing".to_owned(),
            )),
        }
    }
}

fn find(module: &Pkcs11, path: &Path, uri: &KeyUri) -> Result<(Slot, TokenInfo), TokenError> {
    let fail = |e: Error| TokenError::Module {
        path: path.to_owned(),
        reason: e.to_string(),
    };
    let (mut fitting, mut others) = (Vec::new(), Vec::new());
    for slot in module.get_slots_with_token().map_err(fail)? {
        // A token that is pulled out meanwhile is not there.
        let Ok(info) = module.get_token_info(slot) else {
            continue;
        };
        if !info.token_initialized() {
            continue;
        }
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
        let fits = is(&uri.token, info.label())
            && is(&uri.manufacturer, info.manufacturer_id())
            && is(&uri.model, info.model())
            && is(&uri.serial, info.serial_number())
            && uri.slot_id.is_none_or(|id| id == slot.id());
        match fits {
            true => fitting.push((slot, info)),
            false => others.push(format!("{:?}", info.label())),
        }
    }
    let found = fitting.len();
    match (fitting.pop(), found) {
        (Some(one), 1) => Ok(one),
        (None, _) => Err(TokenError::Absent {
            wanted: uri.token_words(),
            found: match others.is_empty() {
                true => "none".to_owned(),
                false => others.join(", "),
            },
        }),
        (Some(_), found) => Err(TokenError::Ambiguous {
            wanted: uri.token_words(),
            what: "tokens",
            add: "token= or serial=",
            found,
        }),
    }
}

/// What a module's answer means for whoever wants a signature.
pub(crate) fn fault(token: &str, what: &'static str, error: &Error) -> TokenError {
    let token = token.to_owned();
    match error {
        Error::Pkcs11(RvError::PinLocked, _) => TokenError::PinLocked { token },
        Error::Pkcs11(
            code @ (RvError::DeviceRemoved
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::ObjectHandleInvalid
            | RvError::KeyHandleInvalid
            | RvError::UserNotLoggedIn
            | RvError::SlotIdInvalid
            | RvError::DeviceError),
            _,
        ) => TokenError::Removed {
            token,
            reason: format!("{code:?}"),
        },
        Error::Pkcs11(code, function) => TokenError::Failed {
            token,
            what,
            reason: format!("{function}: {code:?}"),
        },
        other => TokenError::Failed {
            token,
            what,
            reason: other.to_string(),
        },
    }
}
