//! Times the whole check of a release in this process, without a network: what `bench/bench.py` measures.
//!
//!     check_offline STORE NS/MODEL ROUNDS [DUMP]
//!
//! `STORE` is a device's store that trusts the namespace. The registry's answers are fetched once and then given again; each round
//! begins with nothing but the first root, and walks stages 1 to 6. Prints the median in microseconds as JSON. `DUMP` is written for
//! the same measurement in WebAssembly: pin, state, request, time and answers.
#![allow(clippy::print_stdout, reason = "a program that prints a figure")]

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use assay_client::Store;
use assay_client::transport::{Fetched, HttpTransport, Limits, Transport, paths};
use assay_schema::limits::MAX_ROOT;
use assay_schema::{ModelRef, Stage};
use assay_verifier::{
    Answer, CheckRequest, CheckStep, Checked, Consensus, DeviceState, Pin, Route, Want, check,
};
use jiff::Timestamp;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ([store, model, rounds] | [store, model, rounds, _]) = arguments.as_slice() else {
        return Err("expected STORE NS/MODEL ROUNDS [DUMP]; see the head of this file".into());
    };
    let model: ModelRef = model.parse()?;
    let record = Store::open(Path::new(store))?.pin(&model.namespace)?;
    let transport = HttpTransport::new(&record.registry, None, Limits::default())?;
    let pin = Pin {
        namespace: record.namespace,
        identity: record.identity,
        first_use: record.first_use,
        terms: record.terms,
    };
    let root = match transport.get(&paths::metadata(&model.namespace, "1.root.json"), MAX_ROOT, None)? {
        Fetched::Found { bytes, .. } => bytes,
        _ => return Err("the registry has no first root".into()),
    };
    let state = DeviceState::first(&pin, &root)?;
    let now = Timestamp::now();

    let mut answers = Vec::new();
    walk(&pin, &state, &model, now, |path, max| {
        let answer = match transport.get(path, max, None)? {
            Fetched::Found { bytes, etag } => Answer::Found { bytes, etag },
            Fetched::Missing | Fetched::NotModified => Answer::Missing,
        };
        answers.push(answer.clone());
        Ok(answer)
    })?;
    let mut times = Vec::new();
    for _ in 0..rounds.parse::<usize>()?.max(1) {
        let mut recorded = answers.iter().cloned();
        let began = Instant::now();
        walk(&pin, &state, &model, now, |_, _| {
            recorded
                .next()
                .ok_or_else(|| "another request than before".into())
        })?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).ok_or("no round")?.as_micros();
    println!("{}", json!({"median_us": median, "requests": answers.len()}));
    if let Some(dump) = arguments.get(3) {
        let text = |answer: &Answer| match answer {
            Answer::Found { bytes, etag } => json!({"text": String::from_utf8_lossy(bytes), "etag": etag}),
            _ => Value::Null,
        };
        let document = json!({
            "pin": pin,
            "state": serde_json::to_string(&state)?,
            "request": {"model": model.model, "require": ["provenance"]},
            "now": now,
            "answers": answers.iter().map(text).collect::<Vec<_>>(),
        });
        std::fs::write(dump, serde_json::to_vec(&document)?)?;
    }
    Ok(())
}

fn walk(
    pin: &Pin,
    state: &DeviceState,
    model: &ModelRef,
    now: Timestamp,
    mut answer: impl FnMut(&str, u64) -> Result<Answer>,
) -> Result<()> {
    let request = CheckRequest {
        model: model.model.clone(),
        want: Want::Highest,
        route: Route::Bundle { cached: None },
        require: BTreeSet::from([Stage::Provenance]),
        consensus: Consensus::none(),
    };
    let mut step = check(pin, state.clone(), request, now);
    loop {
        step = match step {
            CheckStep::Fetch(wait) => {
                let path = paths::resource(&model.namespace, &wait.wanted().resource);
                let found = answer(&path, wait.wanted().max)?;
                wait.answer(found)
            }
            CheckStep::Persist(wait) => wait.persisted(),
            CheckStep::Done(Checked::Permitted(_)) => return Ok(()),
            CheckStep::Done(Checked::Refused(verdict) | Checked::Deferred(verdict)) => {
                return Err(format!("expected a permitted release, found {:?}", verdict.refusal()).into());
            }
        };
    }
}
