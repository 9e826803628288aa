//! The table of attacks in `SECURITY.md`, one test for each row, named after the attack. What each row's attempts showed a device, and
//! what the device made of it, also lies in `verifier/tests/vectors/attacks.json`, which other builds of the verifier run.

mod delivery;
mod keys;
mod log;
mod names;
mod time;
mod vectors;

use assay_schema::Stage;
use assay_verifier::{Answer, Checked, Fetch};
use jiff::Timestamp;

use crate::support::testlog::TestLog;
use crate::support::*;

/// A namespace, and a device that has activated its release 1.0.0.
#[derive(Clone)]
struct Scene {
    honest: Simulator,
    device: Device,
}

/// What it takes until a device that was attacked goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heals {
    /// The next honest answer.
    AtOnce,
    /// New online keys: the stolen ones signed version numbers that are floors now (TUF 5.3.11).
    ByRotation,
}

impl Scene {
    fn new(by: By) -> Self {
        Self::of(Simulator::new(), by)
    }

    fn of(honest: Simulator, by: By) -> Self {
        let mut device = Device::new(&honest, by);
        let approved = device.permitted(&honest);
        device.activate(&approved);
        Self { honest, device }
    }

    /// The device refuses what this registry serves, keeps its floors, and believes the honest one afterwards.
    fn refuses(&self, what: &str, evil: &Simulator, expected: (Stage, &str), heals: Heals) {
        self.refuses_answers(what, evil.now, |fetch| evil.serve(fetch), expected, heals);
    }

    fn refuses_answers(
        &self,
        what: &str,
        now: Timestamp,
        serve: impl FnMut(&Fetch) -> Answer,
        (stage, code): (Stage, &str),
        heals: Heals,
    ) {
        let mut device = self.device.clone();
        let checked = vectors::recorded(what, &mut device, now, serve);
        assert_eq!(
            refuse(checked),
            (stage, code.to_owned()),
            "{what} {:?}",
            device.by
        );
        no_rollback(&self.device.state(), &device.state());
        let mut honest = self.honest.clone();
        honest.now = honest.now.max(now);
        match heals {
            Heals::AtOnce => honest.renew(),
            Heals::ByRotation => honest.rotate("timestamp"),
        }
        assert_eq!(
            device.permitted(&honest).manifest().version,
            self.honest.releases.last().unwrap().version,
            "{what}: the honest registry is believed again"
        );
    }

    /// The device takes what this registry serves: `version`, and nothing else.
    fn permits(&self, what: &str, registry: &Simulator, version: &str) -> Device {
        let mut device = self.device.clone();
        let checked = vectors::recorded(what, &mut device, registry.now, |fetch| registry.serve(fetch));
        assert_eq!(
            permit(checked).manifest().version.as_str(),
            version,
            "{what} {:?}",
            device.by
        );
        device
    }
}

/// The same with a log, which must show every state.
#[derive(Clone)]
struct LoggedScene {
    honest: Simulator,
    log: TestLog,
    device: Device,
}

impl LoggedScene {
    fn checks(&self, what: &str, device: &mut Device, registry: &Simulator, log: &TestLog) -> Checked {
        vectors::recorded(what, device, registry.now, |fetch| log.serve(registry, fetch))
    }

    /// The device refuses what this registry and log show, keeps all that it has, and goes on with the honest ones.
    fn refuses(&self, what: &str, evil: &Simulator, shown: &TestLog, (stage, code): (Stage, &str)) {
        let mut device = self.device.clone();
        let checked = self.checks(what, &mut device, evil, shown);
        assert_eq!(
            refuse(checked),
            (stage, code.to_owned()),
            "{what} {:?}",
            device.by
        );
        no_rollback(&self.device.state(), &device.state());
        assert_eq!(
            device.state().log,
            self.device.state().log,
            "{what}: the checkpoint stays"
        );
    }
}
