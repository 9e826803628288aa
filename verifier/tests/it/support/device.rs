//! A device in memory: it persists what it is told to, restarts before every check, and counts its requests.

use std::collections::BTreeSet;

use assay_schema::verdict::{Refusal, StageOutcome};
use assay_schema::{Stage, Verdict};
use assay_verifier::{
    Answer, Approved, CachedBundle, CheckRequest, CheckStep, Checked, Consensus, DeviceState, Fetch, Pin,
    Route, Want, check,
};
use jiff::Timestamp;
use serde_json::Value;

use super::simulator::{Simulator, model, version};

/// Which way the metadata comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Bundle,
    Static,
}

pub(crate) const ROUTES: [By; 2] = [By::Bundle, By::Static];

#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) pin: Pin,
    /// The state as it lies on disk.
    pub(crate) disk: String,
    pub(crate) cached: Option<CachedBundle>,
    pub(crate) by: By,
    pub(crate) want: Want,
    pub(crate) require: BTreeSet<Stage>,
    pub(crate) consensus: Consensus,
    /// What the last check fetched.
    pub(crate) requests: Vec<Fetch>,
}

impl Device {
    pub(crate) fn new(sim: &Simulator, by: By) -> Self {
        let pin = sim.pin();
        let state = DeviceState::first(&pin, &sim.roots[0]).unwrap();
        Self {
            pin,
            disk: serde_json::to_string(&state).unwrap(),
            cached: None,
            by,
            want: Want::Highest,
            require: BTreeSet::new(),
            consensus: Consensus::none(),
            requests: Vec::new(),
        }
    }

    pub(crate) fn state(&self) -> DeviceState {
        serde_json::from_str(&self.disk).unwrap()
    }

    pub(crate) fn persist(&mut self, state: &DeviceState) {
        self.disk = serde_json::to_string(state).unwrap();
    }

    pub(crate) fn wants(mut self, text: &str) -> Self {
        self.want = Want::Version(version(text));
        self
    }

    pub(crate) fn request(&self) -> CheckRequest {
        let cached = self.cached.clone();
        CheckRequest {
            model: model(),
            want: self.want.clone(),
            route: match self.by {
                By::Bundle => Route::Bundle { cached },
                By::Static => Route::Static { cached },
            },
            require: self.require.clone(),
            consensus: self.consensus.clone(),
        }
    }

    /// One check against whatever answers.
    pub(crate) fn check_with(&mut self, now: Timestamp, mut serve: impl FnMut(&Fetch) -> Answer) -> Checked {
        self.requests.clear();
        let mut step = check(&self.pin.clone(), self.state(), self.request(), now);
        loop {
            step = match step {
                CheckStep::Fetch(waiting) => {
                    assert!(self.requests.len() < 300, "a check must end");
                    self.requests.push(waiting.wanted().clone());
                    let answer = serve(waiting.wanted());
                    waiting.answer(answer)
                }
                CheckStep::Persist(waiting) => {
                    self.persist(&waiting.state().clone());
                    waiting.persisted()
                }
                CheckStep::Done(checked) => {
                    if let Checked::Permitted(approved) = &checked {
                        self.cached = approved.bundle().cloned();
                    }
                    return checked;
                }
            };
        }
    }

    /// One check against the registry, at its time.
    pub(crate) fn check(&mut self, sim: &Simulator) -> Checked {
        self.check_with(sim.now, |fetch| sim.serve(fetch))
    }

    /// A check that must permit.
    pub(crate) fn permitted(&mut self, sim: &Simulator) -> Box<Approved> {
        permit(self.check(sim))
    }

    /// A check that must refuse: the stage and the code.
    pub(crate) fn refused(&mut self, sim: &Simulator) -> (Stage, String) {
        refuse(self.check(sim))
    }

    /// As after a pull: the release's order is this device's floor.
    pub(crate) fn activate(&mut self, approved: &Approved) {
        let mut state = self.state();
        let manifest = approved.manifest();
        state.raise_floor(&manifest.model, manifest.order, approved.manifest_digest());
        self.persist(&state);
    }
}

pub(crate) fn permit(checked: Checked) -> Box<Approved> {
    match checked {
        Checked::Permitted(approved) => approved,
        Checked::Refused(verdict) | Checked::Deferred(verdict) => {
            panic!("expected a permit, found {verdict:#?}")
        }
    }
}

pub(crate) fn refuse(checked: Checked) -> (Stage, String) {
    match checked {
        Checked::Refused(verdict) => decided(&verdict),
        Checked::Permitted(approved) => panic!("expected a refusal, found {:#?}", approved.verdict()),
        Checked::Deferred(verdict) => panic!("expected a refusal, found {verdict:#?}"),
    }
}

pub(crate) fn decided(verdict: &Verdict) -> (Stage, String) {
    assert_eq!(verdict.outcome, assay_schema::Outcome::Refuse);
    let (stage, refusal) = verdict.refusal().expect("a refusal names its reason");
    let Refusal {
        expected,
        found,
        advice,
        subject,
        ..
    } = refusal;
    for part in [expected, found, advice, subject] {
        assert!(
            !part.is_empty(),
            "every refusal says what, expected, found and what to do: {refusal:?}"
        );
    }
    (stage, refusal.code.clone())
}

pub(crate) fn outcome(verdict: &Verdict, stage: Stage) -> &StageOutcome {
    &verdict.stage(stage).unwrap().outcome
}

pub(crate) fn code(stage: Stage, code: &str) -> (Stage, String) {
    (stage, code.to_owned())
}

fn signed(text: Option<&String>) -> Option<Value> {
    let file: Value = serde_json::from_str(text?).unwrap();
    Some(file["signed"].clone())
}

/// What the device trusts never goes back while its root is the same.
pub(crate) fn no_rollback(before: &DeviceState, after: &DeviceState) {
    for (model, floor) in &before.floors {
        assert!(after.floors[model] >= *floor);
    }
    let root = |state: &DeviceState| signed(Some(&state.root)).unwrap()["version"].as_u64().unwrap();
    assert!(root(after) >= root(before));
    if root(after) > root(before) {
        return;
    }
    if let Some(old) = signed(before.timestamp.as_ref()) {
        let new = signed(after.timestamp.as_ref()).unwrap();
        assert!(new["version"].as_u64() >= old["version"].as_u64());
    }
    if let Some(old) = signed(before.snapshot.as_ref()) {
        let new = signed(after.snapshot.as_ref()).unwrap();
        for (file, meta) in old["meta"].as_object().unwrap() {
            assert!(
                new["meta"][file]["version"].as_u64() >= meta["version"].as_u64(),
                "{file}"
            );
        }
    }
}
