//! `assay publish`.

use std::sync::Arc;

use assay_client::publisher::{
    DeltaFrom, Planned, ProposedRelease, PublishedRelease, Publisher, ReleaseTerms,
};
use assay_client::scan::scan;
use assay_schema::limits::MAX_ATTESTATION;
use indicatif::ProgressBar;
use jiff::Timestamp;
use serde_json::json;

use super::change::waiting;
use super::foreign::bounded;
use super::namespace::authority_of;
use crate::args::Publish;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Answer, bytes, columns, files};
use crate::passphrase::Passphrases;
use crate::progress::{PublishBars, bar};
use crate::verdict::printable;

pub(super) fn run(context: &Context, args: &Publish) -> Result<Answer, Failure> {
    let (folder, record) = authority_of(&args.authority, Some(&args.release.model.namespace))?;
    let mut terms = ReleaseTerms::new(args.release.model.model.clone(), args.release.version.clone());
    terms.not_before = args.not_before;
    for path in &args.attestation {
        terms
            .attestations
            .push((path.display().to_string(), bounded(path, MAX_ATTESTATION)?));
    }
    let total = scan(&args.dir, &terms.ignore)?
        .iter()
        .map(|file| file.size())
        .sum();

    let passphrases = Passphrases::new(&args.authority.passphrase)?;
    let address = args
        .registry
        .as_deref()
        .filter(|address| !address.is_empty())
        .unwrap_or(&record.registry);
    let transport = context.connect(address, &args.token)?;
    let bars = Arc::new(PublishBars::new(context.show, total));
    let teller = Arc::clone(&bars);
    let publisher = Publisher::new(folder, transport)
        .ask_passphrase(move |path| passphrases.of(path))
        .sign_again(args.sign_again)
        .on_progress(move |progress| teller.tell(&progress));
    if args.dry_run {
        let planned = publisher.plan(&args.dir, &terms, Timestamp::now());
        bars.clear();
        return Ok(plan(args, &planned?));
    }
    let published = publisher.publish(&args.dir, &terms, Timestamp::now());
    bars.clear();
    let published = published?;
    let mut answer = answer(args, &published);
    if let Some(folder) = &args.base {
        // Before everybody has signed there is no release that a delta could name: run again then.
        if published.proposal.is_none() {
            let from = DeltaFrom {
                folder: folder.clone(),
                version: args.delta_from.clone(),
            };
            attach(context, &publisher, (args, &terms), &from, &mut answer)?;
        }
    }
    Ok(answer)
}

/// Makes and attaches the delta of a release that is published.
fn attach(
    context: &Context,
    publisher: &Publisher,
    (args, terms): (&Publish, &ReleaseTerms),
    from: &DeltaFrom,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let mut shown: Option<ProgressBar> = None;
    let attached = publisher.attach_delta(&args.dir, terms, from, Timestamp::now(), &mut |done, total| {
        shown
            .get_or_insert_with(|| bar(context.show, "encoding", Some(total)))
            .set_position(done);
    });
    if let Some(bar) = shown {
        bar.finish_and_clear();
    }
    let attached = attached.map_err(|error| {
        let mut failure = Failure::from(error);
        failure.message = format!(
            "{} is published; its delta was not attached: {}",
            args.release, failure.message
        );
        failure
    })?;
    let made = format!(
        "delta from {}: {} of {}",
        attached.base,
        bytes(attached.size),
        bytes(attached.full)
    );
    let (state, kept) = match &attached.kept {
        Some(kept) if kept.size < attached.size => (
            ", not attached: the registry has one of ".to_owned() + &bytes(kept.size),
            Some(kept),
        ),
        Some(kept) => (String::new(), Some(kept)),
        None => (", not attached: it saves nothing".to_owned(), None),
    };
    let document = json!({"base": attached.base, "size": attached.size, "full": attached.full, "kept": kept});
    answer.document.insert("delta".to_owned(), document);
    answer.text.push_str(&format!("\n{made}{state}"));
    Ok(())
}

fn plan(args: &Publish, planned: &Planned) -> Answer {
    if let Some(published) = &planned.already {
        return answer(args, published);
    }
    let size = planned.files.iter().map(|file| file.size).sum();
    let rows: Vec<_> = planned
        .files
        .iter()
        .map(|f| [f.path.to_string(), bytes(f.size), f.sha256.to_string()])
        .collect();
    let text = format!(
        "{}{} would be published: order {}, {}, {}",
        columns(&rows),
        args.release,
        planned.order,
        files(planned.files.len() as u64),
        bytes(size)
    );
    let document = json!({
        "release": args.release.to_string(),
        "order": planned.order,
        "files": planned.files.len(),
        "listing": planned.files,
        "size": size,
        "already": false,
        "dry_run": true,
    });
    Answer::new(document, text)
}

fn answer(args: &Publish, published: &PublishedRelease) -> Answer {
    if let Some(proposal) = &published.proposal {
        return proposed(args, published, proposal);
    }
    let done = if published.already {
        "is published already"
    } else {
        "published"
    };
    let text = format!(
        "{} {done}: order {}, {}, {}\nmanifest {}",
        args.release,
        published.order,
        files(published.files as u64),
        bytes(published.size),
        published.manifest
    );
    let document = json!({
        "release": args.release.to_string(),
        "order": published.order,
        "manifest": published.manifest,
        "files": published.files,
        "size": published.size,
        "already": published.already,
        "dry_run": args.dry_run,
    });
    Answer::new(document, text)
}

/// Other publishers have to sign, too.
fn proposed(args: &Publish, release: &PublishedRelease, proposal: &ProposedRelease) -> Answer {
    let namespace = &args.release.model.namespace;
    let command = format!("assay approve {namespace} {}", proposal.id);
    let done = format!(
        "{} proposed: order {}, {}",
        args.release,
        release.order,
        files(release.files as u64)
    );
    let text = waiting(&done, &proposal.missing, &command);
    let document = json!({
        "release": args.release.to_string(),
        "order": release.order,
        "manifest": release.manifest,
        "files": release.files,
        "size": release.size,
        "published": false,
        "proposal": proposal.id,
        "missing": proposal.missing,
        "already": false,
        "dry_run": args.dry_run,
    });
    Answer::new(document, printable(&text))
}
