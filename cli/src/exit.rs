//! The exit codes. They are part of the command's interface: scripts rely on them, so a number never changes its meaning.

use std::process::ExitCode;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Refused = 3,
    Deferred = 4,
    Network = 5,
    NotFound = 6,
    Conflict = 7,
    Store = 8,
    Denied = 9,
    Alarm = 10,
}

impl Exit {
    pub(crate) const ALL: [Self; 11] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Refused,
        Self::Deferred,
        Self::Network,
        Self::NotFound,
        Self::Conflict,
        Self::Store,
        Self::Denied,
        Self::Alarm,
    ];

    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "permitted, or done",
            Self::Failed => "any other failure",
            Self::Usage => "the command line is wrong",
            Self::Refused => "refused by a verdict",
            Self::Deferred => "deferred: not now (before its time, or held since a rollback)",
            Self::Network => "the registry cannot be reached, is not ready, or answers nonsense",
            Self::NotFound => "no such thing: namespace, model, release, key, file",
            Self::Conflict => "conflict: it exists with other content, or others were faster",
            Self::Store => "a local folder or store: locked, full, damaged, not readable",
            Self::Denied => "a token or passphrase is missing, wrong, or does not allow this",
            Self::Alarm => "alarm: a log shows two histories, or something that its authority did not make",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Every code with its meaning, one on a line.
pub(crate) fn table() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {:<2} {}\n", exit.code(), exit.meaning()));
    format!("Exit codes:\n{}", lines.concat())
}

/// The table behind other text.
pub(crate) fn with_table(text: &str) -> String {
    format!("{text}\n\n{}", table())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_numbers() {
        let codes: Vec<_> = Exit::ALL.iter().map(|e| (e.code(), *e)).collect();
        assert_eq!(
            codes,
            [
                (0, Exit::Done),
                (1, Exit::Failed),
                (2, Exit::Usage),
                (3, Exit::Refused),
                (4, Exit::Deferred),
                (5, Exit::Network),
                (6, Exit::NotFound),
                (7, Exit::Conflict),
                (8, Exit::Store),
                (9, Exit::Denied),
                (10, Exit::Alarm)
            ]
        );
    }
}
