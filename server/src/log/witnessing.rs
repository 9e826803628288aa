//! What this registry knows of its witnesses: who is prompt, whose answer is awaited, and which size all of them are asked for.
//!
//! A device wants its k witnesses under *one* checkpoint, and witnesses that each cosigned another size are of no use to it. So all
//! are asked for one size, the *round's*. The next round begins, with what is published by then, when every prompt witness has
//! cosigned, and after [`PROMPT`] in any case: whoever is late joins a later round and keeps nobody waiting. Registries on one
//! database meet in the largest size that a witness cosigned.
//!
//! Nothing here is durable or trusted: what was cosigned stands in the database.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use assay_log::VerifierKey;
use tokio::sync::watch;

use crate::config::WitnessConfig;

/// A witness whose answer takes longer is waited for by nobody but the loop that asked it.
pub const PROMPT: Duration = Duration::from_secs(1);

/// The witnesses of the configuration.
#[derive(Debug)]
pub struct Witnessing {
    witnesses: Vec<Arc<Witness>>,
    keys: Vec<VerifierKey>,
    round: Mutex<Round>,
    news: watch::Sender<()>,
    client: OnceLock<reqwest::Client>,
}

#[derive(Debug)]
struct Round {
    size: u64,
    began: Instant,
}

/// One witness.
#[derive(Debug)]
pub struct Witness {
    /// Where it is, and its key.
    pub config: WitnessConfig,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
struct Standing {
    /// The largest size that it is known to have cosigned.
    cosigned: u64,
    /// Its last answer was of use and came in time. Every witness begins with this trust.
    prompt: bool,
    /// Since when an answer is awaited.
    asked: Option<Instant>,
    /// How often in a row it named a size whose cosignature nobody has.
    unshown: u32,
}

/// A lock's data are numbers: whatever a panicking holder left of them is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Witness {
    /// An answer is awaited from now on.
    pub(super) fn asked(&self) {
        lock(&self.standing).asked = Some(Instant::now());
    }

    /// What came of it: whether the answer was of use.
    pub(super) fn answered(&self, useful: bool) {
        let mut standing = lock(&self.standing);
        let in_time = standing.asked.take().is_none_or(|since| since.elapsed() < PROMPT);
        standing.prompt = useful && in_time;
    }

    /// It named a size that it says it cosigned, and no cosignature shows it: how often in a row.
    pub(super) fn names_unshown(&self) -> u32 {
        let mut standing = lock(&self.standing);
        standing.unshown = standing.unshown.saturating_add(1);
        standing.unshown
    }

    /// A cosignature shows what it says.
    pub(super) fn has_shown(&self) {
        lock(&self.standing).unshown = 0;
    }

    /// It has cosigned this size.
    pub(super) fn has_cosigned(&self, size: u64) {
        let mut standing = lock(&self.standing);
        standing.cosigned = standing.cosigned.max(size);
    }

    /// The largest size that it is known to have cosigned.
    pub fn cosigned(&self) -> u64 {
        lock(&self.standing).cosigned
    }

    /// Whether it is likely to cosign this size, or a larger one, soon.
    fn is_about_to_cosign(&self, size: u64) -> bool {
        let standing = lock(&self.standing);
        let late = standing.asked.is_some_and(|since| since.elapsed() >= PROMPT);
        standing.cosigned < size && standing.prompt && !late
    }
}

impl Witnessing {
    /// The witnesses of a configuration, which has been judged.
    pub fn new(witnesses: &[WitnessConfig]) -> Self {
        let standing = || Standing {
            cosigned: 0,
            prompt: true,
            asked: None,
            unshown: 0,
        };
        Self {
            keys: witnesses.iter().map(|witness| witness.key.clone()).collect(),
            witnesses: witnesses
                .iter()
                .map(|config| {
                    Arc::new(Witness {
                        config: config.clone(),
                        standing: Mutex::new(standing()),
                    })
                })
                .collect(),
            round: Mutex::new(Round {
                size: 0,
                began: Instant::now(),
            }),
            news: watch::Sender::new(()),
            client: OnceLock::new(),
        }
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Witness>] {
        &self.witnesses
    }

    /// Their keys.
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// What asks them; it keeps connections, and follows no redirection.
    ///
    /// # Errors
    /// The system's certificates cannot be read.
    pub(super) fn client(&self) -> reqwest::Result<&reqwest::Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("assay-server/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Something was published or cosigned: loops look at once instead of at their next look.
    pub(super) fn tell(&self) {
        self.news.send_replace(());
    }

    /// Hears of [`Witnessing::tell`].
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// The size that every witness is asked for now, where `published` is published and `cosigned` is the largest that a witness
    /// cosigned, perhaps for another registry.
    pub(super) fn round(&self, published: u64, cosigned: u64) -> u64 {
        let mut round = lock(&self.round);
        let over = |round: &Round| round.began.elapsed() >= PROMPT || !self.may_grow(round.size);
        let next = match published > round.size && over(&round) {
            true => published.max(cosigned),
            false => cosigned,
        };
        if next > round.size {
            *round = Round {
                size: next,
                began: Instant::now(),
            };
        }
        round.size
    }

    /// Whether a witness is likely to cosign this size, or a larger one, soon: then it is worth the wait. One that is down or slow is
    /// not waited for.
    pub fn may_grow(&self, size: u64) -> bool {
        self.witnesses
            .iter()
            .any(|witness| witness.is_about_to_cosign(size))
    }
}

#[cfg(test)]
mod tests {
    use assay_log::note::KeyName;

    use super::*;

    fn three() -> Witnessing {
        let witness = |byte: u8| {
            let public = ed25519_dalek::SigningKey::from_bytes(&[byte; 32]).verifying_key();
            let name = KeyName::new(&format!("w{byte}")).unwrap();
            WitnessConfig {
                url: "https://w.example".parse().unwrap(),
                key: VerifierKey::witness(name, &public.to_bytes()).unwrap(),
                timeout_seconds: 10,
            }
        };
        Witnessing::new(&[1, 2, 3].map(witness))
    }

    fn cosigns(witness: &Witness, size: u64) {
        witness.asked();
        witness.has_cosigned(size);
        witness.answered(true);
    }

    #[test]
    fn a_round_lasts_until_every_prompt_witness_has_cosigned() {
        let all = three();
        let [a, b, c] = all.all() else { panic!() };
        assert_eq!(all.round(10, 0), 10);
        cosigns(a, 10);
        cosigns(b, 10);
        assert_eq!(all.round(20, 10), 10, "one is still to come");
        assert!(all.may_grow(10));
        cosigns(c, 10);
        assert!(!all.may_grow(10));
        assert_eq!(all.round(20, 10), 20);
    }

    #[test]
    fn a_witness_that_is_down_is_not_waited_for_until_it_answers_again() {
        let all = three();
        let [a, b, c] = all.all() else { panic!() };
        assert_eq!(all.round(10, 0), 10);
        c.asked();
        c.answered(false);
        cosigns(a, 10);
        cosigns(b, 10);
        assert!(!all.may_grow(10));
        assert_eq!(all.round(20, 10), 20);
        cosigns(c, 20);
        assert!(all.may_grow(20), "the other two");
        cosigns(a, 20);
        cosigns(b, 20);
        assert_eq!(all.round(30, 20), 30);
        cosigns(a, 30);
        cosigns(b, 30);
        assert_eq!(all.round(40, 30), 30, "the third is prompt again");
    }

    #[test]
    fn an_answer_that_takes_long_is_waited_for_by_nobody() {
        let all = three();
        let [a, ..] = all.all() else { panic!() };
        let long_ago = Instant::now().checked_sub(PROMPT).unwrap();
        for other in all.all() {
            cosigns(other, 10);
        }
        lock(&a.standing).asked = Some(long_ago);
        assert!(!a.is_about_to_cosign(20));
        a.answered(true);
        assert!(!a.is_about_to_cosign(20), "it came, but late");
        cosigns(a, 20);
        assert!(a.is_about_to_cosign(30));
    }

    #[test]
    fn a_round_ends_by_itself() {
        let all = three();
        assert_eq!(all.round(10, 0), 10);
        assert_eq!(all.round(20, 0), 10);
        lock(&all.round).began = Instant::now().checked_sub(PROMPT).unwrap();
        assert_eq!(all.round(20, 0), 20);
    }

    #[test]
    fn what_another_registry_had_cosigned_is_the_round_of_all() {
        let all = three();
        assert_eq!(all.round(10, 0), 10);
        assert_eq!(all.round(10, 15), 15);
        assert_eq!(all.round(15, 10), 15, "a round never shrinks");
    }
}
