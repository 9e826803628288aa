//! `assay check`, `assay pull`, `assay update` and `assay repair`.

use std::sync::Arc;

use assay_client::device::{Delivery, DeviceError, Options, PullProgress, Pulled, RouteChoice, permits};
use assay_client::{Device, Want};
use assay_schema::{ModelRef, Stage, Verdict};
use indicatif::ProgressBar;
use serde_json::json;

use crate::args::{ChainArgs, Check, DeliveryArgs, DeviceArgs, Pull, Repair, Update, Wanted};
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::observed::Observed;
use crate::output::{Answer, bytes};
use crate::progress::bar;
use crate::verdict::printable;

/// A device that asks the registry of its pin, or the one that the command line names; and other authorities where they were trusted.
pub(super) fn device(
    context: &Context,
    args: &DeviceArgs,
    model: &ModelRef,
) -> Result<(Device, Arc<Observed>), Failure> {
    let store = context.store(&args.store)?;
    let registry = store.pin(&model.namespace)?.registry;
    let address = args.registry.as_deref().unwrap_or(&registry);
    let (ways, transport) = context.ways(&store, model, &registry, Some((address, &args.token)))?;
    Ok((context::device(store)?.connect_by(ways), transport))
}

pub(super) fn options(wanted: &Wanted, chain: &ChainArgs) -> Options {
    let mut options = Options::default();
    if let Some(version) = &wanted.version {
        options.want = Want::Version(version.clone());
    }
    if chain.static_files {
        options.route = RouteChoice::Static;
    }
    if chain.allow_unsigned {
        options.require.remove(&Stage::Provenance);
    }
    options.require.extend(&chain.require);
    options
}

/// An answer if the verdict permits; otherwise the failure that it is, whose exit code tells a refusal by judgement from a
/// registry that could not be asked.
pub(super) fn judged(verdict: Verdict, transport: Option<&Observed>) -> Result<Verdict, Failure> {
    if permits(&verdict) {
        return Ok(verdict);
    }
    let failure = Failure::of_verdict(verdict);
    Err(match transport {
        Some(transport) => transport.explain(failure),
        None => failure,
    })
}

pub(super) fn check(context: &Context, args: &Check) -> Result<Answer, Failure> {
    let (device, transport) = device(context, &args.device, &args.release.model)?;
    let verdict = device.check(&args.release.model, &options(&args.release, &args.chain))?;
    let verdict = judged(verdict, Some(&transport))?;
    Ok(Answer::new(json!({"release": name(&verdict)}), "").with_verdict(verdict))
}

/// `acme/minilm@1.2.0`, as far as the verdict knows.
pub(super) fn name(verdict: &Verdict) -> String {
    let subject = &verdict.subject;
    let version = subject
        .version
        .as_ref()
        .map(|v| format!("@{v}"))
        .unwrap_or_default();
    format!("{}/{}{version}", subject.namespace, subject.model)
}

pub(super) fn pull(context: &Context, args: &Pull) -> Result<Answer, Failure> {
    let options = fetching(&args.release, &args.chain, args.delivery);
    fetch(context, &args.release.model, &args.device, &options, Device::pull)
}

pub(super) fn update(context: &Context, args: &Update) -> Result<Answer, Failure> {
    let options = fetching(&highest(&args.model), &args.chain, args.delivery);
    fetch(context, &args.model, &args.device, &options, Device::pull)
}

/// The library knows which version is active.
pub(super) fn repair(context: &Context, args: &Repair) -> Result<Answer, Failure> {
    let options = fetching(&highest(&args.model), &args.chain, args.delivery);
    fetch(context, &args.model, &args.device, &options, Device::repair)
}

fn highest(model: &ModelRef) -> Wanted {
    Wanted {
        model: model.clone(),
        version: None,
    }
}

fn fetching(wanted: &Wanted, chain: &ChainArgs, delivery: DeliveryArgs) -> Options {
    Options {
        deltas: !delivery.no_delta,
        ..options(wanted, chain)
    }
}

/// `Device::pull` or `Device::repair`.
type Fetch = fn(&Device, &ModelRef, &Options, &mut dyn FnMut(PullProgress)) -> Result<Pulled, DeviceError>;

fn fetch(
    context: &Context,
    model: &ModelRef,
    args: &DeviceArgs,
    options: &Options,
    fetch: Fetch,
) -> Result<Answer, Failure> {
    let (device, transport) = device(context, args, model)?;
    let mut shown: Option<ProgressBar> = None;
    let result = fetch(&device, model, options, &mut |progress| {
        shown
            .get_or_insert_with(|| bar(context.show, "pulling", Some(progress.total)))
            .set_position(progress.done);
    });
    if let Some(bar) = shown {
        bar.finish_and_clear();
    }
    let pulled = result?;
    let verdict = judged(pulled.verdict, Some(&transport))?;
    let path = device.active(model)?.map(|active| active.path().to_owned());
    let release = name(&verdict);
    let mut text = match pulled.already_active {
        true => format!("{release} is active already\n"),
        false => format!(
            "{release} is active; {} received\n",
            bytes(pulled.traffic.received)
        ),
    };
    if let Some(delivery) = &pulled.delivery {
        text.push_str(&told(delivery));
    }
    if let Some(path) = &path {
        text.push_str(&format!("{}\n", path.display()));
    }
    let document = json!({
        "release": release,
        "already_active": pulled.already_active,
        "path": path,
        "delivery": pulled.delivery,
    });
    Ok(Answer::new(document, text).with_verdict(verdict))
}

/// What was saved and how, and what did not come as planned; nothing where there is nothing to tell.
fn told(delivery: &Delivery) -> String {
    let mut text = String::new();
    if delivery.saved > 0 {
        text = format!("{} of {} saved", bytes(delivery.saved), bytes(delivery.full));
        if let Some(plan) = &delivery.plan {
            text.push_str(&format!(": {plan}"));
        }
        text.push('\n');
    }
    if delivery.missed > 0 {
        text.push_str(&format!(
            "{} chunks did not come as planned and were fetched whole\n",
            delivery.missed
        ));
    }
    for problem in &delivery.problems {
        text.push_str(&format!("  {}\n", printable(problem)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provenance_is_required_unless_somebody_says_otherwise() {
        let wanted: Wanted = "acme/m".parse().unwrap();
        let mut chain = ChainArgs {
            require: vec![Stage::Log],
            allow_unsigned: false,
            static_files: false,
        };
        assert!(options(&wanted, &chain).require.contains(&Stage::Provenance));
        assert!(options(&wanted, &chain).require.contains(&Stage::Log));
        chain.allow_unsigned = true;
        assert!(!options(&wanted, &chain).require.contains(&Stage::Provenance));
        assert!(options(&wanted, &chain).require.contains(&Stage::Release));
        // Said both ways, the stricter one holds.
        chain.require.push(Stage::Provenance);
        assert!(options(&wanted, &chain).require.contains(&Stage::Provenance));
    }
}
