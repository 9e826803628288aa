//! `assay trust`.

use assay_client::Device;
use assay_client::device::Fingerprint;
use assay_client::store::PinRecord;
use assay_client::transport::registry_address;
use assay_schema::trust_policy::{RequiredAuthority, Requirement};
use serde_json::{Value, json};

use crate::args::{TrustAdd, TrustCommand, TrustMove, TrustRemove, TrustRequire, TrustUnrequire};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Answer, columns};

pub(super) fn run(context: &Context, command: &TrustCommand) -> Result<Answer, Failure> {
    match command {
        TrustCommand::Add(args) => add(context, args),
        TrustCommand::Move(args) => r#move(context, args),
        TrustCommand::Remove(args) => remove(context, args),
        TrustCommand::Require(args) => require(context, args),
        TrustCommand::Unrequire(args) => unrequire(context, args),
        TrustCommand::List(args) => {
            let store = context.store(&args.store)?;
            let policy = store.trust_policy()?;
            let pins: Vec<PinRecord> = store.list()?.into_iter().map(|trusted| trusted.pin).collect();
            let rows: Vec<_> = pins
                .iter()
                .map(|p| {
                    [
                        p.namespace.to_string(),
                        p.registry.clone(),
                        p.identity.to_string(),
                        learned(p).to_owned(),
                    ]
                })
                .collect();
            let pins: Vec<Value> = pins.iter().map(document).collect();
            let mut text = columns(&rows);
            for requirement in &policy.require {
                text.push_str(&format!("{}\n", required(requirement)));
            }
            let document = json!({"namespaces": pins, "require": policy.require});
            Ok(Answer::new(document, text))
        }
        TrustCommand::Show(args) => {
            let store = context.store(&args.store)?;
            let pin = store.pin(&args.namespace)?;
            let state = store.state(&args.namespace)?;
            let mut text = text(&pin);
            let floors: Vec<_> = state
                .floors
                .iter()
                .map(|(m, order)| [format!("floor {m}"), order.to_string()])
                .collect();
            text.push_str(&columns(&floors));
            // Of its own models, and of those that it has to sign, too.
            let mut require = store.trust_policy()?.require;
            require.retain(|r| {
                let concerned = |a: &RequiredAuthority| a.namespace == args.namespace;
                r.model.namespace == args.namespace || r.authorities.iter().any(concerned)
            });
            for requirement in &require {
                text.push_str(&format!("{}\n", required(requirement)));
            }
            Ok(Answer::new(
                json!({"namespace": document(&pin), "floors": state.floors, "require": require}),
                text,
            ))
        }
    }
}

fn add(context: &Context, args: &TrustAdd) -> Result<Answer, Failure> {
    let fingerprint = match args.fingerprint {
        Some(digest) => Fingerprint::Known(digest),
        // clap's group lets nothing else through.
        None if args.trust_on_first_use => Fingerprint::FirstUse,
        None => Fingerprint::Unknown,
    };
    let address = registry_address(&args.registry.registry)?;
    let transport = context.registry(&args.registry)?;
    let device = Device::new(context.store(&args.store)?).connect_by(move |_| Ok(transport.clone()));
    let pin = device.trust_add(&address, &args.namespace, fingerprint)?;
    Ok(Answer::new(json!({"namespace": document(&pin)}), text(&pin)))
}

fn r#move(context: &Context, args: &TrustMove) -> Result<Answer, Failure> {
    let address = registry_address(&args.registry.registry)?;
    let transport = context.registry(&args.registry)?;
    let device = Device::new(context.store(&args.store)?).connect_by(move |_| Ok(transport.clone()));
    let pin = device.trust_move(&address, &args.namespace)?;
    Ok(Answer::new(json!({"namespace": document(&pin)}), text(&pin)))
}

fn remove(context: &Context, args: &TrustRemove) -> Result<Answer, Failure> {
    Device::new(context.store(&args.store)?).trust_remove(&args.namespace)?;
    let text = format!(
        "{} is no longer trusted; its releases and floors are gone",
        args.namespace
    );
    Ok(Answer::new(
        json!({"namespace": args.namespace, "trusted": false}),
        text,
    ))
}

fn require(context: &Context, args: &TrustRequire) -> Result<Answer, Failure> {
    let all = u32::try_from(args.authority.len()).unwrap_or(u32::MAX);
    let threshold = args.threshold.unwrap_or(all);
    let device = Device::new(context.store(&args.store)?);
    let requirement = device.trust_require(&args.model, &args.authority, threshold)?;
    let text = format!("{}\n", required(&requirement));
    Ok(Answer::new(json!({"requirement": requirement}), text))
}

fn unrequire(context: &Context, args: &TrustUnrequire) -> Result<Answer, Failure> {
    let removed = Device::new(context.store(&args.store)?).trust_unrequire(&args.model)?;
    let text = match removed {
        true => format!("{} needs no other authority's signature any more", args.model),
        false => format!("{} needed no other authority's signature", args.model),
    };
    Ok(Answer::new(
        json!({"model": args.model, "removed": removed}),
        text,
    ))
}

/// A requirement for people.
fn required(requirement: &Requirement) -> String {
    format!(
        "{} needs the signatures of {} of: {}",
        requirement.model,
        requirement.threshold,
        requirement.names()
    )
}

fn learned(pin: &PinRecord) -> &'static str {
    if pin.first_use {
        "on first use"
    } else {
        "by fingerprint"
    }
}

fn document(pin: &PinRecord) -> Value {
    json!({
        "namespace": pin.namespace,
        "registry": pin.registry,
        "fingerprint": pin.identity,
        "trust_on_first_use": pin.first_use,
    })
}

fn text(pin: &PinRecord) -> String {
    columns(&[
        ["namespace".to_owned(), pin.namespace.to_string()],
        ["registry".to_owned(), pin.registry.clone()],
        ["fingerprint".to_owned(), pin.identity.to_string()],
        ["trusted".to_owned(), learned(pin).to_owned()],
    ])
}
