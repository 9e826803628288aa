//! How bytes come from a registry, and go to it. The registry is not trusted: whatever a transport returns is a stranger's,
//! bounded in length, and judged by whoever asked for it.

mod folder;
mod http;
mod paced;
pub mod paths;

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use assay_schema::problem::Problem;
use serde::Serialize;

pub(crate) use folder::{FolderTransport, file_path};
pub use http::{HttpTransport, Limits, Secret, registry_address};

/// A way to a registry. Implementations are shared between threads.
pub trait Transport: Send + Sync {
    /// Reads a document whole.
    ///
    /// # Errors
    /// The registry cannot be reached, answers with a problem, or sends more than `max` bytes.
    fn get(&self, path: &str, max: u64, etag: Option<&str>) -> Result<Fetched, TransportError>;

    /// Opens `len` bytes of a file from `offset`. The reader ends after `len` bytes whatever the registry sends; that it gives
    /// fewer is for its caller to notice.
    ///
    /// # Errors
    /// As [`Transport::get`]; reading fails when the connection does.
    fn open(&self, path: &str, offset: u64, len: u64) -> Result<Box<dyn Read + '_>, TransportError>;

    /// Changes something on the registry.
    ///
    /// # Errors
    /// The registry cannot be reached or answers with a problem.
    fn send(&self, request: Request<'_>) -> Result<Reply, TransportError>;

    /// What went over the wire so far.
    fn traffic(&self) -> Traffic;
}

/// What [`Transport::get`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The document.
    Found {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Its entity tag, for the next time.
        etag: Option<String>,
    },
    /// It is still the one whose entity tag was sent.
    NotModified,
    /// There is no such document.
    Missing,
}

/// A request that changes something.
pub struct Request<'a> {
    /// `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// The path, beginning with `/`.
    pub path: String,
    /// What to send.
    pub body: Body<'a>,
    /// `Upload-Offset`, for a part of an upload.
    pub offset: Option<u64>,
}

/// What a request carries.
pub enum Body<'a> {
    /// Nothing.
    Empty,
    /// JSON; sent again when the connection breaks, because every such request may be repeated.
    Json(Vec<u8>),
    /// A part of a file, of exactly so many bytes; never sent again by itself.
    Part(&'a mut dyn Read, u64),
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status, 200 to 299.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Why nothing usable came.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address of a registry that is none.
    #[error("registry address {found:?}: expected {expected}, as in https://models.example.org")]
    Address {
        /// What was given.
        found: String,
        /// The rule.
        expected: &'static str,
    },
    /// A token over a connection that everybody on the way can read.
    #[error(
        "registry {registry}: a token is sent over https only (or to this machine itself); use an https address"
    )]
    PlainToken {
        /// The registry's address.
        registry: String,
    },
    /// No connection, or it broke, or nothing came in time.
    #[error("{registry}{path}: {reason} (after {attempts} attempts)")]
    Unreachable {
        /// The registry's address.
        registry: String,
        /// The path asked for.
        path: String,
        /// What happened last.
        reason: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The registry said what is wrong.
    #[error("{path}: {} ({}): {}", problem.title, problem.status, problem.detail)]
    Problem {
        /// The path asked for.
        path: String,
        /// What the registry said.
        problem: Box<Problem>,
    },
    /// A status without a problem document: perhaps not a registry.
    #[error(
        "{registry}{path}: expected an answer of an Assay registry, found HTTP status {status}. Check the address"
    )]
    Status {
        /// The registry's address.
        registry: String,
        /// The path asked for.
        path: String,
        /// The HTTP status.
        status: u16,
    },
    /// More than was asked for.
    #[error("{path}: expected at most {max} bytes, the registry sends more")]
    TooLong {
        /// The path asked for.
        path: String,
        /// The limit.
        max: u64,
    },
    /// An answer that is not what the API says.
    #[error("{path}: expected {expected}, found {found}")]
    Malformed {
        /// The path asked for.
        path: String,
        /// What should have come.
        expected: &'static str,
        /// What came.
        found: String,
    },
}

impl TransportError {
    /// The problem document, if the registry sent one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// Whether trying later may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem { problem, .. } => matches!(problem.status, 429 | 500..=599),
            Self::Status { status, .. } => matches!(status, 429 | 500..=599),
            _ => false,
        }
    }
}

/// Requests and bytes of bodies, both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Requests sent, repeated ones counted again.
    pub requests: u64,
    /// Bytes of the bodies received.
    pub received: u64,
    /// Bytes of the bodies sent.
    pub sent: u64,
}

impl Traffic {
    /// What was added since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            received: self.received.saturating_sub(earlier.received),
            sent: self.sent.saturating_sub(earlier.sent),
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests, {} bytes received, {} bytes sent",
            self.requests, self.received, self.sent
        )
    }
}

/// Counts [`Traffic`]; for implementations of [`Transport`].
#[derive(Debug, Default)]
pub struct Meter {
    requests: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Meter {
    /// A request goes out.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of a body came in.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of a body went out.
    pub fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn total(&self) -> Traffic {
        Traffic {
            requests: self.requests.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }
}

/// Reads to the end, at most `max` bytes; `None` if there is more.
pub(crate) fn read_bounded(
    reader: impl Read,
    max: u64,
    expected: Option<u64>,
) -> io::Result<Option<Vec<u8>>> {
    // The announced length is a stranger's word: it saves reallocation up to a small size and nothing else.
    let hint = expected.unwrap_or(0).min(max).min(1 << 20);
    let mut bytes = Vec::with_capacity(usize::try_from(hint).unwrap_or(0));
    reader.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max).then_some(bytes))
}
