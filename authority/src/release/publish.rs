//! A release's way into signed metadata.

use std::collections::BTreeMap;

use assay_schema::ReleaseOrder;
use assay_schema::api::{Publication, SignedRole};
use assay_schema::manifest::{BadManifest, ReleaseManifest};
use assay_schema::tuf::ModelRole;
use jiff::Timestamp;

use crate::key::SigningKey;
use crate::metadata::{Delegation, MetadataError, RoleKeys, Root, Target, Targets, TopRole, default_expiry};
use crate::public::sha256;

/// A release to publish, and the metadata that it goes into.
#[derive(Debug, Clone, Copy)]
pub struct PublishRelease<'a> {
    /// The current top-level targets file.
    pub targets: &'a [u8],
    /// The current file of the role of the release's block, if there is one.
    pub role: Option<&'a [u8]>,
    /// The manifest's bytes.
    pub manifest: &'a [u8],
    /// Keys of the role, at least its threshold.
    pub publishers: &'a [&'a SigningKey],
    /// Who may delegate the block, if they are at hand. Used only when nobody has delegated it; [`delegate_block`] changes a
    /// delegation that is there.
    pub authority: Option<Authority<'a>>,
    /// Fewer than the thresholds may sign, at least one of each role that is at hand: others add theirs to the proposal.
    pub proposal: bool,
    /// The time from which expiry counts.
    pub now: Timestamp,
}

/// The authority that delegates a new block.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// The current root file.
    pub root: &'a [u8],
    /// Targets keys, at least their threshold.
    pub signers: &'a [&'a SigningKey],
    /// What the block is delegated with.
    pub delegation: &'a Delegation,
}

/// A release that is not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Its manifest is not one.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// Its metadata cannot be read or signed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Metadata or manifest of another namespace or role.
    #[error("{what}: expected {expected}, found {found}; fetch this namespace's current metadata again")]
    Elsewhere {
        /// What was compared.
        what: &'static str,
        /// The namespace or role.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Nobody has delegated the block.
    #[error(
        "role {role}: the authority has not delegated it yet; ask the holder of the targets keys to delegate it, or publish with a targets key"
    )]
    NotDelegated {
        /// The role.
        role: String,
    },
    /// A file of the role without a delegation, or the other way round.
    #[error("role {role}: it has metadata, and the targets metadata does not delegate it; fetch both again")]
    Undelegated {
        /// The role.
        role: String,
    },
    /// The epoch is above what the role may give.
    #[error(
        "release order {order}: expected an epoch of at most {max_epoch}, which the authority permits role {role}; ask the authority to raise it"
    )]
    Epoch {
        /// The role.
        role: String,
        /// The order.
        order: ReleaseOrder,
        /// The limit.
        max_epoch: u64,
    },
    /// Another release has the order.
    #[error("release order {order}: {path} has it already; take a higher counter")]
    OrderTaken {
        /// The order.
        order: ReleaseOrder,
        /// The other release's target.
        path: String,
    },
}

/// The metadata that publishes a release: the next version of its block's role, and of the top-level targets role if the block
/// has to be delegated first. `None` if the release is listed already, with the same content.
///
/// # Errors
/// See [`PublishError`].
pub fn publish_release(request: &PublishRelease<'_>) -> Result<Option<Publication>, PublishError> {
    let manifest = ReleaseManifest::parse(request.manifest)?;
    let role = ModelRole::of(&manifest.model, manifest.order);
    let name = role.name();
    let top = Targets::read(request.targets)?;
    same(
        "role of the targets metadata",
        TopRole::Targets.as_str(),
        top.role(),
    )?;
    let namespace = top.binding()?.namespace;
    same("namespace of the manifest", namespace, manifest.namespace)?;

    let mut roles = BTreeMap::new();
    let delegation = match (top.delegation(&role)?, request.role, request.authority) {
        (Some(delegation), ..) => delegation,
        (None, Some(_), _) => return Err(PublishError::Undelegated { role: name }),
        (None, None, None) => return Err(PublishError::NotDelegated { role: name }),
        (None, None, Some(authority)) => {
            let file = delegated(request.targets, &role, &authority, request.proposal, request.now)?;
            roles.insert(TopRole::Targets.as_str().to_owned(), file);
            authority.delegation.clone()
        }
    };
    if manifest.order.epoch() > delegation.terms.max_epoch {
        let max_epoch = delegation.terms.max_epoch;
        return Err(PublishError::Epoch {
            role: name,
            order: manifest.order,
            max_epoch,
        });
    }

    let expires = default_expiry(&name, request.now)?;
    let (mut metadata, parent) = match request.role {
        Some(bytes) => {
            let mut current = Targets::read(bytes)?;
            same("role of the model role's metadata", &name, current.role())?;
            same(
                "namespace of the model role's metadata",
                namespace,
                current.binding()?.namespace,
            )?;
            current.advance(expires)?;
            (current, Some(sha256(bytes)))
        }
        None => (Targets::model_role(&role, namespace, expires)?, None),
    };
    if !add_release(
        &mut metadata,
        &role.manifest_path(&manifest.version),
        request.manifest,
        manifest.order,
    )? {
        return Ok(None);
    }
    enough(&delegation.keys, &name, request.publishers, request.proposal)?;
    let signed = metadata.sign(request.publishers, Some(&delegation.keys))?;
    roles.insert(name, signed.publish(parent)?);
    Ok(Some(Publication {
        roles,
        manifests: Vec::new(),
    }))
}

/// The next version of the top-level targets metadata, in which a block is delegated as the authority says: for the first time,
/// or to other publishers, or with a higher `max_epoch`.
///
/// # Errors
/// [`PublishError::Metadata`]: too few targets keys, or a delegation that [`Targets::delegate`] refuses.
pub fn delegate_block(
    targets: &[u8],
    role: &ModelRole,
    authority: &Authority<'_>,
    now: Timestamp,
) -> Result<SignedRole, PublishError> {
    delegated(targets, role, authority, false, now)
}

fn delegated(
    targets: &[u8],
    role: &ModelRole,
    authority: &Authority<'_>,
    proposal: bool,
    now: Timestamp,
) -> Result<SignedRole, PublishError> {
    let name = TopRole::Targets.as_str();
    let root = Root::read(authority.root)?;
    let keys = root.role(TopRole::Targets)?;
    enough(&keys, name, authority.signers, proposal)?;
    let mut top = Targets::read(targets)?;
    same("role of the targets metadata", name, top.role())?;
    top.delegate(role, authority.delegation, &root)?;
    top.advance(default_expiry(name, now)?)?;
    Ok(top
        .sign(authority.signers, Some(&keys))?
        .publish(Some(sha256(targets)))?)
}

/// Whether these keys may sign: enough of them, or for a proposal any.
fn enough(keys: &RoleKeys, role: &str, signers: &[&SigningKey], proposal: bool) -> Result<(), MetadataError> {
    let needed = RoleKeys {
        keys: keys.keys.clone(),
        threshold: if proposal { 1 } else { keys.threshold },
    };
    match needed.require(role, signers) {
        Err(MetadataError::NotEnough { role, found, .. }) => Err(MetadataError::NotEnough {
            role,
            threshold: keys.threshold,
            found,
        }),
        done => done,
    }
}

/// Lists the manifest; false if it was listed.
fn add_release(
    metadata: &mut Targets,
    path: &str,
    manifest: &[u8],
    order: ReleaseOrder,
) -> Result<bool, PublishError> {
    let mut target = Target::of(manifest);
    target.note.order = Some(order);
    let listed = metadata.targets()?;
    if listed.get(path) == Some(&target) {
        return Ok(false);
    }
    metadata.set_target(path, &target)?;
    match listed
        .into_iter()
        .find(|(other, target)| other != path && target.note.order == Some(order))
    {
        Some((path, _)) => Err(PublishError::OrderTaken { order, path }),
        None => Ok(true),
    }
}

fn same(what: &'static str, expected: impl ToString, found: impl ToString) -> Result<(), PublishError> {
    let (expected, found) = (expected.to_string(), found.to_string());
    if expected == found {
        Ok(())
    } else {
        Err(PublishError::Elsewhere {
            what,
            expected,
            found,
        })
    }
}
