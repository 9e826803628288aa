//! One round of a monitor: checkpoint, proof, entries, files.

use assay_log::leaf::LeafError;
use assay_log::merkle::{Node, TreeHead};
use assay_log::tile::{VerifiedTiles, new_bundles};
use assay_log::{Leaf, SignedCheckpoint};
use assay_schema::limits::LOG_TILE_WIDTH;
use assay_schema::{NamespaceName, Sha256Digest};
use jiff::Timestamp;

use super::alert::{AlertKind, Finding};
use super::judge::{Judge, Judged};
use super::state::{Seen, State, Withheld};
use super::{Monitor, Terms, WITHHELD};
use crate::log::history::{Split, prove};
use crate::log::{FollowStep, LogError, LogReader};
use crate::transport::Transport;

/// Bundles whose tiles are fetched together, and behind which the position is persisted.
const STRETCH: u64 = 16 * LOG_TILE_WIDTH as u64;

/// Of why entries are not read, as many characters are told.
const REASON: usize = 300;

/// What came of a round.
#[derive(Debug, Default)]
pub struct Round {
    /// The largest checkpoint that is proven.
    pub head: Option<TreeHead>,
    /// Entries that were looked at.
    pub entries: u64,
    /// Of them, states of the watched namespaces.
    pub leaves: u64,
    /// Alerts that were raised.
    pub raised: usize,
    /// Why the round ended early: the way to the log, or this machine. The next one goes on there.
    pub failure: Option<LogError>,
    /// There are more entries to look at: deliver what was found in these, then go on with another round at once.
    pub unfinished: bool,
}

/// What came of a checkpoint.
struct Accepted {
    /// When the log last did something, as far as this checkpoint shows.
    life: Option<Timestamp>,
    grown: bool,
}

impl Monitor {
    /// Looks at what is new in the log. What it finds is in the outbox, persisted, when this returns: [`Monitor::deliver`] it.
    ///
    /// # Errors
    /// The state cannot be written; the alerts wait all the same, in memory. A journal that cannot be read is the round's failure:
    /// nothing was judged without it.
    pub fn round(
        &mut self,
        reader: &LogReader<'_>,
        transport: &dyn Transport,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Round, LogError> {
        for (identity, name) in &terms.namespaces {
            let fresh = || Seen::new(name.clone());
            self.state.namespaces.entry(*identity).or_insert_with(fresh).name = name.clone();
        }
        let mut round = Round::default();
        let before = self.waiting();
        let complete = match self.advance(reader, transport, terms, now, &mut round) {
            Ok(complete) => complete,
            Err(error @ LogError::Stopped(_)) => return Err(error),
            Err(error) => {
                round.failure = Some(error);
                false
            }
        };
        self.overdue(terms, now);
        if complete || !round.unfinished {
            self.unread(complete, round.failure.as_ref(), terms, now);
        }
        self.age(terms, now);
        round.head = self.known.as_ref().map(|known| known.checkpoint().head());
        round.raised = self.waiting() - before;
        self.save(FollowStep::Position)?;
        Ok(round)
    }

    fn waiting(&self) -> usize {
        self.state.outbox.len() + usize::try_from(self.state.more).unwrap_or(usize::MAX)
    }

    /// Says whether every entry was looked at.
    fn advance(
        &mut self,
        reader: &LogReader<'_>,
        transport: &dyn Transport,
        terms: &Terms,
        now: Timestamp,
        round: &mut Round,
    ) -> Result<bool, LogError> {
        let newest = reader.checkpoint();
        // Everything that was signed for this checkpoint stands in the journals from here on.
        let made = terms.journals.read(&terms.namespaces.keys().copied().collect())?;
        let judge = Judge::new(transport, &made, terms.patience, now);
        // First: nothing that the log does afterwards keeps what it withheld from being asked for and raised.
        if !matches!(newest, Err(LogError::Transport(_))) {
            self.ask_again(&judge, terms);
        }
        let newest = match newest {
            Ok(newest) => newest,
            Err(error @ LogError::Transport(_)) => return Err(error),
            Err(error) => {
                self.condition(AlertKind::BadCheckpoint, Some(of_log("checkpoint", &error)), now);
                return Ok(false);
            }
        };
        let Some(accepted) = self.accept(reader, &newest, now)? else {
            return Ok(false);
        };
        judge.renew();
        let complete = self.read_on(reader, terms, &judge, round)?;
        if complete {
            // A log that hands out checkpoints and no entries shows no life.
            let life = (accepted.grown || round.entries > 0).then_some(now);
            self.state.grown = self.state.grown.max(life).max(accepted.life);
        }
        Ok(complete)
    }

    /// Judges a checkpoint, and proves it consistent with the known one. `None`: entries cannot be compared with it.
    fn accept(
        &mut self,
        reader: &LogReader<'_>,
        newest: &SignedCheckpoint,
        now: Timestamp,
    ) -> Result<Option<Accepted>, LogError> {
        let judged = self.log_only.verify(newest);
        let bad = judged.err().map(|e| of_log("checkpoint", &e));
        let is_bad = bad.is_some();
        self.condition(AlertKind::BadCheckpoint, bad, now);
        if is_bad {
            return Ok(None);
        }
        let witnessed = self.policy.verify(newest);
        let life = witnessed
            .as_ref()
            .ok()
            .and_then(|v| v.witnessed())
            .map(|w| w.time.min(now));
        self.condition(
            AlertKind::Witnesses,
            witnessed.err().map(|e| of_log("checkpoint", &e)),
            now,
        );
        let head = newest.checkpoint().head();
        let (larger, smaller) = match self.known.as_ref() {
            // A mirror or cache may be behind; what it shows must be a part of what is known all the same.
            Some(known) if known.checkpoint().head().size > head.size => {
                (known, std::slice::from_ref(newest))
            }
            Some(known) => (newest, std::slice::from_ref(known)),
            None => (newest, &[][..]),
        };
        match prove(reader, larger, smaller) {
            Ok(()) => {}
            Err(LogError::Split { split, .. }) => {
                let finding = self.split(&split)?;
                self.condition(AlertKind::Split, Some(finding), now);
                return Ok(None);
            }
            Err(error) => {
                // The log signed it: whatever it shows next must contain it, too.
                self.folder.set_aside(newest)?;
                if let LogError::Transport(error) = error {
                    return Err(error.into());
                }
                self.condition(AlertKind::Unproven, Some(of_log("log", &error)), now);
                return Ok(None);
            }
        }
        let split = match self.folder.settle(reader, larger) {
            Ok(()) => None,
            Err(LogError::Split { split, .. }) => Some(self.split(&split)?),
            Err(error) => return Err(error),
        };
        self.condition(AlertKind::Split, split, now);
        let grown = self
            .known
            .as_ref()
            .is_none_or(|known| known.checkpoint().head().size < head.size);
        if grown {
            self.state.checkpoint = Some(newest.to_string());
            self.known = Some(newest.clone());
            // Before any entry is compared with it: the next checkpoint must contain this one.
            self.save(FollowStep::Position)?;
        }
        Ok(Some(Accepted { life, grown }))
    }

    /// What is raised of two histories, whose evidence is kept first.
    fn split(&self, split: &Split) -> Result<Finding, LogError> {
        let path = self.folder.keep(split)?;
        let (older, newer) = split.heads();
        let expected = format!("root {} at size {}, as it signed", older.root, older.size);
        let found = format!(
            "root {} in its tree of {} entries, which it signed too",
            split.found(),
            newer.size
        );
        Ok(Finding {
            evidence: Some(path),
            ..Finding::new(AlertKind::Split, "log", expected, found)
        })
    }

    /// Looks at the entries between the position and the known checkpoint, a stretch at a time, until there is something to deliver.
    /// Says whether it looked at all.
    fn read_on(
        &mut self,
        reader: &LogReader<'_>,
        terms: &Terms,
        judge: &Judge<'_>,
        round: &mut Round,
    ) -> Result<bool, LogError> {
        let now = judge.now;
        let Some(head) = self.known.as_ref().map(|known| known.checkpoint().head()) else {
            return Ok(false);
        };
        let before = self.waiting();
        loop {
            let seen = self
                .state
                .namespaces
                .iter()
                .filter(|(identity, _)| terms.namespaces.contains_key(identity));
            let next = seen.map(|(_, seen)| seen.next).min().unwrap_or(head.size);
            if next >= head.size {
                break;
            }
            if round.entries > 0 && (self.waiting() > before || judge.is_long()) {
                round.unfinished = true;
                return Ok(false);
            }
            let end = head.size.min(next - next % STRETCH + STRETCH);
            let read = self.stretch(reader, head, (next, end), terms, judge, round);
            let end = match read {
                Ok(end) => end,
                Err(error @ LogError::Transport(_)) => return Err(error),
                Err(error) => {
                    self.condition(AlertKind::Unproven, Some(of_log("log", &error)), now);
                    return Ok(false);
                }
            };
            for (identity, seen) in &mut self.state.namespaces {
                if terms.namespaces.contains_key(identity) {
                    seen.next = seen.next.max(end);
                }
            }
            self.save(FollowStep::Position)?;
        }
        self.condition(AlertKind::Unproven, None, now);
        Ok(true)
    }

    /// The entries from `next` to `end`, or to where their files took long; says to where. A stretch that breaks off leaves the state
    /// as it was.
    fn stretch(
        &mut self,
        reader: &LogReader<'_>,
        head: TreeHead,
        (next, end): (u64, u64),
        terms: &Terms,
        judge: &Judge<'_>,
        round: &mut Round,
    ) -> Result<u64, LogError> {
        // The first bundle may begin before; it is fetched whole.
        let bundles = new_bundles(next, end);
        let first = bundles.iter().map(|bundle| Node {
            level: 0,
            index: bundle.start(),
        });
        let tiles = VerifiedTiles::read(reader, head, first)?;
        let watched: Vec<_> = terms
            .namespaces
            .keys()
            .map(|identity| (*identity, identity.to_hex()))
            .collect();
        let mut state: Option<State> = None;
        let mut findings: Vec<(Finding, Option<NamespaceName>)> = Vec::new();
        let (mut entries, mut leaves, mut reached) = (0, 0, end);
        'stretch: for bundle in bundles {
            let bytes = reader.bundle(bundle)?;
            for (index, entry) in (bundle.start()..).zip(tiles.entries(bundle, &bytes)?) {
                entries += u64::from(index >= next);
                let Some((identity, leaf)) = about(entry, &watched) else {
                    continue;
                };
                let state = state.get_or_insert_with(|| self.state.clone());
                let Some(seen) = state
                    .namespaces
                    .get_mut(&identity)
                    .filter(|seen| seen.next <= index)
                else {
                    continue;
                };
                leaves += 1;
                let name = Some(seen.name.clone());
                match leaf {
                    Ok(leaf) => {
                        let judged = judge.leaf(seen, index, &leaf);
                        judged.withheld.into_iter().for_each(|file| state.withhold(file));
                        state.tidy(identity);
                        findings.extend(judged.findings.into_iter().map(|finding| (finding, name.clone())));
                    }
                    Err(error) => {
                        let subject = format!("entry {index} of the log, which names the namespace");
                        let finding =
                            Finding::new(AlertKind::Unreadable, subject, "a leaf", error.to_string());
                        findings.push((finding, name));
                    }
                }
                if judge.is_long() {
                    reached = index + 1;
                    break 'stretch;
                }
            }
        }
        if let Some(state) = state {
            self.state = state;
        }
        for (finding, name) in findings {
            self.raise(finding, name.as_ref(), judge.now);
        }
        round.entries += entries;
        round.leaves += leaves;
        Ok(reached)
    }

    /// Asks again for what was withheld, first for what it did not come to the last time.
    fn ask_again(&mut self, judge: &Judge<'_>, terms: &Terms) {
        let (mut unasked, mut still, mut named) = (Vec::new(), Vec::new(), Vec::new());
        for mut file in std::mem::take(&mut self.state.withheld) {
            let Some(seen) = self.state.namespaces.get_mut(&file.namespace) else {
                continue;
            };
            if !terms.namespaces.contains_key(&file.namespace) {
                // Whoever watches it again looks at it from the beginning.
                seen.missed += 1;
                continue;
            }
            if judge.gave_up() {
                unasked.push(file);
                continue;
            }
            match judge.again(seen, &file) {
                Ok(Judged { findings, withheld }) => {
                    let name = seen.name.clone();
                    named.extend(withheld);
                    for finding in findings {
                        self.raise(finding, Some(&name), judge.now);
                    }
                }
                Err(found) => {
                    file.found = found;
                    still.push(file);
                }
            }
        }
        unasked.append(&mut still);
        self.state.withheld = unasked;
        named.into_iter().for_each(|file| self.state.withhold(file));
        for identity in terms.namespaces.keys() {
            self.state.tidy(*identity);
        }
        self.look_again(terms);
    }

    /// A namespace of which files were passed over is looked at from the beginning, once everything else of it is handed out and there
    /// is room to remember what still is not. What was raised before is raised again, under the same ids.
    fn look_again(&mut self, terms: &Terms) {
        if self.state.withheld.len() > WITHHELD / 2 {
            return;
        }
        for (identity, name) in &terms.namespaces {
            let waited_for = self.state.withheld.iter().any(|file| file.namespace == *identity);
            match self.state.namespaces.get_mut(identity) {
                Some(seen) if seen.missed > 0 && !waited_for => *seen = Seen::new(name.clone()),
                _ => {}
            }
        }
    }

    /// Raises what has been withheld for too long, and that more is withheld than is asked for again.
    fn overdue(&mut self, terms: &Terms, now: Timestamp) {
        let watched = |(identity, seen): (&Sha256Digest, &Seen)| {
            terms.namespaces.contains_key(identity).then_some(seen.missed)
        };
        let missed: u64 = self.state.namespaces.iter().filter_map(watched).sum();
        let known = self.state.withheld.len();
        let many = (missed > 0 || known >= WITHHELD).then(|| {
            let expected = format!("fewer than {WITHHELD} that the registry withholds");
            let found = format!("{known}, and {missed} further ones that are not asked for again");
            Finding::new(
                AlertKind::ManyWithheld,
                "files that the log names",
                expected,
                found,
            )
        });
        self.condition(AlertKind::ManyWithheld, many, now);
        let mut findings = Vec::new();
        for file in self.state.withheld.iter_mut().filter(|file| !file.raised) {
            if let Some(name) = terms.namespaces.get(&file.namespace)
                && now.duration_since(file.since) >= terms.grace
            {
                file.raised = true;
                findings.push((withheld(file), name));
            }
        }
        for (finding, name) in findings {
            self.raise(finding, Some(name), now);
        }
    }

    /// Raises that entries are not looked at, for whatever reason.
    fn unread(&mut self, complete: bool, failure: Option<&LogError>, terms: &Terms, now: Timestamp) {
        if complete {
            self.state.unread = None;
        }
        let since = (!complete).then(|| *self.state.unread.get_or_insert(now));
        let long = since.filter(|since| now.duration_since(*since) >= terms.grace);
        let finding = long.map(|since| {
            let found = match failure {
                Some(error) => error.to_string().chars().take(REASON).collect(),
                None => "a checkpoint or entries that do not hold".to_owned(),
            };
            let expected = format!("every entry looked at, as was possible until {since}");
            Finding::new(AlertKind::Unread, "log", expected, found)
        });
        self.condition(AlertKind::Unread, finding, now);
    }

    /// Raises that the log shows no sign of life: it neither grew nor was it cosigned.
    fn age(&mut self, terms: &Terms, now: Timestamp) {
        let Some(max) = terms.max_age else {
            self.state.standing.remove(&AlertKind::Stale);
            return;
        };
        // A log that was never reached is as old as this monitor.
        let since = *self.state.grown.get_or_insert(now);
        let age = now.duration_since(since);
        let finding = (age > max).then(|| {
            let expected = format!("a sign of life within {max:#}");
            Finding::new(
                AlertKind::Stale,
                "log",
                expected,
                format!("the last one at {since}"),
            )
        });
        self.condition(AlertKind::Stale, finding, now);
    }
}

fn withheld(file: &Withheld) -> Finding {
    let subject = assay_schema::tuf::metadata_file(&file.role, file.version);
    let expected = format!(
        "the file of SHA-256 {}, which the log names since {}",
        file.sha256, file.since
    );
    Finding::new(AlertKind::Withheld, subject, expected, &*file.found)
}

fn of_log(subject: &str, error: &dyn std::fmt::Display) -> Finding {
    let expected = "what the log's key, witnesses and tiles confirm";
    Finding::new(AlertKind::Unproven, subject, expected, error.to_string())
}

/// Whose leaf an entry is. Most are others', which their bytes tell without being parsed.
fn about(
    entry: &[u8],
    watched: &[(Sha256Digest, String)],
) -> Option<(Sha256Digest, Result<Leaf, LeafError>)> {
    let text = std::str::from_utf8(entry).ok()?;
    let (named, _) = watched.iter().find(|(_, hex)| text.contains(hex))?;
    match Leaf::parse(entry) {
        Ok(leaf) => {
            let (owner, _) = watched
                .iter()
                .find(|(identity, _)| *identity == leaf.namespace())?;
            Some((*owner, Ok(leaf)))
        }
        Err(error) => Some((*named, Err(error))),
    }
}
