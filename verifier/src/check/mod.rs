//! Stages 1 to 5: from a pinned root to a release whose maker is known and whose state is in the log.
//!
//! [`check`] begins; every [`CheckStep`] is answered with what came of it, until it is [`CheckStep::Done`]. What is newly trusted
//! is persisted before anything else is asked for, so that no crash forgets it. Where the owner's trust policy names other authorities,
//! the same machine then asks each of them: a driver must look at whose resource is wanted, and whose state is to be persisted.

mod endorsement;
mod freshness;
mod log;
mod phase;
mod provenance;
mod release;
mod status;

use std::collections::BTreeSet;

use assay_schema::status::Status;
use assay_schema::verdict::{Refusal, Subject};
use assay_schema::{CheckBundle, NamespaceName, Stage, Verdict, limits};
use assay_trust::{DeviceState, Pin, Roots};
use jiff::Timestamp;

use crate::approved::Approved;
use crate::prefetch::{self, Bases, Prefetch, Used};
use crate::report::{Reports, refusal};
use crate::request::{Answer, CachedBundle, CheckRequest, Fetch, Resource, Route, Want};
use endorsement::Gathering;
pub use freshness::check_age;
use phase::Phase;

pub use provenance::{judge_signature, judge_statement};

/// What the machine needs next.
#[derive(Debug)]
pub enum CheckStep {
    /// Get something and answer with it.
    Fetch(AwaitFetch),
    /// Persist the device's state (durable step S1) and say so.
    Persist(AwaitPersist),
    /// The end.
    Done(Checked),
}

/// How a check ended.
#[derive(Debug)]
pub enum Checked {
    /// Stages 1 to 6 let the release pass: it may be pulled.
    Permitted(Box<Approved>),
    /// They did not.
    Refused(Box<Verdict>),
    /// Not now.
    Deferred(Box<Verdict>),
}

/// Waiting for the answer to a fetch.
#[derive(Debug)]
pub struct AwaitFetch {
    fetch: Fetch,
    machine: Box<Machine>,
}

/// Waiting until the state is persisted.
#[derive(Debug)]
pub struct AwaitPersist {
    namespace: NamespaceName,
    state: Box<DeviceState>,
    next: Box<CheckStep>,
}

impl AwaitFetch {
    /// Whose it is, by the name of its pin: the checked model's namespace, or another authority's.
    pub fn namespace(&self) -> &NamespaceName {
        &self.machine.ctx.pin.namespace
    }

    /// What to get.
    pub fn wanted(&self) -> &Fetch {
        &self.fetch
    }

    /// Goes on with what came of it.
    pub fn answer(self, answer: Answer) -> CheckStep {
        let answer = match answer {
            // A driver that reads on is not trusted to have counted.
            Answer::Found { bytes, .. } if bytes.len() as u64 > self.fetch.max => Answer::Failed {
                reason: format!(
                    "the answer has {} bytes, more than {}",
                    bytes.len(),
                    self.fetch.max
                ),
            },
            other => other,
        };
        self.machine.answered(&self.fetch, answer)
    }
}

impl AwaitPersist {
    /// Whose state it is, by the name of its pin.
    pub fn namespace(&self) -> &NamespaceName {
        &self.namespace
    }

    /// What to persist.
    pub fn state(&self) -> &DeviceState {
        &self.state
    }

    /// Goes on, the state being safely on disk.
    pub fn persisted(self) -> CheckStep {
        *self.next
    }
}

/// The machine between two steps.
#[derive(Debug)]
struct Machine {
    ctx: Context,
    phase: Phase,
}

/// What every phase shares.
#[derive(Debug)]
struct Context {
    pin: Pin,
    request: CheckRequest,
    now: Timestamp,
    reports: Reports,
    /// What the last check used, as far as it can be read. A damaged one costs requests, nothing else.
    kept: Option<CheckBundle>,
    prefetch: Prefetch,
    used: Used,
    etag: Option<String>,
    /// The registry said that what the last check kept still is right, and so that is what is judged.
    rests_on_kept: bool,
    /// What the authority restricts, where it has a status.
    status: Option<Status>,
    /// What the driver persisted last.
    persisted: DeviceState,
    /// What the device's clock says; `now` is its time floor where that is later.
    clock: Timestamp,
    /// As of when the state is that this check rests on.
    as_of: Option<Timestamp>,
    /// This run has followed as many roots as it may; the next one goes on from the last of them.
    more_roots: bool,
    goal: Goal,
    /// Raw bytes of the keys with which the namespace speaks for the release; only where other authorities are asked.
    keys: BTreeSet<Vec<u8>>,
}

/// What a namespace is asked for.
#[derive(Debug)]
enum Goal {
    /// A release of its own.
    Release,
    /// Whether it lists a release of another namespace's.
    Endorsement(Box<Gathering>),
}

/// What a phase came to.
enum Flow {
    /// Another phase.
    Next(Phase),
    /// A resource is needed first; the phase takes it up again.
    Need(Phase, Fetch),
    /// The release passed.
    Pass(Box<release::Passed>),
    /// A stage refused.
    Stop(Stage, Refusal, DeviceState),
    /// The check begins once more from this state, which differs in what decides about the next root.
    Again(DeviceState),
    /// A stage deferred.
    Wait(Stage, Timestamp, String, DeviceState),
}

/// Begins a check of one model at the device's time `now`.
pub fn check(pin: &Pin, state: DeviceState, request: CheckRequest, now: Timestamp) -> CheckStep {
    let subject = Subject {
        namespace: pin.namespace.clone(),
        identity: pin.identity,
        model: request.model.clone(),
        version: None,
        order: None,
        manifest: None,
    };
    let mut reports = Reports::new(subject, now, request.require.clone());
    reports.evidence(Stage::TrustRoot, "identity", pin.identity);
    if pin.first_use {
        reports.evidence(
            Stage::TrustRoot,
            "trust_on_first_use",
            "the identity was taken from the registry itself",
        );
    }
    let ctx = Context::new(pin.clone(), &state, request, now, reports, Goal::Release);
    let now = ctx.now;
    if now.as_second() < limits::EARLIEST_CREDIBLE_TIME {
        let earliest = Timestamp::from_second(limits::EARLIEST_CREDIBLE_TIME).unwrap_or(Timestamp::MAX);
        let wrong = refusal(
            "wrong-clock",
            "this device's clock",
            format!("a time after {earliest}, when this software was made"),
            now,
            "Set the clock; without the time nobody can tell fresh metadata from old.",
        );
        return ctx.stop(Stage::Freshness, wrong, state);
    }
    ctx.begin(state)
}

impl Context {
    /// A check of what a namespace says, from this state, when the device's clock says `clock`.
    fn new(
        pin: Pin,
        state: &DeviceState,
        request: CheckRequest,
        clock: Timestamp,
        reports: Reports,
        goal: Goal,
    ) -> Self {
        Self {
            pin,
            request,
            now: state.judged(clock),
            clock,
            as_of: None,
            more_roots: false,
            reports,
            kept: None,
            prefetch: Prefetch::default(),
            used: Used::default(),
            etag: None,
            rests_on_kept: false,
            status: None,
            persisted: state.clone(),
            goal,
            keys: BTreeSet::new(),
        }
    }

    fn begin(mut self, state: DeviceState) -> CheckStep {
        if let Some(floor) = state.time_floor {
            self.reports.evidence(Stage::Freshness, "time_floor", floor);
            if let Some(wrong) = freshness::behind(self.clock, floor) {
                self.reports.evidence(Stage::Freshness, "clock", wrong);
            }
        }
        let roots = match Roots::open(&self.pin, state, self.clock) {
            Ok(roots) => roots,
            Err(failure) => return self.stop(Stage::TrustRoot, failure.error.refusal(), failure.state),
        };
        let cached = self.request.route.cached();
        let etag = cached.and_then(|c| c.etag.clone());
        self.kept = cached.and_then(|c| prefetch::read(&c.bytes).ok());
        let Route::Bundle { .. } = &self.request.route else {
            self.use_kept();
            let phase = Phase::Roots(roots, 0);
            return Machine { ctx: self, phase }.run();
        };
        let version = match &self.request.want {
            Want::Highest => None,
            Want::Version(version) => Some(version.clone()),
        };
        let state = roots.state();
        let bases = Bases {
            snapshot: state.snapshot.as_deref(),
            kept: self.kept.as_ref(),
        };
        let have = bases.held(&self.request.model);
        let log = state.log.as_ref().map(|log| log.head.size);
        let (model, root) = (self.request.model.clone(), roots.version());
        let resource = match &self.goal {
            Goal::Release => Resource::Bundle {
                model,
                version,
                root,
                log,
                have,
            },
            Goal::Endorsement(gathering) => Resource::Endorsement {
                model,
                block: gathering.role().block,
                root,
                log,
                have,
            },
        };
        let fetch = Fetch {
            resource,
            max: limits::MAX_BUNDLE,
            // Unchanged is only what can be read.
            etag: etag.filter(|_| self.kept.is_some()),
        };
        self.need(Phase::Bundle(roots), fetch)
    }

    /// Files of the last check stand in for those that are pinned alike.
    fn use_kept(&mut self) {
        if let Some(kept) = self.kept.clone() {
            self.prefetch = Prefetch::kept(kept);
        }
    }

    /// Begins the check once more, without what was kept: it is refused, though the registry calls it unchanged, and may be damaged,
    /// or the answer wrong; or it is not what the next root goes with.
    fn begin_without_kept(mut self, state: DeviceState) -> CheckStep {
        self.rests_on_kept = false;
        self.request.route = match self.request.route {
            Route::Bundle { .. } => Route::Bundle { cached: None },
            Route::Static { .. } => Route::Static { cached: None },
        };
        self.prefetch = Prefetch::default();
        self.used = Used::default();
        self.etag = None;
        self.status = None;
        self.as_of = None;
        self.reports.restart();
        self.begin(state)
    }
}

impl Machine {
    fn run(self) -> CheckStep {
        let Self { mut ctx, mut phase } = self;
        loop {
            phase = match phase.step(&mut ctx) {
                Flow::Next(next) => next,
                other => return ctx.follow(other),
            };
        }
    }

    fn answered(self, fetch: &Fetch, answer: Answer) -> CheckStep {
        let Self { mut ctx, phase } = self;
        let flow = phase.answered(&mut ctx, fetch, answer);
        ctx.follow(flow)
    }
}

impl Context {
    fn follow(mut self, flow: Flow) -> CheckStep {
        match flow {
            Flow::Next(phase) => Machine { ctx: self, phase }.run(),
            Flow::Need(phase, fetch) => self.need(phase, fetch),
            Flow::Pass(passed) => self.pass(*passed),
            Flow::Stop(_, _, state) if self.rests_on_kept => self.begin_without_kept(state),
            Flow::Again(state) => self.begin_without_kept(state),
            Flow::Stop(stage, refusal, state) => self.stop(stage, refusal, state),
            // Only a release's manifest defers, which no other authority is asked for.
            Flow::Wait(stage, until, reason, mut state) => {
                self.reports.defer(stage, until, reason);
                // What is active stays, and is known to be as fresh as that.
                if let Some(as_of) = self.as_of {
                    state.prove_fresh(&self.request.model, as_of);
                }
                let verdict = Box::new(self.reports.verdict());
                let step = CheckStep::Done(Checked::Deferred(verdict));
                self.leave(state.settle(), step)
            }
        }
    }

    fn need(mut self, phase: Phase, fetch: Fetch) -> CheckStep {
        let state = phase.state().clone();
        let changed = state != self.persisted;
        self.persisted = state.clone();
        let namespace = self.pin.namespace.clone();
        let step = CheckStep::Fetch(AwaitFetch {
            fetch,
            machine: Box::new(Machine { ctx: self, phase }),
        });
        persist_first(changed, namespace, state, step)
    }

    fn stop(mut self, stage: Stage, refusal: Refusal, state: DeviceState) -> CheckStep {
        // Roots that no log has confirmed are not kept, but for those from which the next run has to go on.
        let state = match self.more_roots {
            true => state,
            false => state.settle(),
        };
        let step = match std::mem::replace(&mut self.goal, Goal::Release) {
            Goal::Release => {
                self.reports.refuse(stage, refusal);
                CheckStep::Done(Checked::Refused(Box::new(self.reports.verdict())))
            }
            Goal::Endorsement(gathering) => gathering.nothing(stage, refusal),
        };
        self.leave(state, step)
    }

    fn pass(mut self, mut passed: release::Passed) -> CheckStep {
        if let Some(as_of) = self.as_of {
            passed.state.prove_fresh(&self.request.model, as_of);
        }
        let state = passed.state.clone();
        let step = match std::mem::replace(&mut self.goal, Goal::Release) {
            Goal::Release => self.pass_release(passed),
            Goal::Endorsement(gathering) => {
                let (keys, bundle) = (std::mem::take(&mut self.keys), self.used_bundle());
                gathering.signed(&mut self.reports, keys, bundle)
            }
        };
        self.leave(state, step)
    }

    fn pass_release(&mut self, passed: release::Passed) -> CheckStep {
        // Content is stage 8, which only a pull or a verification can pass.
        if self.reports.enforce(&[Stage::Plan, Stage::Content]) {
            return CheckStep::Done(Checked::Refused(Box::new(self.reports.verdict())));
        }
        let bundle = self.used_bundle();
        let consensus = std::mem::take(&mut self.request.consensus);
        if let Some(demanded) = consensus.demanded() {
            return Gathering::begin(demanded, self, passed, bundle);
        }
        let approved = Approved {
            manifest: passed.manifest,
            bytes: passed.bytes,
            digest: passed.digest,
            state: passed.state,
            bundle,
            reports: self.reports.clone(),
            endorsements: Vec::new(),
        };
        CheckStep::Done(Checked::Permitted(Box::new(approved)))
    }

    /// What to keep for the next check.
    fn used_bundle(&mut self) -> Option<CachedBundle> {
        // Serialising strings and digests cannot fail; without a cache the next check only fetches more.
        let used = std::mem::take(&mut self.used);
        serde_json::to_vec(&used.bundle()).ok().map(|bytes| CachedBundle {
            etag: self.etag.take(),
            bytes,
        })
    }

    /// The end of this namespace's walk.
    fn leave(self, state: DeviceState, next: CheckStep) -> CheckStep {
        let changed = state != self.persisted;
        persist_first(changed, self.pin.namespace, state, next)
    }
}

fn persist_first(changed: bool, namespace: NamespaceName, state: DeviceState, step: CheckStep) -> CheckStep {
    match changed {
        true => CheckStep::Persist(AwaitPersist {
            namespace,
            state: Box::new(state),
            next: Box::new(step),
        }),
        false => step,
    }
}
