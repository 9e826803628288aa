//! Proposals: publications that some of their signers have not signed yet. Who must sign, and who did.
//!
//! Registry and approvers share this, so that they count alike; each judges by metadata that it has itself.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::Sha256Digest;
use assay_schema::api::Publication;
use assay_schema::canonical::{self, JsonError};
use assay_schema::limits::{MAX_SIGNATURES, MAX_TARGETS};
use assay_schema::proposal::RoleSignature;
use assay_schema::status;
use assay_schema::tuf::ModelRole;
use serde_json::{Map, Value, json};

use crate::metadata::{MetadataError, RoleKeys, Root, Targets, TopRole};
use crate::public::{PublicKey, key_id, sha256};

/// The files that a publication builds on.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// The current root file.
    pub root: &'a [u8],
    /// The current top-level targets file.
    pub targets: &'a [u8],
}

/// A set of keys, so many of which must sign a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threshold {
    /// What the keys are called: "root keys of version 2".
    pub of: String,
    /// The keys and how many must sign.
    pub keys: RoleKeys,
}

impl Threshold {
    /// How many of the keys are among these ids.
    ///
    /// # Errors
    /// [`MetadataError::Key`].
    pub fn met_by(&self, signers: &BTreeSet<String>) -> Result<u64, MetadataError> {
        let ids: BTreeSet<_> = self.keys.ids()?.into_iter().collect();
        Ok(ids.intersection(signers).count() as u64)
    }
}

/// The id of a proposal: SHA-256 of the canonical JSON of `{namespace, roles: {role: {parent, signed}}}`, where `signed` is the
/// SHA-256 of the bytes that the file's signatures cover. Signatures do not change it, anything else does.
///
/// # Errors
/// [`MetadataError::Json`] or [`MetadataError::Field`]: a file that is no signed metadata.
pub fn id(namespace: Sha256Digest, publication: &Publication) -> Result<Sha256Digest, MetadataError> {
    let mut roles = Map::new();
    for (role, file) in &publication.roles {
        let signed = signed_digest(role, file.metadata.as_bytes())?;
        roles.insert(role.clone(), json!({"parent": file.parent, "signed": signed}));
    }
    let content = json!({"namespace": namespace, "roles": roles});
    let bytes = canonical::signed_bytes(&content).map_err(|source| json_error("proposal", source))?;
    Ok(sha256(&bytes))
}

/// SHA-256 of the bytes that the signatures of a file cover.
///
/// # Errors
/// [`MetadataError::Json`] or [`MetadataError::Field`]: it is no signed metadata.
pub fn signed_digest(role: &str, metadata: &[u8]) -> Result<Sha256Digest, MetadataError> {
    Ok(sha256(&Envelope::read(role, metadata)?.message(role)?))
}

/// By whose thresholds each file of a publication is judged, if it is published on top of `base`: a root by those of the root
/// before it and of its own (TUF 5.3.4), targets by the new root's, delegated roles by the new targets'.
///
/// # Errors
/// A file that cannot be read, keys or thresholds that nobody could accept, or a role that nothing delegates.
pub fn thresholds(
    base: Base<'_>,
    publication: &Publication,
) -> Result<BTreeMap<String, Vec<Threshold>>, MetadataError> {
    let sent = |role: &str| publication.roles.get(role).map(|file| file.metadata.as_bytes());
    let old_root = Root::read(base.root)?;
    let new_root = sent("root").map(Root::read).transpose()?;
    let targets = Targets::read(sent("targets").unwrap_or(base.targets))?;
    let mut all = BTreeMap::new();
    for role in publication.roles.keys() {
        let mut of_role = Vec::new();
        if let (TOP_ROOT, Some(new)) = (role.as_str(), &new_root) {
            for root in [&old_root, new] {
                of_role.push(Threshold {
                    of: format!("root keys of version {}", root.version()?),
                    keys: root.role(TopRole::Root)?,
                });
            }
        } else {
            let root = new_root.as_ref().unwrap_or(&old_root);
            let keys = keys_of(role, root, &targets)?;
            let keys = keys.ok_or_else(|| MetadataError::Field {
                role: role.clone(),
                what: "delegation".to_owned(),
                expected: "one in the targets metadata".to_owned(),
                found: "none".to_owned(),
            })?;
            of_role.push(Threshold {
                of: format!("keys of {role}"),
                keys,
            });
        }
        for threshold in &of_role {
            // Two spellings of one key would count twice.
            threshold.keys.check(role)?;
        }
        all.insert(role.clone(), of_role);
    }
    Ok(all)
}

/// The keys that may begin a change of a file: those that sign its role now, whatever the publication would make of it.
///
/// # Errors
/// The base cannot be read.
pub fn standing_keys(base: Base<'_>, role: &str) -> Result<Option<RoleKeys>, MetadataError> {
    let (root, targets) = (Root::read(base.root)?, Targets::read(base.targets)?);
    match role {
        TOP_ROOT => root.role(TopRole::Root).map(Some),
        _ => keys_of(role, &root, &targets),
    }
}

const TOP_ROOT: &str = "root";

fn keys_of(role: &str, root: &Root, targets: &Targets) -> Result<Option<RoleKeys>, MetadataError> {
    match (role, ModelRole::parse(role)) {
        ("targets", _) => root.role(TopRole::Targets).map(Some),
        (status::ROLE, _) => targets.status_keys(),
        (_, Some(model)) => Ok(targets.delegation(&model)?.map(|delegation| delegation.keys)),
        (_, None) => Ok(None),
    }
}

/// The signatures of a file, as they stand there.
///
/// # Errors
/// [`MetadataError::Json`] or [`MetadataError::Field`]: it is no signed metadata, or has more than [`MAX_SIGNATURES`].
pub fn signatures(role: &str, metadata: &[u8]) -> Result<Vec<RoleSignature>, MetadataError> {
    let envelope = Envelope::read(role, metadata)?;
    let read = serde_json::from_value(envelope.signatures);
    let found: Vec<RoleSignature> = read.map_err(|e| json_error(role, e.into()))?;
    if found.len() > MAX_SIGNATURES {
        let expected = format!("at most {MAX_SIGNATURES}");
        return Err(field(role, "signatures", &expected, &found.len().to_string()));
    }
    Ok(found)
}

/// The file with these signatures instead of its own, ordered by key id, in the one form in which files of proposals are written.
///
/// # Errors
/// As [`signatures`].
pub fn with_signatures(
    role: &str,
    metadata: &[u8],
    signatures: impl IntoIterator<Item = RoleSignature>,
) -> Result<String, MetadataError> {
    let envelope = Envelope::read(role, metadata)?;
    let by_id: BTreeMap<_, _> = signatures.into_iter().map(|s| (s.keyid, s.sig)).collect();
    let list: Vec<_> = by_id
        .into_iter()
        .map(|(keyid, sig)| json!({"keyid": keyid, "sig": sig}))
        .collect();
    let mut file = json!({"signatures": list, "signed": envelope.signed});
    // Another crate of the build may have switched serde_json to insertion order.
    file.sort_all_objects();
    Ok(file.to_string())
}

/// Signatures told apart by whether they are one listed key's over this very file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Valid, each key once.
    pub valid: Vec<RoleSignature>,
    /// Ids under which something else stands: an unknown key's, or no signature of this file.
    pub invalid: Vec<String>,
}

impl Checked {
    /// Ids of the keys that signed.
    pub fn signers(&self) -> BTreeSet<String> {
        self.valid.iter().map(|s| s.keyid.clone()).collect()
    }
}

/// Verifies signatures over the `signed` part of a file, by the keys of these thresholds; a key's first counts, any further one is
/// invalid.
///
/// # Errors
/// The file is no signed metadata, or a listed key cannot be read.
pub fn check(
    role: &str,
    metadata: &[u8],
    signatures: &[RoleSignature],
    thresholds: &[Threshold],
) -> Result<Checked, MetadataError> {
    let message = Envelope::read(role, metadata)?.message(role)?;
    let mut keys = BTreeMap::new();
    for key in thresholds.iter().flat_map(|t| &t.keys.keys) {
        keys.insert(key_id(key)?, PublicKey::from_tuf(key)?);
    }
    let mut checked = Checked::default();
    let mut seen = BTreeSet::new();
    for signature in signatures {
        // Each listed key once, and nobody else's: what a stranger sends costs no more verifications than there are keys.
        let key = keys
            .get(&signature.keyid)
            .filter(|_| seen.insert(&signature.keyid));
        let right =
            key.is_some_and(|key| hex::decode(&signature.sig).is_ok_and(|sig| key.verifies(&message, &sig)));
        if right {
            checked.valid.push(signature.clone());
        } else {
            checked.invalid.push(signature.keyid.chars().take(80).collect());
        }
    }
    Ok(checked)
}

struct Envelope {
    signed: Value,
    signatures: Value,
}

impl Envelope {
    fn read(role: &str, metadata: &[u8]) -> Result<Self, MetadataError> {
        let read = canonical::read(metadata, MAX_TARGETS);
        let mut file: Map<String, Value> = read.map_err(|source| json_error(role, source))?;
        match (file.remove("signed"), file.remove("signatures")) {
            (Some(signed @ Value::Object(_)), Some(signatures @ Value::Array(_))) => {
                Ok(Self { signed, signatures })
            }
            _ => Err(field(
                role,
                "file",
                "an object `signed` and a list `signatures`",
                "something else",
            )),
        }
    }

    fn message(&self, role: &str) -> Result<Vec<u8>, MetadataError> {
        canonical::signed_bytes(&self.signed).map_err(|source| json_error(role, source))
    }
}

fn json_error(role: &str, source: JsonError) -> MetadataError {
    MetadataError::Json {
        role: role.to_owned(),
        source,
    }
}

fn field(role: &str, what: &str, expected: &str, found: &str) -> MetadataError {
    MetadataError::Field {
        role: role.to_owned(),
        what: what.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}
