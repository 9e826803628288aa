//! `assay namespace`.

use std::path::Path;

use assay_authority::namespace::{check_signers, key_signer};
use assay_client::catalog::Catalog;
use assay_client::publisher::{AuthorityFolder, NamespaceRecord, NamespaceTerms, Publisher, Unpublished};
use assay_client::transport::registry_address;
use assay_schema::NamespaceName;
use assay_schema::api::{NamespaceInfo, Visibility};
use assay_schema::signers::{Signer, SignerIdentity, Signers};
use jiff::Timestamp;
use serde_json::json;

use super::change::{decide, open};
use super::foreign::{public_key, text_file};
use super::keygen::Thresholds;
use super::{moving, namespace_log, namespace_signers};
use crate::args::{
    AuthorityArgs, KeySigner, LogChoice, NamespaceCommand, NamespaceCreate, NamespaceJoin, NamespaceRenew,
    SigstoreSigner,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, columns, complain};
use crate::passphrase::{Passphrases, tokens};
use crate::verdict::printable;

pub(super) fn run(context: &Context, command: &NamespaceCommand) -> Result<Answer, Failure> {
    match command {
        NamespaceCommand::Create(args) => create(context, args),
        NamespaceCommand::Join(args) => join(context, args),
        NamespaceCommand::Log(args) => namespace_log::run(context, args),
        NamespaceCommand::Renew(args) => renew(context, args),
        NamespaceCommand::Export(args) => moving::export(context, args),
        NamespaceCommand::Signers(args) => namespace_signers::run(context, args),
        NamespaceCommand::Import(args) => moving::import(context, args),
        NamespaceCommand::Show(args) => {
            let transport = context.registry(&args.registry)?;
            let found = Catalog::new(transport.as_ref()).namespace(&args.namespace)?;
            let info = found.ok_or_else(|| {
                let message = format!(
                    "{}: the registry has no namespace {}",
                    args.registry.registry, args.namespace
                );
                Failure::new(Exit::NotFound, "no-namespace", message)
                    .advise("Check the name; a private namespace needs a token")
            })?;
            let versions: Vec<String> = info
                .versions
                .iter()
                .map(|(role, v)| printable(&format!("{role} {v}")))
                .collect();
            let rows = [
                ["namespace".to_owned(), info.name.to_string()],
                ["fingerprint".to_owned(), info.identity.to_string()],
                ["visibility".to_owned(), visibility(&info).to_owned()],
                ["versions".to_owned(), versions.join(", ")],
                ["created".to_owned(), info.created.to_string()],
            ];
            Ok(Answer::new(json!({"namespace": info}), columns(&rows)))
        }
        NamespaceCommand::List(args) => {
            let transport = context.registry(&args.registry)?;
            let found = Catalog::new(transport.as_ref()).namespaces(args.page.limit)?;
            let rows: Vec<_> = found
                .iter()
                .map(|n| {
                    [
                        n.name.to_string(),
                        visibility(n).to_owned(),
                        n.identity.to_string(),
                    ]
                })
                .collect();
            Ok(Answer::new(json!({"namespaces": found}), columns(&rows)))
        }
    }
}

fn visibility(info: &NamespaceInfo) -> &'static str {
    match info.visibility {
        Visibility::Public => "public",
        Visibility::Private => "private",
    }
}

/// The authority's folder, which must exist: a mistyped path must not become a new folder.
pub(super) fn open_authority(args: &AuthorityArgs) -> Result<AuthorityFolder, Failure> {
    if !args.authority.is_dir() {
        let message = format!("{}: no such folder", args.authority.display());
        return Err(
            Failure::new(Exit::NotFound, "no-authority", message).advise("Make one with `assay keygen`")
        );
    }
    Ok(AuthorityFolder::open(&args.authority)?.with_tokens(tokens(&args.tokens)))
}

/// As [`open_authority`], of this namespace where one is named.
pub(super) fn authority_of(
    args: &AuthorityArgs,
    namespace: Option<&NamespaceName>,
) -> Result<(AuthorityFolder, NamespaceRecord), Failure> {
    let folder = open_authority(args)?;
    let record = folder.namespace()?;
    if let Some(wanted) = namespace.filter(|wanted| **wanted != record.name) {
        let message = format!(
            "{}: expected the authority of namespace {wanted}, found that of {}",
            folder.path().display(),
            record.name
        );
        return Err(Failure::new(Exit::Usage, "other-namespace", message)
            .advise("Give the authority's folder with --authority"));
    }
    Ok((folder, record))
}

/// A document of signers that the command line names.
pub(super) fn signers_file(path: &Path) -> Result<Signers, Failure> {
    let bad = |e: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, "bad-signers", format!("{}: {e}", path.display()))
            .advise("schema/json/signers.json says what a document of signers looks like")
    };
    let signers: Signers = serde_json::from_str(&text_file(path)?).map_err(|e| bad(&e))?;
    check_signers(&signers).map_err(|e| bad(&e))?;
    Ok(signers)
}

/// The signers that the command line names one by one.
pub(super) fn signers(
    signer_key: &[KeySigner],
    sigstore_signer: &[SigstoreSigner],
) -> Result<Vec<Signer>, Failure> {
    let by_key = signer_key
        .iter()
        .map(|given| Ok(key_signer(&given.name, &public_key(&given.public_key)?)));
    let by_identity = sigstore_signer.iter().map(|given| {
        Ok(Signer {
            name: given.name.clone(),
            models: Vec::new(),
            statements: Vec::new(),
            identity: SignerIdentity::Sigstore {
                issuer: given.issuer.clone(),
                subject: given.subject.clone(),
            },
        })
    });
    by_key.chain(by_identity).collect()
}

fn renew(context: &Context, args: &NamespaceRenew) -> Result<Answer, Failure> {
    let (publisher, _) = open(context, &args.sign, Some(&args.namespace))?;
    let proposal = publisher.propose_targets_renewal(Timestamp::now())?;
    decide(&publisher, proposal, &args.sign)
}

fn join(context: &Context, args: &NamespaceJoin) -> Result<Answer, Failure> {
    let folder = open_authority(&args.authority)?;
    let transport = context.registry(&args.registry)?;
    let address = registry_address(&args.registry.registry)?;
    let publisher = Publisher::new(folder, transport);
    let record = publisher.join(&args.namespace, args.fingerprint, &address)?;
    if let Some(behind) = publisher.restore_state(Timestamp::now())? {
        complain("what this folder trusted last was gone; it is read again from the registry");
        for Unpublished { role, signed, stands } in behind {
            complain(&printable(&format!(
                "this folder signed {role} version {signed}, the registry has {stands}: it was not published, or the registry withholds it"
            )));
        }
    }
    let text = format!(
        "the keys in {} sign for namespace {} on {}",
        args.authority.authority.display(),
        record.name,
        record.registry
    );
    let document =
        json!({"namespace": record.name, "registry": record.registry, "fingerprint": record.identity});
    Ok(Answer::new(document, text))
}

fn create(context: &Context, args: &NamespaceCreate) -> Result<Answer, Failure> {
    if args.log == LogChoice::None && !args.witness.is_empty() {
        let message = "--witness: expected a log for the witnesses to cosign, found --log none";
        return Err(Failure::new(Exit::Usage, "usage", message));
    }
    let folder = open_authority(&args.authority)?;
    let thresholds = Thresholds::read(folder.path())?;
    let passphrases = Passphrases::new(&args.authority.passphrase)?;
    let transport = context.registry(&args.registry)?;
    let listed = args.signers.as_deref().map(signers_file).transpose()?;
    let terms = NamespaceTerms {
        name: args.namespace.clone(),
        registry: registry_address(&args.registry.registry)?,
        root_threshold: thresholds.root,
        targets_threshold: thresholds.targets,
        signer: args.signer.clone().unwrap_or_else(|| args.namespace.to_string()),
        other_signers: {
            let mut others = signers(&args.signer_key, &args.sigstore_signer)?;
            others.extend(listed.iter().flat_map(|document| document.signers.clone()));
            others
        },
        require: listed.map(|document| document.require).unwrap_or_default(),
        sigstore_root: args.sigstore_root.as_deref().map(text_file).transpose()?,
        log: args.log == LogChoice::Registry,
        witnesses: args.witness.clone(),
        witness_threshold: args.witness_threshold,
        visibility: if args.private {
            Visibility::Private
        } else {
            Visibility::Public
        },
    };
    let publisher = Publisher::new(folder, transport).ask_passphrase(move |path| passphrases.of(path));
    let now = Timestamp::now();
    let record = publisher.create_namespace(&terms, now)?;
    if !args.witness.is_empty()
        && let Some(trust) = publisher.log(now)?
    {
        namespace_log::warn_of_unasked(&publisher, &trust)?;
    }
    let text = format!(
        "namespace {} on {}\nfingerprint {}\n\nGive devices the fingerprint by a way that the registry does not control:\n  \
         assay trust add {} --registry {} --fingerprint {}",
        record.name, record.registry, record.identity, record.name, record.registry, record.identity
    );
    let document =
        json!({"namespace": record.name, "registry": record.registry, "fingerprint": record.identity});
    Ok(Answer::new(document, text))
}
