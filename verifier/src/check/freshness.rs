//! Stage 2: how old the state is that a verdict rests on, and clocks that are behind what witnesses confirmed.

use assay_schema::ModelName;
use assay_schema::Stage;
use assay_schema::verdict::Refusal;
use assay_trust::error::length;
use assay_trust::{AsOf, DeviceState, Pin};
use jiff::{SignedDuration, Timestamp};

use super::Context;
use crate::report::refusal;

/// What is wrong with a clock that is behind the time floor.
pub(super) fn behind(clock: Timestamp, floor: Timestamp) -> Option<String> {
    (clock < floor).then(|| {
        format!(
            "this device's clock says {clock}, {} before {floor}, a time that the log's witnesses confirmed: set the clock; until \
             then {floor} counts",
            length(floor.duration_since(clock))
        )
    })
}

impl Context {
    /// Takes down as of when the state is, and refuses one that is older than the device's owner lets it be.
    pub(super) fn known_as_of(&mut self, as_of: AsOf) -> Option<Refusal> {
        let time = as_of.time();
        self.as_of = Some(time);
        let (key, what) = match as_of {
            AsOf::Issued(_) => ("state_as_of", "was signed"),
            AsOf::Seen(_) => (
                "state_known_since",
                "was first seen by this device; it does not say when it was signed",
            ),
        };
        self.reports.evidence(Stage::Freshness, key, time);
        let found = |age| format!("its timestamp {what} at {time}, {age} ago");
        too_old(self.pin.terms.max_stale, Some(time), self.now, found, ONLINE)
    }
}

const ONLINE: &str = "The registry shows an old state, or something on the way does: try again, or another registry or mirror. If an \
     honest registry signs its timestamps less often than that (half of its `timestamp_hours`), ask its operator to shorten them, or \
     allow more: `assay trust set NAMESPACE --max-stale 2d`. What is active stays active.";

const OFFLINE: &str = "Ask the registry: `assay check` or `assay update`, then try again. To allow more, `assay trust set NAMESPACE \
     --max-stale 7d`.";

/// Whether what a device knows of a model without asking anybody is older than its owner lets it be.
///
/// # Errors
/// It is, or no check has ever let the model pass since the device takes that down.
pub fn check_age(
    pin: &Pin,
    state: &DeviceState,
    model: &ModelName,
    clock: Timestamp,
) -> Result<(), Box<Refusal>> {
    let last = state.fresh.get(model).copied();
    let now = state.judged(clock);
    let found = |age| match last {
        Some(time) => format!("the last check that let it pass rests on a state of {time}, {age} ago"),
        None => "no check that let it pass is known".to_owned(),
    };
    match too_old(pin.terms.max_stale, last, now, found, OFFLINE) {
        Some(mut refusal) => {
            refusal.subject = model.to_string();
            if let Some(wrong) = state.time_floor.and_then(|floor| behind(clock, floor)) {
                refusal.advice = format!("{} Mind that {wrong}.", refusal.advice);
            }
            Err(Box::new(refusal))
        }
        None => Ok(()),
    }
}

fn too_old(
    bound: Option<SignedDuration>,
    as_of: Option<Timestamp>,
    now: Timestamp,
    found: impl Fn(String) -> String,
    advice: &str,
) -> Option<Refusal> {
    let bound = bound?;
    let age = as_of.map(|time| now.duration_since(time));
    if age.is_some_and(|age| age <= bound) {
        return None;
    }
    let expected = format!(
        "a state that is at most {} old, as this device's owner demands",
        length(bound)
    );
    Some(refusal(
        "stale",
        "timestamp",
        expected,
        found(age.map(length).unwrap_or_default()),
        advice,
    ))
}
