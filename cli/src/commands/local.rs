//! `assay rollback`, `resume`, `status` and `path`: what needs no registry.

use assay_client::Device;
use assay_client::store::{ActiveRecord, StoreError};
use assay_schema::{ModelRef, VersionName};
use serde_json::{Value, json};

use super::pull::{judged, name};
use crate::args::{HeldModel, PathOf, Rollback, Status};
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::output::{Answer, columns};
use crate::progress::bar;

pub(super) fn rollback(context: &Context, args: &Rollback) -> Result<Answer, Failure> {
    let device = Device::new(context.store(&args.store)?);
    let bar = bar(context.show, "verifying", None);
    let result = device.rollback(&args.model, args.to.as_ref(), &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    let verdict = judged(result?, None)?;
    let release = name(&verdict);
    let text = format!(
        "{release} is active and held; `assay resume {}` lets it update again\n",
        args.model
    );
    Ok(Answer::new(json!({"release": release, "held": true}), text).with_verdict(verdict))
}

pub(super) fn resume(context: &Context, args: &HeldModel) -> Result<Answer, Failure> {
    let was_held = Device::new(context.store(&args.store)?).resume(&args.model)?;
    let text = if was_held {
        "may update again"
    } else {
        "was not held"
    };
    let document = json!({"model": args.model, "was_held": was_held, "held": false});
    Ok(Answer::new(document, format!("{} {text}", args.model)))
}

pub(super) fn status(context: &Context, args: &Status) -> Result<Answer, Failure> {
    let store = context.store(&args.store)?;
    let (mut documents, mut rows) = (Vec::new(), Vec::new());
    for trusted in store.list()? {
        for kept in trusted.models {
            let record = kept.active;
            let model = ModelRef {
                namespace: trusted.pin.namespace.clone(),
                model: kept.model,
            };
            if args.model.as_ref().is_some_and(|wanted| *wanted != model) {
                continue;
            }
            rows.push(row(&model, record.as_ref()));
            documents.push(document(&model, record.as_ref()));
        }
    }
    match &args.model {
        Some(model) if documents.is_empty() => {
            store.pin(&model.namespace)?;
            Err(StoreError::NotActive(model.clone()).into())
        }
        _ => {
            let text = if rows.is_empty() {
                format!("no model was pulled into {}", store.path().display())
            } else {
                columns(&rows)
            };
            Ok(Answer::new(
                json!({"store": store.path(), "models": documents}),
                text,
            ))
        }
    }
}

fn kept(record: &ActiveRecord) -> Vec<&VersionName> {
    record.kept.iter().map(|release| &release.version).collect()
}

fn row(model: &ModelRef, record: Option<&ActiveRecord>) -> [String; 4] {
    let Some(record) = record else {
        return [
            model.to_string(),
            "not active".to_owned(),
            String::new(),
            String::new(),
        ];
    };
    let kept: Vec<String> = kept(record).into_iter().map(ToString::to_string).collect();
    let kept = if kept.is_empty() {
        String::new()
    } else {
        format!("kept {}", kept.join(", "))
    };
    let held = if record.held { "held" } else { "" };
    [
        model.to_string(),
        format!("active {} (order {})", record.active.version, record.active.order),
        held.to_owned(),
        kept,
    ]
}

fn document(model: &ModelRef, record: Option<&ActiveRecord>) -> Value {
    match record {
        None => json!({"model": model, "active": null, "held": false, "kept": []}),
        Some(record) => {
            json!({"model": model, "active": record.active, "held": record.held, "kept": record.kept})
        }
    }
}

pub(super) fn path(context: &Context, args: &PathOf) -> Result<Answer, Failure> {
    let device = context::device(context.store(&args.store)?)?;
    let active = match device.active(&args.model)? {
        Some(active) => active,
        None => {
            device.store().pin(&args.model.namespace)?;
            return Err(StoreError::NotActive(args.model.clone()).into());
        }
    };
    let document = json!({
        "model": args.model,
        "version": active.manifest().version,
        "manifest": active.manifest_digest(),
        "path": active.path(),
        "held": active.is_held(),
    });
    Ok(Answer::new(document, active.path().display().to_string()))
}
