//! `assay status init`, `show`, `renew`, `revoke`, `lift`: what an authority restricts.

use std::collections::BTreeMap;
use std::str::FromStr;

use assay_client::publisher::{Lift, Restriction};
use assay_schema::status::RevokedRelease;
use assay_schema::{NamespaceName, ReleaseOrder, ReleaseRef};
use jiff::Timestamp;
use serde_json::json;

use super::change::{decide, keys, open};
use crate::args::{StatusCommand, StatusInit, StatusLift, StatusRevoke, StatusShow};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, columns};
use crate::verdict::printable;

pub(super) fn run(context: &Context, command: &StatusCommand) -> Result<Answer, Failure> {
    match command {
        StatusCommand::Init(args) => init(context, args),
        StatusCommand::Show(args) => show(context, args),
        StatusCommand::Renew(args) => {
            let (publisher, _) = open(context, &args.sign, Some(&args.namespace))?;
            let proposal = publisher.propose_restriction(&Restriction::default(), false, Timestamp::now())?;
            decide(&publisher, proposal, &args.sign)
        }
        StatusCommand::Revoke(args) => revoke(context, args),
        StatusCommand::Lift(args) => lift(context, args),
    }
}

fn init(context: &Context, args: &StatusInit) -> Result<Answer, Failure> {
    let (publisher, _) = open(context, &args.sign, Some(&args.namespace))?;
    let keys = keys(&args.key)?;
    let proposal = publisher.propose_status_keys(&keys, args.threshold, args.carry_over, Timestamp::now())?;
    decide(&publisher, proposal, &args.sign)
}

fn show(context: &Context, args: &StatusShow) -> Result<Answer, Failure> {
    let (publisher, _) = open(context, &args.sign, Some(&args.namespace))?;
    let Some(view) = publisher.status(Timestamp::now())? else {
        let text = format!("{} has no status role", args.namespace);
        return Ok(Answer::new(json!({"status": null}), text));
    };
    let status = &view.status;
    let mut rows = vec![
        ["version".to_owned(), view.version.to_string()],
        ["issued".to_owned(), status.issued.to_string()],
        ["expires".to_owned(), view.expires.to_string()],
    ];
    let mut row = |name: String, value: String| rows.push([printable(&name), printable(&value)]);
    for (role, version) in &status.versions {
        row(format!("least version of {role}"), version.to_string());
    }
    for (model, order) in &status.orders {
        row(format!("least order of {model}"), order.to_string());
    }
    for r in &status.revoked_releases {
        let version = r.version.as_ref().map(ToString::to_string);
        let manifest = r.manifest.as_ref().map(ToString::to_string);
        let name = version.or(manifest).unwrap_or_default();
        row(format!("revoked {}@{name}", r.model), r.reason.clone());
    }
    for key in &status.revoked_keys {
        row("revoked key".to_owned(), key.clone());
    }
    let document = json!({"version": view.version, "expires": view.expires, "status": status});
    Ok(Answer::new(document, columns(&rows)))
}

fn revoke(context: &Context, args: &StatusRevoke) -> Result<Answer, Failure> {
    let (publisher, _) = open(context, &args.sign, Some(&args.namespace))?;
    let mut restriction = Restriction {
        keys: args.key_id.iter().map(ToString::to_string).collect(),
        orders: pairs(&args.least_order, "--least-order", "MODEL=EPOCH.COUNTER", order)?,
        versions: pairs(&args.least_version, "--least-version", "ROLE=VERSION", |text| {
            text.parse().ok()
        })?,
        ..Restriction::default()
    };
    for release in &args.release {
        own(&args.namespace, release)?;
        restriction.releases.push(RevokedRelease {
            model: release.model.model.clone(),
            version: Some(release.version.clone()),
            manifest: None,
            reason: args.reason.clone(),
        });
    }
    let proposal = publisher.propose_restriction(&restriction, args.insist, Timestamp::now())?;
    decide(&publisher, proposal, &args.sign)
}

fn lift(context: &Context, args: &StatusLift) -> Result<Answer, Failure> {
    let (publisher, _) = open(context, &args.sign, Some(&args.namespace))?;
    let mut lift = Lift {
        all: args.all,
        keys: args.key_id.clone(),
        orders: args.least_order.clone(),
        versions: args.least_version.clone(),
        ..Lift::default()
    };
    for release in &args.release {
        own(&args.namespace, release)?;
        lift.releases
            .push((release.model.model.clone(), release.version.clone()));
    }
    let proposal = publisher.propose_lift(&lift, Timestamp::now())?;
    decide(&publisher, proposal, &args.sign)
}

fn own(namespace: &NamespaceName, release: &ReleaseRef) -> Result<(), Failure> {
    match release.model.namespace == *namespace {
        true => Ok(()),
        false => {
            let message = format!("--release: expected one of {namespace}, found {release}");
            Err(Failure::new(Exit::Usage, "other-namespace", message))
        }
    }
}

/// `1.7`: epoch and counter.
fn order(text: &str) -> Option<ReleaseOrder> {
    let (epoch, counter) = text.split_once('.')?;
    ReleaseOrder::new(epoch.parse().ok()?, counter.parse().ok()?).ok()
}

fn pairs<K: FromStr + Ord, V>(
    given: &[String],
    option: &str,
    form: &str,
    value: impl Fn(&str) -> Option<V>,
) -> Result<BTreeMap<K, V>, Failure> {
    let read = |text: &String| {
        let (name, found) = text.split_once('=')?;
        Some((name.parse().ok()?, value(found)?))
    };
    given
        .iter()
        .map(|text| {
            let bad = || {
                Failure::new(
                    Exit::Usage,
                    "usage",
                    format!("{option}: expected {form}, found {text:?}"),
                )
            };
            read(text).ok_or_else(bad)
        })
        .collect()
}
