//! `assay trust`.

use assay_client::Device;
use assay_client::device::{Change, Fingerprint, TermsChange};
use assay_client::store::PinRecord;
use assay_client::transport::registry_address;
use assay_schema::log::{self, LogTrust};
use assay_schema::trust_policy::{RequiredAuthority, Requirement};
use serde_json::{Value, json};

use super::foreign::text_file;
use super::namespace::signers_file;
use crate::args::{
    Term, TermsArgs, TrustAdd, TrustCommand, TrustMove, TrustRemove, TrustRequire, TrustSet, TrustUnrequire,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, columns};
use crate::verdict::printable;

pub(super) fn run(context: &Context, command: &TrustCommand) -> Result<Answer, Failure> {
    match command {
        TrustCommand::Add(args) => add(context, args),
        TrustCommand::Move(args) => r#move(context, args),
        TrustCommand::Remove(args) => remove(context, args),
        TrustCommand::Set(args) => set(context, args),
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
            if let Some(time) = state.time_floor {
                text.push_str(&columns(&[["time floor".to_owned(), time.to_string()]]));
            }
            // Of its own models, and of those that it has to sign, too.
            let mut require = store.trust_policy()?.require;
            require.retain(|r| {
                let concerned = |a: &RequiredAuthority| a.namespace == args.namespace;
                r.model.namespace == args.namespace || r.authorities.iter().any(concerned)
            });
            for requirement in &require {
                text.push_str(&format!("{}\n", required(requirement)));
            }
            let document = json!({
                "namespace": document(&pin),
                "floors": state.floors,
                "time_floor": state.time_floor,
                "fresh": state.fresh,
                "require": require,
            });
            Ok(Answer::new(document, text))
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
    let pin = device.trust_add_with(&address, &args.namespace, fingerprint, change(&args.terms)?)?;
    Ok(Answer::new(json!({"namespace": document(&pin)}), text(&pin)))
}

fn r#move(context: &Context, args: &TrustMove) -> Result<Answer, Failure> {
    let address = registry_address(&args.registry.registry)?;
    let transport = context.registry(&args.registry)?;
    let device = Device::new(context.store(&args.store)?).connect_by(move |_| Ok(transport.clone()));
    let pin = device.trust_move(&address, &args.namespace)?;
    Ok(Answer::new(json!({"namespace": document(&pin)}), text(&pin)))
}

fn set(context: &Context, args: &TrustSet) -> Result<Answer, Failure> {
    let mut change = change(&args.terms)?;
    if let Some(root) = args.confirm_root {
        change.confirmed_root = Change::Set(root);
    }
    for term in &args.drop {
        let twice = match term {
            Term::MaxStale => replace(&mut change.max_stale),
            Term::Log => replace(&mut change.log),
            Term::LeastRoot => replace(&mut change.least_root),
            Term::ConfirmRoot => replace(&mut change.confirmed_root),
            Term::Signers => replace(&mut change.signers),
            Term::SigstoreRoot => replace(&mut change.sigstore_root),
        };
        if twice {
            let message = "--drop: a term cannot be set and dropped at once";
            return Err(Failure::new(Exit::Usage, "usage", message));
        }
    }
    if change == TermsChange::default() {
        let message = "nothing to set: expected at least one term";
        return Err(Failure::new(Exit::Usage, "usage", message).advise("`assay trust set --help` lists them"));
    }
    let device = Device::new(context.store(&args.store)?);
    let pin = device.trust_set(&args.namespace, change)?;
    Ok(Answer::new(json!({"namespace": document(&pin)}), text(&pin)))
}

/// Drops a term; whether it was to be set, too.
fn replace<T>(change: &mut Change<T>) -> bool {
    matches!(std::mem::replace(change, Change::Drop), Change::Set(_))
}

fn change(args: &TermsArgs) -> Result<TermsChange, Failure> {
    let witnesses = u32::try_from(args.witness.len()).unwrap_or(u32::MAX);
    let log = args.log.as_ref().map(|log| LogTrust {
        v: log::VERSION,
        log: log.clone(),
        witnesses: args.witness.clone(),
        threshold: args.witness_threshold.unwrap_or(witnesses),
    });
    let signers = args.signers.as_deref().map(signers_file).transpose()?;
    let sigstore_root = args.sigstore_root.as_deref().map(text_file).transpose()?;
    Ok(TermsChange {
        signers: signers.map_or(Change::Keep, Change::Set),
        sigstore_root: sigstore_root.map_or(Change::Keep, Change::Set),
        log: log.map_or(Change::Keep, Change::Set),
        least_root: args.least_root.map_or(Change::Keep, Change::Set),
        confirmed_root: Change::Keep,
        max_stale: args.max_stale.map_or(Change::Keep, |age| Change::Set(age.0)),
    })
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
        "terms": pin.terms,
    })
}

fn text(pin: &PinRecord) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let terms = &pin.terms;
    let log = terms.log.as_ref().map(|log| match log.threshold {
        0 => log.log.clone(),
        k => format!("{}, {k} of {} witnesses", log.log, log.witnesses.len()),
    });
    let further = [
        terms.max_stale.map(|age| row("max stale", format!("{age:#}"))),
        log.map(|log| row("log", log)),
        terms.least_root.map(|least| row("least root", least.to_string())),
        terms
            .confirmed_root
            .map(|root| row("confirmed root", root.to_string())),
        terms.signers.as_ref().map(|signers| {
            let names: Vec<_> = signers.signers.iter().map(|s| printable(&s.name)).collect();
            row("signers", names.join(", "))
        }),
        terms
            .signers
            .as_ref()
            .filter(|signers| !signers.require.is_empty())
            .map(|signers| {
                let kinds: Vec<_> = signers
                    .require
                    .iter()
                    .map(|r| r.predicate_type.to_string())
                    .collect();
                row("statements", kinds.join(", "))
            }),
    ];
    let mut rows = vec![
        ["namespace".to_owned(), pin.namespace.to_string()],
        ["registry".to_owned(), pin.registry.clone()],
        ["fingerprint".to_owned(), pin.identity.to_string()],
        ["trusted".to_owned(), learned(pin).to_owned()],
    ];
    rows.extend(further.into_iter().flatten());
    columns(&rows)
}
