//! What a monitor raises.

use std::fmt;
use std::path::PathBuf;

use assay_schema::{NamespaceName, Sha256Digest, canonical};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is wrong. Names are stable, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// Something that the authority signs by itself is in no signing journal: somebody else made it.
    NotMade,
    /// Two bodies of one version.
    Fork,
    /// A version below one that was there before.
    WentBack,
    /// A role that a snapshot named before is named no longer.
    Dropped,
    /// A file that the log names is not handed out.
    Withheld,
    /// More files are withheld than the monitor asks for again.
    ManyWithheld,
    /// A file that is handed out is not the one that the log names.
    OtherFile,
    /// Something of the namespace's that is not what it has to be.
    Unreadable,
    /// The log signed two histories.
    Split,
    /// The log does not hand out what its checkpoint is made of.
    Unproven,
    /// For a while there was no checkpoint, or entries could not be looked at.
    Unread,
    /// The checkpoint is not signed as it must be.
    BadCheckpoint,
    /// Fewer witnesses cosigned than are demanded.
    Witnesses,
    /// The checkpoint is older than it may be.
    Stale,
    /// Further alerts that did not fit.
    More,
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMade => "not made by the authority",
            Self::Fork => "two bodies of one version",
            Self::WentBack => "went back",
            Self::Dropped => "dropped",
            Self::Withheld => "withheld",
            Self::ManyWithheld => "many withheld",
            Self::OtherFile => "another file",
            Self::Unreadable => "unreadable",
            Self::Split => "two histories",
            Self::Unproven => "unproven",
            Self::Unread => "unread",
            Self::BadCheckpoint => "bad checkpoint",
            Self::Witnesses => "too few witnesses",
            Self::Stale => "stale",
            Self::More => "more alerts",
        })
    }
}

/// Something that the authority did not make, or that keeps it from seeing what is made in its name. What a webhook gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// The document's version: 1.
    pub v: u32,
    /// The same for the same alert, whenever it is delivered: receivers drop what they have.
    pub id: Sha256Digest,
    /// When the monitor saw it.
    pub at: Timestamp,
    /// What is wrong.
    pub kind: AlertKind,
    /// The log's origin.
    pub log: String,
    /// The namespace, where it is about one.
    pub namespace: Option<NamespaceName>,
    /// What it is about: a file, an entry of the log, the log.
    pub subject: String,
    /// What it has to be.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// What to do now.
    pub advice: String,
    /// The file that proves it, on the monitor's machine.
    pub evidence: Option<PathBuf>,
    /// All of it in one line for people; chat systems show this field.
    pub text: String,
}

/// An alert before it is known who raises it, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: AlertKind,
    pub(super) subject: String,
    pub(super) expected: String,
    pub(super) found: String,
    pub(super) evidence: Option<PathBuf>,
}

impl Finding {
    pub(super) fn new(
        kind: AlertKind,
        subject: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            subject: subject.into(),
            expected: expected.into(),
            found: found.into(),
            evidence: None,
        }
    }

    fn advice(&self) -> &'static str {
        match self.kind {
            AlertKind::NotMade | AlertKind::Fork => {
                "Ask every key holder whether they signed it. If nobody did, keys are stolen: rotate them (`assay root rotate`), and \
                 revoke what they signed (`assay status revoke`)"
            }
            AlertKind::WentBack | AlertKind::Dropped => {
                "Devices that saw the newer state refuse the older one; new devices may be shown it. Ask the registry's operator, and \
                 rotate its online keys if they may be stolen (`assay root rotate`)"
            }
            AlertKind::Withheld | AlertKind::OtherFile | AlertKind::Unproven | AlertKind::Unreadable => {
                "Ask the registry's operator for it. Until it is there, nobody knows what devices are shown"
            }
            AlertKind::ManyWithheld => {
                "Ask the registry's operator for all of them, and rotate its online keys if they may be stolen (`assay root rotate`). The \
                 monitor reads on; once these files are there it looks at the namespace from the beginning again"
            }
            AlertKind::Split => {
                "Keep the evidence and show it to others who follow the log; its key must not be trusted any longer"
            }
            AlertKind::BadCheckpoint | AlertKind::Witnesses => {
                "Ask the log's operator. Devices that demand witnesses do not go on meanwhile"
            }
            AlertKind::Unread => {
                "Nobody knows what devices are shown meanwhile. Look whether this machine reaches the log and reads its journals; if so, ask \
                 the log's operator for what is missing"
            }
            AlertKind::Stale => {
                "Ask the log's operator whether the log stands still; it may be kept from this monitor"
            }
            AlertKind::More => "Look at the log itself with `assay log audit --full`",
        }
    }

    pub(super) fn raise(self, at: Timestamp, log: &str, namespace: Option<&NamespaceName>) -> Alert {
        let about = namespace.map_or_else(|| log.to_owned(), ToString::to_string);
        let text = format!(
            "{about}: {}: {}: expected {}, found {}",
            self.kind, self.subject, self.expected, self.found
        );
        let standing = self.kind.is_standing().then_some(at);
        let what = (
            self.kind,
            log,
            namespace,
            &self.subject,
            &self.expected,
            &self.found,
            standing,
        );
        // Only its serialisation could fail; an id of the text alone is still one.
        let bytes = canonical::document(&what).unwrap_or_else(|_| text.clone().into_bytes());
        let advice = self.advice().to_owned();
        Alert {
            v: 1,
            id: crate::sha256(&bytes),
            at,
            kind: self.kind,
            log: log.to_owned(),
            namespace: namespace.cloned(),
            subject: self.subject,
            expected: self.expected,
            found: self.found,
            advice,
            evidence: self.evidence,
            text,
        }
    }
}

impl AlertKind {
    /// Conditions that come and go, raised once each time that they come.
    pub(super) const STANDING: [Self; 7] = [
        Self::ManyWithheld,
        Self::Split,
        Self::Unproven,
        Self::Unread,
        Self::BadCheckpoint,
        Self::Witnesses,
        Self::Stale,
    ];

    pub(super) fn is_standing(self) -> bool {
        Self::STANDING.contains(&self)
    }
}
