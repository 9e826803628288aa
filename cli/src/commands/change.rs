//! `assay root`, `assay role`, `assay approve`: changes to a namespace's metadata, shown before they are signed.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use assay_authority::PublicKey;
use assay_client::publisher::{
    Grant, NamespaceRecord, Outcome, Proposal, PublishError, Publisher, Revocation, RootChange, public_key,
    versions,
};
use assay_schema::NamespaceName;
use assay_schema::api::Published;
use assay_schema::limits::{BLOCK, MAX_PUBLICATION};
use assay_schema::name::ModelRef;
use jiff::Timestamp;
use serde_json::json;

use super::namespace::authority_of;
use crate::args::{
    Approve, ReachArgs, RoleCommand, RoleGrant, RoleRenew, RoleRevoke, RootCommand, RootRotate, SignArgs,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, columns, complain};
use crate::passphrase::Passphrases;
use crate::verdict::printable;

pub(super) fn root(context: &Context, command: &RootCommand) -> Result<Answer, Failure> {
    match command {
        RootCommand::Show(args) => {
            let (publisher, _) = open(context, &args.sign, Some(&args.namespace))?;
            let root = publisher.root(Timestamp::now())?;
            let mut rows = vec![
                ["version".to_owned(), root.version.to_string()],
                ["expires".to_owned(), root.expires.to_string()],
            ];
            let mut roles = Vec::new();
            for role in &root.roles {
                rows.push([
                    role.role.to_owned(),
                    format!("{} of {} must sign", role.threshold, role.keys.len()),
                ]);
                for (id, kind) in &role.keys {
                    rows.push([String::new(), printable(&format!("{id} {kind}"))]);
                }
                let keys: Vec<_> = role
                    .keys
                    .iter()
                    .map(|(id, kind)| json!({"id": id, "kind": kind}))
                    .collect();
                roles.push(json!({"role": role.role, "threshold": role.threshold, "keys": keys}));
            }
            let document = json!({"version": root.version, "expires": root.expires, "roles": roles});
            Ok(Answer::new(document, columns(&rows)))
        }
        RootCommand::Rotate(args) => rotate(context, args),
        RootCommand::Sign(args) => approve(context, args),
    }
}

pub(super) fn role(context: &Context, command: &RoleCommand) -> Result<Answer, Failure> {
    match command {
        RoleCommand::Grant(args) => grant(context, args),
        RoleCommand::Revoke(args) => revoke(context, args),
        RoleCommand::Renew(args) => renew(context, args),
        RoleCommand::List(args) => {
            let (publisher, _) = open(context, &args.sign, Some(&args.model.namespace))?;
            let found = publisher.delegations(&args.model.model, Timestamp::now())?;
            let (mut rows, mut roles) = (Vec::new(), Vec::new());
            for d in &found {
                rows.push([
                    d.role.clone(),
                    format!("{} of {} must sign", d.threshold, d.keys.len()),
                    format!("epoch up to {}", d.max_epoch),
                    format!("{} releases", d.releases),
                    d.expires.map_or_else(String::new, |e| format!("expires {e}")),
                ]);
                let keys = d.keys.iter().map(|id| {
                    let empty = String::new;
                    [empty(), printable(id), empty(), empty(), empty()]
                });
                rows.extend(keys);
                roles.push(
                    json!({"role": d.role, "block": d.block, "threshold": d.threshold, "keys": d.keys,
                    "max_epoch": d.max_epoch, "releases": d.releases, "expires": d.expires}),
                );
            }
            Ok(Answer::new(json!({"roles": roles}), columns(&rows)))
        }
    }
}

/// The publisher of this folder, which must be of this namespace where one is named.
pub(super) fn open(
    context: &Context,
    args: &SignArgs,
    namespace: Option<&NamespaceName>,
) -> Result<(Publisher, NamespaceRecord), Failure> {
    let (publisher, record) = reach(context, &args.reach, namespace)?;
    Ok((publisher.sign_again(args.sign_again), record))
}

/// As [`open`], where nothing is signed.
pub(super) fn reach(
    context: &Context,
    args: &ReachArgs,
    namespace: Option<&NamespaceName>,
) -> Result<(Publisher, NamespaceRecord), Failure> {
    let (folder, record) = authority_of(&args.authority, namespace)?;
    let passphrases = Passphrases::new(&args.authority.passphrase)?;
    let address = args.registry.as_deref().filter(|address| !address.is_empty());
    let transport = context.connect(address.unwrap_or(&record.registry), &args.token)?;
    let publisher = Publisher::new(folder, transport).ask_passphrase(move |path| passphrases.of(path));
    Ok((publisher, record))
}

fn rotate(context: &Context, args: &RootRotate) -> Result<Answer, Failure> {
    let (publisher, _) = open(context, &args.sign, Some(&args.namespace))?;
    let change = RootChange {
        add_root: keys(&args.add_root_key)?,
        add_targets: keys(&args.add_targets_key)?,
        remove: args.remove_key.clone(),
        root_threshold: args.root_threshold,
        targets_threshold: args.targets_threshold,
        online_keys: args.online_keys,
        renew: args.renew,
    };
    let proposal = publisher.propose_root(&change, Timestamp::now())?;
    decide(&publisher, proposal, &args.sign)
}

fn grant(context: &Context, args: &RoleGrant) -> Result<Answer, Failure> {
    let (publisher, _) = of_model(context, &args.sign, &args.model)?;
    let mut blocks = args.block.clone();
    blocks.extend(args.from_counter.map(|counter| counter / BLOCK));
    let grant = Grant {
        model: args.model.model.clone(),
        blocks,
        keys: keys(&args.key)?,
        threshold: args.threshold,
        max_epoch: args.max_epoch,
    };
    let proposal = publisher.propose_grant(&grant, Timestamp::now())?;
    decide(&publisher, proposal, &args.sign)
}

fn revoke(context: &Context, args: &RoleRevoke) -> Result<Answer, Failure> {
    let (publisher, _) = of_model(context, &args.sign, &args.model)?;
    let revocation = Revocation {
        model: args.model.model.clone(),
        key: args.key.clone(),
        replace: keys(&args.replace)?,
        threshold: args.threshold,
    };
    let proposal = publisher.propose_revocation(&revocation, Timestamp::now())?;
    decide(&publisher, proposal, &args.sign)
}

fn renew(context: &Context, args: &RoleRenew) -> Result<Answer, Failure> {
    let (publisher, _) = of_model(context, &args.sign, &args.model)?;
    let proposal = publisher.propose_role_renewal(&args.model.model, &args.block, Timestamp::now())?;
    decide(&publisher, proposal, &args.sign)
}

fn of_model(
    context: &Context,
    args: &SignArgs,
    model: &ModelRef,
) -> Result<(Publisher, NamespaceRecord), Failure> {
    open(context, args, Some(&model.namespace))
}

pub(super) fn approve(context: &Context, args: &Approve) -> Result<Answer, Failure> {
    let folder = args.folder.as_deref();
    let Some(id) = &args.id else {
        let (publisher, _) = open(context, &args.sign, None)?;
        let file = Path::new(&args.what);
        let proposal = read_proposal(file)?;
        return review(&publisher, proposal, &args.sign, Some(file), folder);
    };
    let namespace: NamespaceName = args.what.parse().map_err(|e| {
        let message = format!("before the proposal's id: {e}");
        Failure::new(Exit::Usage, "bad-name", printable(&message))
    })?;
    let (publisher, _) = open(context, &args.sign, Some(&namespace))?;
    let proposal = publisher.proposal(id)?;
    review(&publisher, proposal, &args.sign, None, folder)
}

/// A proposal that somebody handed on.
pub(super) fn read_proposal(file: &Path) -> Result<Proposal, Failure> {
    let fail = |e: String| {
        let message = format!("{}: expected a proposal, found {e}", file.display());
        Failure::new(Exit::Failed, "bad-proposal", message)
            .advise("Name a proposal's file, or a namespace and the proposal's id")
    };
    let length = std::fs::metadata(file).map_err(|e| fail(e.to_string()))?.len();
    if length > MAX_PUBLICATION {
        return Err(fail(format!("{length} bytes, more than {MAX_PUBLICATION}")));
    }
    let text = std::fs::read_to_string(file).map_err(|e| fail(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| fail(e.to_string()))
}

pub(super) fn keys(files: &[PathBuf]) -> Result<Vec<PublicKey>, Failure> {
    files.iter().map(|file| Ok(public_key(file)?)).collect()
}

/// Reviews, shows, asks, signs a proposal that was made here.
pub(super) fn decide(publisher: &Publisher, proposal: Proposal, args: &SignArgs) -> Result<Answer, Failure> {
    review(publisher, proposal, args, None, None)
}

/// Reviews, shows, asks, signs. `file` is where the proposal came from, if not from the registry; `folder` holds the files of the
/// release that it proposes.
pub(super) fn review(
    publisher: &Publisher,
    proposal: Proposal,
    args: &SignArgs,
    file: Option<&Path>,
    folder: Option<&Path>,
) -> Result<Answer, Failure> {
    let now = Timestamp::now();
    let review = match publisher.review(proposal, folder, now) {
        Err(PublishError::PublishedAlready(published)) => return Ok(published_already(&published)),
        reviewed => reviewed?,
    };
    complain(&format!("proposal {}", review.id()));
    let changes: Vec<String> = review.changes().iter().map(|line| printable(line)).collect();
    for line in &changes {
        complain(line);
    }
    for (role, keys) in review.signers() {
        for key in keys {
            complain(&format!("{role}: signed by key {key}"));
        }
    }
    if !args.yes {
        ask()?;
    }
    let out = args.out.as_deref().or(file);
    let outcome = match out {
        Some(_) => publisher.sign(review, now)?,
        None => publisher.collect(review, now)?,
    };
    let (document, text) = match outcome {
        Outcome::Published(published) => (
            json!({"published": true, "roles": published.roles, "changes": changes}),
            printable(&format!("published: {}", versions(&published))),
        ),
        Outcome::Incomplete {
            proposal,
            id,
            missing,
        } => {
            let command = match out {
                Some(out) => {
                    proposal.save(out)?;
                    format!("assay approve {}", out.display())
                }
                None => format!("assay approve {} {id}", proposal.namespace),
            };
            let document = json!({"published": false, "missing": missing, "proposal": id, "file": out,
                "changes": changes});
            (document, waiting("signed", &missing, &command))
        }
    };
    Ok(Answer::new(document, text))
}

/// Nothing is left to sign: the proposal's own bodies stand.
pub(super) fn published_already(published: &Published) -> Answer {
    let text = format!("published already: {}", versions(published));
    let document = json!({"published": true, "roles": published.roles, "changes": []});
    Answer::new(document, printable(&text))
}

/// What the others have to do.
pub(super) fn waiting(done: &str, missing: &[String], command: &str) -> String {
    format!(
        "{done}; more signatures are needed:\n  {}\nLet the others run: {command}",
        missing.join("\n  ")
    )
}

/// Nothing is signed that nobody agreed to.
fn ask() -> Result<(), Failure> {
    let refuse = |why: &str| {
        Failure::new(
            Exit::Denied,
            "not-confirmed",
            format!("nothing was signed: {why}"),
        )
        .advise("Look at the changes above; --yes signs without asking")
    };
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(refuse("standard input is not a terminal"));
    }
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "Sign this? [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(refuse("you did not agree")),
    }
}
