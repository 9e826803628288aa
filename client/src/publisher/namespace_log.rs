//! The log that a namespace names in `trust/log.json`, and the witnesses that it demands of it.

use assay_authority::metadata::Targets;
use assay_authority::namespace::trust_target;
use assay_log::{LogPolicy, VerifierKey};
use assay_schema::canonical;
use assay_schema::limits::{MAX_INLINE_TARGET, MAX_TRUST_TARGET};
use assay_schema::log::{self, LogTrust};
use jiff::Timestamp;

use super::authority::NamespaceRecord;
use super::proposal::{Proposal, mismatch};
use super::registry::Registry;
use super::{PublishError, Publisher};

/// Which log a namespace names from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NamedLog {
    /// The one that it names.
    #[default]
    Keep,
    /// None: devices no longer demand that its states are in a log.
    None,
    /// The registry's; its key is taken from the registry this once.
    Registry,
    /// The one of this key.
    Key(Box<VerifierKey>),
}

/// What is to change of the log that a namespace names. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogChange {
    /// The log.
    pub log: NamedLog,
    /// The witnesses that count from now on; where absent, the present ones.
    pub witnesses: Option<Vec<VerifierKey>>,
    /// How many of them must have cosigned; where absent, a majority of new witnesses, or as many as before of the present ones.
    pub threshold: Option<u32>,
}

/// More than half of so many witnesses: two such groups have one in common. Of none, 0.
fn majority(witnesses: usize) -> u32 {
    match witnesses {
        0 => 0,
        n => u32::try_from(n / 2 + 1).unwrap_or(u32::MAX),
    }
}

/// What a namespace states that demands `threshold` of these witnesses of a log, or a majority of them.
///
/// # Errors
/// [`PublishError::LogPolicy`]: no device could meet or read it.
pub(super) fn trust(
    log: String,
    witnesses: &[VerifierKey],
    threshold: Option<u32>,
) -> Result<LogTrust, PublishError> {
    let trust = LogTrust {
        v: log::VERSION,
        log,
        witnesses: witnesses.iter().map(ToString::to_string).collect(),
        threshold: threshold.unwrap_or_else(|| majority(witnesses.len())),
    };
    LogPolicy::try_from(&trust)?;
    Ok(trust)
}

/// The key of the log that a registry offers.
pub(super) fn offered(registry: Registry<'_>) -> Result<Option<String>, PublishError> {
    // While the log's key is being changed both sign; the next one still will when the present one no longer does.
    Ok(registry.log()?.map(|log| log.next_key.unwrap_or(log.key)))
}

impl Publisher {
    /// The log that the namespace names, with its witnesses, verified; `None` where it names none.
    ///
    /// # Errors
    /// The registry's metadata does not verify.
    pub fn log(&self, now: Timestamp) -> Result<Option<LogTrust>, PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, None, now)?;
        self.named_log(&record, &Targets::read(&base.targets)?)
    }

    /// Those of a namespace's witnesses that the registry says it does not ask: devices refuse until it asks as many as they demand.
    ///
    /// # Errors
    /// The registry cannot be asked.
    pub fn unasked(&self, trust: &LogTrust) -> Result<Vec<String>, PublishError> {
        let record = self.folder.namespace()?;
        let registry = Registry {
            transport: self.transport.as_ref(),
            namespace: &record.name,
        };
        let info = registry.log()?;
        let asks = |key: &&String| info.iter().flat_map(|log| &log.witnesses).any(|w| w.key == **key);
        Ok(trust.witnesses.iter().filter(|key| !asks(key)).cloned().collect())
    }

    /// Targets metadata that names another log, other witnesses or another threshold.
    ///
    /// # Errors
    /// Nothing would change, the registry offers no log, nobody could meet the threshold, or the present metadata does not verify.
    pub fn propose_log(&self, change: &LogChange, now: Timestamp) -> Result<Proposal, PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, None, now)?;
        let mut top = Targets::read(&base.targets)?;
        let stands = self.standing_log(&record, &top)?;
        let next = self.next_log(&record, change, stands.as_ref())?;
        if next == stands && (next.is_some() || top.target(log::TARGET)?.is_none()) {
            let expected = "another log, other witnesses or another threshold";
            return Err(mismatch("change", expected, "what stands"));
        }
        match &next {
            Some(trust) => {
                let text = canonical::document(trust).map_err(|e| mismatch(log::TARGET, "one to sign", e))?;
                // Every key holder, and every device with a check bundle, then has it without another request.
                if text.len() as u64 > MAX_INLINE_TARGET {
                    let expected = format!("at most {MAX_INLINE_TARGET} bytes; name fewer witnesses");
                    return Err(mismatch(
                        format!("length of {}", log::TARGET),
                        expected,
                        text.len(),
                    ));
                }
                let text = String::from_utf8_lossy(&text).into_owned();
                top.set_target(log::TARGET, &trust_target(log::TARGET, &text)?)?;
            }
            None => drop(top.remove_trust(log::TARGET)?),
        }
        self.propose_top(&record, &base, top, now)
    }

    /// The log that a proposal's targets metadata names, if it has some.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn proposed_log(&self, proposal: &Proposal) -> Result<Option<LogTrust>, PublishError> {
        let record = self.folder.namespace()?;
        let Some(file) = proposal.publication.roles.get("targets") else {
            return Ok(None);
        };
        self.named_log(&record, &Targets::read(file.metadata.as_bytes())?)
    }

    fn next_log(
        &self,
        record: &NamespaceRecord,
        change: &LogChange,
        stands: Option<&LogTrust>,
    ) -> Result<Option<LogTrust>, PublishError> {
        let none = |what: &str, expected: &str| mismatch(what, expected, "none");
        let log = match &change.log {
            NamedLog::None => return Ok(None),
            NamedLog::Key(key) => key.to_string(),
            NamedLog::Keep => stands
                .map(|trust| trust.log.clone())
                .ok_or_else(|| none("log that the namespace names", "one; name it with --log"))?,
            NamedLog::Registry => {
                let registry = Registry {
                    transport: self.transport.as_ref(),
                    namespace: &record.name,
                };
                offered(registry)?.ok_or_else(|| none("log of the registry", "one"))?
            }
        };
        let present = || {
            let keys = stands.iter().flat_map(|trust| &trust.witnesses);
            let keys = keys.map(|key| key.parse::<VerifierKey>());
            keys.collect::<Result<Vec<_>, _>>()
                .map_err(|e| PublishError::LogPolicy(e.into()))
        };
        let (witnesses, as_before) = match &change.witnesses {
            Some(witnesses) => (witnesses.clone(), None),
            None => (present()?, stands.map(|trust| trust.threshold)),
        };
        trust(log, &witnesses, change.threshold.or(as_before)).map(Some)
    }

    /// The log that targets metadata names.
    pub(super) fn named_log(
        &self,
        record: &NamespaceRecord,
        top: &Targets,
    ) -> Result<Option<LogTrust>, PublishError> {
        let Some(bytes) = self.document(record, top, log::TARGET)? else {
            return Ok(None);
        };
        let read = canonical::read::<LogTrust>(&bytes, MAX_TRUST_TARGET);
        let trust = read.map_err(|e| mismatch(log::TARGET, "a log and its witnesses", e))?;
        Ok(Some(trust))
    }

    /// As [`Publisher::named_log`]; a document that nobody can read names none, so that it can be replaced.
    fn standing_log(
        &self,
        record: &NamespaceRecord,
        top: &Targets,
    ) -> Result<Option<LogTrust>, PublishError> {
        match self.named_log(record, top) {
            Err(PublishError::Proposal { .. }) => Ok(None),
            read => read,
        }
    }

    /// What other targets metadata changes of the log, line by line.
    ///
    /// # Errors
    /// A document that no device could use, or that is not there.
    pub(super) fn log_changes(
        &self,
        record: &NamespaceRecord,
        old: &Targets,
        new: &Targets,
    ) -> Result<Vec<String>, PublishError> {
        let digest = |top: &Targets| Ok::<_, PublishError>(top.target(log::TARGET)?.map(|t| t.sha256));
        if digest(old)? == digest(new)? {
            return Ok(Vec::new());
        }
        let after = self.named_log(record, new)?;
        if let Some(trust) = &after {
            LogPolicy::try_from(trust)?;
        }
        let before = self.standing_log(record, old)?;
        Ok(lines(before.as_ref(), after.as_ref()))
    }
}

fn lines(before: Option<&LogTrust>, after: Option<&LogTrust>) -> Vec<String> {
    let mut lines = Vec::new();
    let log = |trust: Option<&LogTrust>| trust.map_or("none", |t| &t.log).to_owned();
    if log(before) != log(after) {
        lines.push(format!("log: {} -> {}", log(before), log(after)));
    }
    let witnesses = |trust: Option<&LogTrust>| trust.map(|t| t.witnesses.clone()).unwrap_or_default();
    let (was, is) = (witnesses(before), witnesses(after));
    let added = is.iter().filter(|key| !was.contains(key));
    lines.extend(added.map(|key| format!("log: adds witness {key}")));
    let removed = was.iter().filter(|key| !is.contains(key));
    lines.extend(removed.map(|key| format!("log: removes witness {key}")));
    let of = |trust: Option<&LogTrust>| {
        trust.map_or_else(
            || "none".to_owned(),
            |t| format!("{} of {}", t.threshold, t.witnesses.len()),
        )
    };
    if of(before) != of(after) {
        lines.push(format!(
            "log: witnesses that must have cosigned {} -> {}",
            of(before),
            of(after)
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_majorities_always_have_a_witness_in_common() {
        assert_eq!(majority(0), 0);
        for n in 1..=32 {
            let k = majority(n) as usize;
            assert!(k <= n && 2 * k > n && 2 * (k - 1) <= n, "{k} of {n}");
        }
    }

    #[test]
    fn every_key_and_the_threshold_of_a_change_are_shown() {
        let of = |log: &str, witnesses: &[&str], threshold| LogTrust {
            v: log::VERSION,
            log: log.to_owned(),
            witnesses: witnesses.iter().map(|&w| w.to_owned()).collect(),
            threshold,
        };
        let (a, b) = (of("one", &["w1", "w2"], 2), of("two", &["w2", "w3"], 1));
        assert_eq!(
            lines(Some(&a), Some(&b)),
            [
                "log: one -> two",
                "log: adds witness w3",
                "log: removes witness w1",
                "log: witnesses that must have cosigned 2 of 2 -> 1 of 2",
            ]
        );
        assert_eq!(
            lines(Some(&of("one", &["w1"], 1)), None),
            [
                "log: one -> none",
                "log: removes witness w1",
                "log: witnesses that must have cosigned 1 of 1 -> none",
            ]
        );
        assert!(lines(Some(&a), Some(&a)).is_empty());
    }
}
