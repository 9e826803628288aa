//! `assay proposals`: what waits for signatures on the registry.

use assay_client::publisher::{ProposalView, PublishError};
use assay_schema::proposal::ProposalStanding;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{published_already, reach, waiting};
use crate::args::{ProposalCommand, ProposalList, ProposalOf, Proposals};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Answer, columns};
use crate::verdict::printable;

pub(super) fn run(context: &Context, args: &Proposals) -> Result<Answer, Failure> {
    match args {
        Proposals::List(args) => list(context, args),
        Proposals::Of(ProposalCommand::Show(of)) => show(context, of),
        Proposals::Of(ProposalCommand::Withdraw(of)) => withdraw(context, of),
    }
}

fn list(context: &Context, args: &ProposalList) -> Result<Answer, Failure> {
    let (publisher, _) = reach(context, &args.reach, Some(&args.namespace))?;
    let found = publisher.proposals(Timestamp::now())?;
    if found.is_empty() {
        let text = format!("{} has no proposals", args.namespace);
        return Ok(Answer::new(json!({"proposals": []}), text));
    }
    let mut rows = Vec::new();
    for view in &found {
        rows.push([
            view.id.to_hex(),
            standing(view.standing).to_owned(),
            printable(&view.roles.join(", ")),
            view.created.to_string(),
        ]);
        let detail = match &view.changes {
            Ok(_) => view.missing.clone(),
            Err(refused) => vec![format!("cannot be signed: {refused}")],
        };
        rows.extend(
            detail
                .iter()
                .map(|line| [String::new(), printable(line), String::new(), String::new()]),
        );
    }
    let proposals: Vec<Value> = found.iter().map(document).collect();
    Ok(Answer::new(json!({"proposals": proposals}), columns(&rows)))
}

const fn standing(standing: ProposalStanding) -> &'static str {
    match standing {
        ProposalStanding::Open => "open",
        ProposalStanding::Superseded => "superseded",
        ProposalStanding::Published => "published",
    }
}

fn document(view: &ProposalView) -> Value {
    let (changes, refused) = match &view.changes {
        Ok(changes) => (changes.as_slice(), None),
        Err(refused) => (&[][..], Some(refused)),
    };
    json!({"id": view.id, "standing": view.standing, "created": view.created, "roles": view.roles, "changes": changes,
        "signers": view.signers, "missing": view.missing, "refused": refused})
}

fn show(context: &Context, of: &ProposalOf) -> Result<Answer, Failure> {
    let (publisher, _) = reach(context, &of.reach, Some(&of.namespace))?;
    let review = match publisher.review(publisher.look_at_proposal(&of.id)?, None, Timestamp::now()) {
        Err(PublishError::PublishedAlready(published)) => return Ok(published_already(&published)),
        reviewed => reviewed?,
    };
    let (missing, signers) = (review.missing()?, review.signers());
    let mut lines = vec![format!("proposal {}", review.id())];
    lines.extend_from_slice(review.changes());
    for (role, ids) in &signers {
        lines.extend(ids.iter().map(|id| format!("{role}: signed by key {id}")));
    }
    let command = format!("assay approve {} {}", of.namespace, review.id());
    lines.push(match missing.is_empty() {
        true => format!("nothing is missing; `{command}` publishes it"),
        false => waiting("open", &missing, &command),
    });
    let document =
        json!({"id": review.id(), "changes": review.changes(), "signers": signers, "missing": missing});
    let lines: Vec<_> = lines
        .iter()
        .flat_map(|line| line.lines())
        .map(printable)
        .collect();
    Ok(Answer::new(document, lines.join("\n")))
}

fn withdraw(context: &Context, of: &ProposalOf) -> Result<Answer, Failure> {
    let (publisher, _) = reach(context, &of.reach, Some(&of.namespace))?;
    let id = publisher.withdraw(&of.id)?;
    let text = format!("withdrawn: {id}");
    Ok(Answer::new(json!({"withdrawn": id}), text))
}
