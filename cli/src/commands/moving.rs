//! `assay namespace export` and `import`: a namespace leaves its registry.

use std::sync::Arc;

use assay_client::publisher::{AuthorityFolder, Export, Proposal, Publisher, Standing, export_namespace};
use assay_client::transport::registry_address;
use assay_schema::api::Visibility;
use jiff::Timestamp;
use serde_json::json;

use super::change::{read_proposal, review};
use super::namespace::open_authority;
use super::namespace_log::warn_of_unasked;
use crate::args::{LogChoice, NamespaceExport, NamespaceImport};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, bytes, columns, complain};
use crate::passphrase::Passphrases;
use crate::progress::PublishBars;

/// Where a move waits for other signers, in the authority's folder, unless a file is named.
const MOVE: &str = "move.json";

pub(super) fn export(context: &Context, args: &NamespaceExport) -> Result<Answer, Failure> {
    let given = args.authority.as_deref().filter(|path| path.is_dir());
    let record = match (given, args.fingerprint) {
        (Some(path), None) => Some(AuthorityFolder::open(path)?.namespace()?),
        _ => None,
    };
    let record = record.filter(|record| record.name == args.namespace);
    let identity = args.fingerprint.or(record.as_ref().map(|record| record.identity));
    let address = args.registry.clone().filter(|address| !address.is_empty());
    let address = address.or(record.map(|record| record.registry));
    let (Some(identity), Some(address)) = (identity, address) else {
        let message = "expected the namespace's fingerprint and its registry, found neither them nor its authority's folder";
        return Err(Failure::new(Exit::Usage, "fingerprint-needed", message)
            .advise("Give --fingerprint and --registry, or --authority"));
    };
    let transport = context.connect(&address, &args.token)?;
    let bars = PublishBars::new(context.show, 0);
    let exported = export_namespace(
        transport.as_ref(),
        &args.namespace,
        identity,
        &args.dir,
        args.metadata_only,
        Timestamp::now(),
        &|progress| bars.tell(&progress),
    );
    bars.clear();
    let exported = exported?;
    let rows = [
        ["namespace".to_owned(), exported.record.namespace.to_string()],
        ["fingerprint".to_owned(), exported.record.identity.to_string()],
        ["root".to_owned(), exported.record.root.to_string()],
        ["releases".to_owned(), exported.record.releases.to_string()],
        ["blobs".to_owned(), exported.blobs.to_string()],
        ["size".to_owned(), bytes(exported.bytes)],
    ];
    let document = json!({"export": exported.record, "folder": args.dir, "blobs": exported.blobs, "bytes": exported.bytes});
    Ok(Answer::new(document, columns(&rows)))
}

pub(super) fn import(context: &Context, args: &NamespaceImport) -> Result<Answer, Failure> {
    let now = Timestamp::now();
    let folder = open_authority(&args.sign.reach.authority)?;
    let record = folder.namespace()?;
    let given = args
        .sign
        .reach
        .registry
        .as_deref()
        .filter(|address| !address.is_empty());
    let Some(given) = given else {
        return Err(Failure::new(
            Exit::Usage,
            "no-registry",
            "--registry: expected the address of the new registry, found none",
        ));
    };
    let address = registry_address(given)?;
    let export = Arc::new(Export::open(&args.dir, record.identity, now)?);
    let transport = context.connect(&address, &args.sign.reach.token)?;
    let done = |publisher: &Publisher| -> Result<(), Failure> {
        publisher.moved_to(&address)?;
        Ok(())
    };
    // What the export says of that is unsigned.
    let visibility = match args.public {
        true => Visibility::Public,
        false => Visibility::Private,
    };
    let on = Arc::clone(&export).on(transport.clone(), visibility);
    let passphrases = Passphrases::new(&args.sign.reach.authority.passphrase)?;
    let publisher = Publisher::new(folder, on)
        .ask_passphrase(move |path| passphrases.of(path))
        .sign_again(args.sign.sign_again)
        .offline(true);
    match export.standing(transport.as_ref())? {
        Standing::Absent => {}
        Standing::Moved => {
            done(&publisher)?;
            let text = format!(
                "namespace {} is on {address} already: nothing is to do",
                record.name
            );
            return Ok(Answer::new(json!({"imported": false, "registry": address}), text));
        }
        Standing::Here => {
            let message = format!(
                "namespace {} stands on {address} with the export's last root: it did not move",
                record.name
            );
            return Err(Failure::new(Exit::Conflict, "not-moved", message)
                .advise("Give the address of the registry that it moves to"));
        }
    }
    let file = args.proposal.as_deref();
    let proposal: Proposal = match file {
        Some(file) => read_proposal(file)?,
        None => publisher.propose_move(args.log == LogChoice::Registry, now)?,
    };
    if !args.accept_older {
        publisher.check_newest(&export, &proposal)?;
    }
    let bars = PublishBars::new(context.show, 0);
    let uploaded = export.upload(transport.as_ref(), &|progress| bars.tell(&progress));
    bars.clear();
    uploaded?;
    complain(&format!(
        "namespace {} moves to {address}, readable by {}",
        record.name,
        match visibility {
            Visibility::Public => "everybody",
            Visibility::Private => "holders of a token only; --public lets everybody read it",
        }
    ));
    // The witnesses stay those of the authority, and the new registry may ask others.
    let log = match publisher.proposed_log(&proposal)? {
        None if !proposal.publication.roles.contains_key("targets") => publisher.log(now)?,
        log => log,
    };
    if let Some(trust) = log {
        warn_of_unasked(&publisher, &trust)?;
    }
    // The registry that it moves to keeps no proposals of a namespace that is not there yet.
    let kept = publisher.folder().path().join(MOVE);
    let answer = review(
        &publisher,
        proposal,
        &args.sign,
        Some(file.unwrap_or(&kept)),
        None,
    )?;
    if answer.document.get("published") == Some(&true.into()) {
        done(&publisher)?;
    }
    Ok(answer)
}
