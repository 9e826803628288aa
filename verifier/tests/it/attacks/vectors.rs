//! What every attack showed a device, as data: `verifier/tests/vectors/attacks.json`. Keys and times are fixed, so that the file can be
//! made anew (`ASSAY_BLESS=1`); the verifier in wasm runs it under Node and must come to the same (`wasm/tests/attacks.test.mjs`).

use std::cell::RefCell;
use std::collections::BTreeMap;

use assay_verifier::{Answer, Checked, Fetch, Route, Want};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::{delivery, keys, log, names, time};
use crate::support::keys::number_keys_from;
use crate::support::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/attacks.json");

/// Every row that shows a device metadata.
const ATTACKS: [(&str, fn()); 24] = [
    ("arbitrary_install", keys::arbitrary_install),
    ("rollback", time::rollback),
    ("freeze", time::freeze),
    ("fast_forward", time::fast_forward),
    ("mix_and_match", delivery::mix_and_match),
    ("endless_data", delivery::endless_data),
    ("slow_retrieval", delivery::drop_and_retry),
    ("wrong_software", delivery::wrong_software),
    ("malicious_mirror", delivery::malicious_mirror),
    ("keys_below_threshold", keys::keys_below_threshold),
    ("online_keys_stolen", keys::online_keys_stolen),
    ("delegation_escape", names::delegation_escape),
    ("revoked_key", keys::revoked_key),
    ("partial_bundle", delivery::partial_bundle),
    ("replay", names::replay),
    ("cross_namespace_replay", names::cross_namespace_replay),
    ("cross_role_replay", names::cross_role_replay),
    ("clock_set_back", time::clock_set_back),
    ("log_equivocation", log::log_equivocation),
    ("two_bodies_at_threshold", keys::two_bodies_at_threshold),
    ("targeted_split", log::targeted_split),
    ("withheld_revocation", time::withheld_revocation),
    ("retired_root_fork", log::retired_root_fork),
    ("crash_between_two_roots", log::crash_between_two_roots),
];

thread_local!(static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) });

/// One check, as another build of the verifier can repeat it.
#[derive(Debug, Serialize)]
struct Vector {
    attack: &'static str,
    what: String,
    pin: Value,
    /// A document, like every `found`.
    state: usize,
    request: Value,
    now: Timestamp,
    exchanges: Vec<Value>,
    outcome: Value,
}

#[derive(Debug, Default, Serialize)]
struct Recorder {
    attack: &'static str,
    documents: Vec<String>,
    vectors: Vec<Vector>,
    known: BTreeMap<String, usize>,
}

impl Recorder {
    fn document(&mut self, text: String) -> usize {
        if let Some(at) = self.known.get(&text) {
            return *at;
        }
        self.documents.push(text.clone());
        self.known.insert(text, self.documents.len() - 1);
        self.documents.len() - 1
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        match answer {
            // Nothing but white space is not worth keeping.
            Answer::Found { bytes, .. } if bytes.iter().all(|b| *b == b' ') => json!({"spaces": bytes.len()}),
            Answer::Found { bytes, etag } => json!({"found": self.document(text(bytes)), "etag": etag}),
            Answer::NotModified => json!("not-modified"),
            Answer::Missing => json!("missing"),
            Answer::Failed { reason } => json!({"failed": reason}),
        }
    }
}

/// Checks, and keeps what was shown if somebody records.
pub(super) fn recorded(
    what: &str,
    device: &mut Device,
    now: Timestamp,
    mut serve: impl FnMut(&Fetch) -> Answer,
) -> Checked {
    let before = device.clone();
    let mut exchanges = Vec::new();
    let checked = device.check_with(now, |fetch| {
        let answer = serve(fetch);
        exchanges.push((fetch.clone(), answer.clone()));
        answer
    });
    RECORDER.with_borrow_mut(|recorder| {
        let Some(recorder) = recorder else { return };
        // Most attacks differ by nothing but the route: static paths share their files, bundles repeat them.
        let first_of_bundle = recorder.vectors.iter().all(|v| v.attack != recorder.attack);
        if before.by == By::Bundle && !first_of_bundle && recorder.attack != "partial_bundle" {
            return;
        }
        let exchanges = exchanges
            .iter()
            .map(|(fetch, answer)| json!({"wanted": fetch, "answer": recorder.answer(answer)}))
            .collect();
        let vector = Vector {
            attack: recorder.attack,
            what: what.to_owned(),
            pin: json!(before.pin),
            state: recorder.document(before.disk.clone()),
            request: request(&before, recorder),
            now,
            exchanges,
            outcome: outcome_of(&checked),
        };
        recorder.vectors.push(vector);
    });
    checked
}

/// What the module for JavaScript is given.
fn request(device: &Device, recorder: &mut Recorder) -> Value {
    let request = device.request();
    let version = match &request.want {
        Want::Highest => None,
        Want::Version(version) => Some(version),
    };
    let route = match request.route {
        Route::Bundle { .. } => "bundle",
        Route::Static { .. } => "static",
    };
    let cached = request.route.cached();
    let cached = cached.map(|c| json!({"etag": c.etag, "text": recorder.document(text(&c.bytes))}));
    json!({"model": request.model, "version": version, "route": route, "require": request.require, "cached": cached})
}

fn outcome_of(checked: &Checked) -> Value {
    match checked {
        Checked::Permitted(approved) => {
            json!({"status": "permitted", "version": approved.manifest().version, "manifest": approved.manifest_digest()})
        }
        Checked::Refused(verdict) => {
            let (stage, refusal) = verdict.refusal().unwrap();
            json!({"status": "refused", "stage": stage, "code": refusal.code, "expected": refusal.expected, "found": refusal.found})
        }
        Checked::Deferred(_) => json!({"status": "deferred"}),
    }
}

fn record_all() -> Recorder {
    RECORDER.set(Some(Recorder::default()));
    for (n, (attack, run)) in (1..).zip(ATTACKS) {
        RECORDER.with_borrow_mut(|r| r.as_mut().unwrap().attack = attack);
        number_keys_from(n * 10_000);
        run();
    }
    RECORDER.take().unwrap()
}

#[test]
fn the_vectors_are_those_of_the_file() {
    let recorder = record_all();
    for (attack, _) in ATTACKS {
        assert!(
            recorder.vectors.iter().any(|v| v.attack == attack),
            "{attack} shows a device something"
        );
    }
    let lines = |values: Vec<String>| values.join(",\n");
    let documents = recorder.documents.iter().map(|d| json!(d).to_string()).collect();
    let vectors = recorder
        .vectors
        .iter()
        .map(|v| serde_json::to_string(v).unwrap())
        .collect();
    let about = "Made by the test attacks::vectors with ASSAY_BLESS=1. The keys are test keys, made of their numbers: they protect nothing.";
    let file = format!(
        "{{\"about\":{},\n\"documents\":[\n{}\n],\n\"vectors\":[\n{}\n]}}\n",
        json!(about),
        lines(documents),
        lines(vectors)
    );
    #[allow(clippy::disallowed_methods)]
    if std::env::var_os("ASSAY_BLESS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(FILE).parent().unwrap()).unwrap();
        std::fs::write(FILE, &file).unwrap();
    }
    #[allow(clippy::disallowed_methods)]
    let committed = std::fs::read_to_string(FILE).unwrap();
    assert!(
        file == committed,
        "the attacks changed: look at the difference, then ASSAY_BLESS=1"
    );
}
