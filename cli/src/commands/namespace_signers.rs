//! `assay namespace signers`: who may sign a namespace's models.

use assay_client::publisher::SignersChange;
use assay_schema::signers::Signers;
use jiff::Timestamp;
use serde_json::json;

use super::change::{decide, open};
use super::foreign::text_file;
use super::namespace::{signers, signers_file};
use crate::args::NamespaceSigners;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Answer, columns};
use crate::verdict::printable;

pub(super) fn run(context: &Context, args: &NamespaceSigners) -> Result<Answer, Failure> {
    let (publisher, _) = open(context, &args.sign, Some(&args.namespace))?;
    let now = Timestamp::now();
    let change = SignersChange {
        document: args.signers.as_deref().map(signers_file).transpose()?,
        remove: args.remove.clone(),
        add: signers(&args.signer_key, &args.sigstore_signer)?,
        sigstore_root: args.sigstore_root.as_deref().map(text_file).transpose()?,
    };
    if change == SignersChange::default() {
        return Ok(shown(publisher.signers(now)?.as_ref()));
    }
    let proposal = publisher.propose_signers(&change, now)?;
    decide(&publisher, proposal, &args.sign)
}

fn shown(found: Option<&Signers>) -> Answer {
    let Some(found) = found else {
        let text = "the namespace names no permitted signers: nobody vouches for its models";
        return Answer::new(json!({"signers": null}), text);
    };
    let rows: Vec<_> = found
        .signers
        .iter()
        .map(|signer| {
            let models: Vec<_> = signer.models.iter().map(ToString::to_string).collect();
            let models = match models.is_empty() {
                true => "every model".to_owned(),
                false => models.join(", "),
            };
            let identity = serde_json::to_string(&signer.identity).unwrap_or_default();
            [signer.name.clone(), models, identity].map(|text| printable(&text))
        })
        .collect();
    Answer::new(
        json!({"signers": found.signers, "require": found.require}),
        columns(&rows),
    )
}
