//! Bodies of the REST API. Requests refuse unknown fields; answers may gain fields.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /v1/namespaces/{ns}/keys[?next=true]` | - | [`OnlineKeys`] |
//! | `PUT /v1/namespaces/{ns}` | [`CreateNamespace`] | [`NamespaceInfo`] |
//! | `GET /v1/namespaces` | - | [`Page`] of [`NamespaceInfo`] |
//! | `GET /v1/namespaces/{ns}` | - | [`NamespaceInfo`] |
//! | `GET /v1/namespaces/{ns}/models` | - | [`Page`] of [`ModelInfo`] |
//! | `GET /v1/namespaces/{ns}/models/{model}` | - | [`ModelInfo`] |
//! | `GET /v1/namespaces/{ns}/models/{model}/releases` | - | [`Page`] of [`ReleaseInfo`] |
//! | `PUT /v1/namespaces/{ns}/models/{model}/releases/{version}` | the bytes of `release.json` | [`ReleaseInfo`] |
//! | `GET /v1/namespaces/{ns}/models/{model}/releases/{version}` | - | [`ReleaseInfo`] |
//! | `GET /v1/namespaces/{ns}/models/{model}/check?root=N[&version=V]` | - | [`CheckBundle`](crate::CheckBundle) |
//! | `POST /v1/namespaces/{ns}/metadata` | [`Publication`] | [`Published`] |
//! | `GET /v1/namespaces/{ns}/models/{model}/deltas?target=SHA256[&base=SHA256,..]` | - | [`DeltaList`] |
//! | `POST /v1/namespaces/{ns}/models/{model}/deltas` | [`AttachDelta`] | [`DeltaInfo`] |
//! | `DELETE /v1/namespaces/{ns}/models/{model}/deltas/{base}/{target}` | - | 204 |
//! | `POST /v1/namespaces/{ns}/proposals` | [`Publication`] | [`ProposalDetail`] |
//! | `GET /v1/namespaces/{ns}/proposals` | - | [`Page`] of [`ProposalInfo`] |
//! | `GET`, `DELETE /v1/namespaces/{ns}/proposals/{id}` | - | [`ProposalDetail`], 204 |
//! | `POST /v1/namespaces/{ns}/proposals/{id}/signatures` | [`AddSignatures`] | [`ProposalDetail`] |
//! | `POST /v1/namespaces/{ns}/uploads` | [`StartUpload`] | [`UploadInfo`] |
//! | `HEAD`, `GET /v1/namespaces/{ns}/uploads/{id}` | - | [`UploadInfo`], `Upload-Offset` |
//! | `PATCH /v1/namespaces/{ns}/uploads/{id}` | bytes, with `Upload-Offset` | [`UploadInfo`], `Upload-Offset` |
//! | `DELETE /v1/namespaces/{ns}/uploads/{id}` | - | 204 |
//! | `GET`, `HEAD /v1/namespaces/{ns}/blobs/{sha256}` | - | the bytes |
//! | `GET /v1/search?q=TEXT` | - | [`Page`] of [`SearchHit`] |
//! | `GET`, `POST /v1/tokens`, `DELETE /v1/tokens/{id}` | [`CreateToken`] | [`TokenInfo`], [`NewToken`] |
//! | `GET /tuf/{ns}/metadata/{file}`, `GET /tuf/{ns}/targets/{path}` | - | TUF files, unmodified |
//!
//! Lists take `limit` (1 to 200) and `cursor` (from the page before).
//!
//! [`DeltaList`]: crate::delta::DeltaList
//! [`AttachDelta`]: crate::delta::AttachDelta
//! [`DeltaInfo`]: crate::delta::DeltaInfo
//! [`ProposalDetail`]: crate::proposal::ProposalDetail
//! [`ProposalInfo`]: crate::proposal::ProposalInfo
//! [`AddSignatures`]: crate::proposal::AddSignatures

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::name::{ModelName, NamespaceName, VersionName};
use crate::order::ReleaseOrder;
use crate::tuf::TufKey;

/// The registry's online keys for one namespace, handed out before the namespace exists so that its root can list them.
/// Asking again before creation gives the same keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OnlineKeys {
    /// For the snapshot role.
    pub snapshot: TufKey,
    /// For the timestamp role.
    pub timestamp: TufKey,
}

/// Who may read a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Visibility {
    /// Everybody, without a token.
    #[default]
    Public,
    /// Holders of a token for this namespace.
    Private,
}

/// Creates a namespace from metadata that its authority signed: a new one, or one that moves here from another registry.
///
/// One that moves keeps its first root, and with it its identity. Its last root lists this registry's keys. Everything that its
/// targets name has been uploaded before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateNamespace {
    /// The exact bytes of `1.root.json`.
    pub root: String,
    /// The exact bytes of `2.root.json` and so on, of a namespace that moves here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later_roots: Vec<String>,
    /// The exact bytes of the targets metadata: the first, or the present one of a namespace that moves here.
    pub targets: String,
    /// The exact bytes of the present file of every delegated role, by role, of a namespace that moves here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, String>,
    /// Bytes of the targets that the metadata lists (`trust/*`), as text.
    #[serde(default)]
    pub blobs: Vec<String>,
    /// Who may read it.
    #[serde(default)]
    pub visibility: Visibility,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NamespaceInfo {
    /// Its name on this registry.
    pub name: NamespaceName,
    /// SHA-256 of its first root file: what devices pin.
    pub identity: Sha256Digest,
    /// Who may read it.
    pub visibility: Visibility,
    /// The current version of each top-level role.
    pub versions: BTreeMap<String, u64>,
    /// When it was created.
    #[cfg_attr(feature = "json-schema", schemars(with = "String"))]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub created: Timestamp,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelInfo {
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its name.
    pub model: ModelName,
    /// How many releases are published.
    pub releases: u64,
    /// The published release that is highest in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<VersionName>,
}

/// How far a release has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ReleaseState {
    /// Its manifest and files are here; no signed metadata lists it, and no device is shown it.
    Candidate,
    /// Signed metadata lists it. It never changes again.
    Published,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseInfo {
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its model.
    pub model: ModelName,
    /// Its version.
    pub version: VersionName,
    /// Its order.
    pub order: ReleaseOrder,
    /// SHA-256 of its manifest.
    pub manifest: Sha256Digest,
    /// How far it has come.
    pub state: ReleaseState,
    /// Bytes of all its files.
    pub size: u64,
    /// How many files it has.
    pub files: u64,
    /// When the candidate was made.
    #[cfg_attr(feature = "json-schema", schemars(with = "String"))]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub created: Timestamp,
    /// When it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<String>"))]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub published: Option<Timestamp>,
}

/// Signed targets metadata for publication: compare-and-swap on the files that it replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Publication {
    /// The new files: `targets` and delegated roles by name.
    pub roles: BTreeMap<String, SignedRole>,
    /// Manifests of other namespaces' releases that a model's role lists from now on, as text: the exact bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<String>,
}

/// One new metadata file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedRole {
    /// The exact bytes.
    pub metadata: String,
    /// SHA-256 of the file that it replaces, which must be the current one; absent for a role's first file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Sha256Digest>,
}

/// A role's current file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleState {
    /// Its version.
    pub version: u64,
    /// SHA-256 of its bytes.
    pub sha256: Sha256Digest,
}

/// What a publication led to. Sending the same publication again gives the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Published {
    /// The current file of every role that the publication named, and of `snapshot` and `timestamp`.
    pub roles: BTreeMap<String, RoleState>,
    /// Releases that it made visible.
    pub releases: Vec<VersionName>,
}

/// Starts an upload, or finds the one that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartUpload {
    /// SHA-256 of the bytes to come.
    pub sha256: Sha256Digest,
    /// How many bytes will come.
    pub size: u64,
}

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UploadInfo {
    /// The upload's name in its URL; absent once the blob is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// SHA-256 as declared.
    pub sha256: Sha256Digest,
    /// Bytes as declared.
    pub size: u64,
    /// Bytes that are safely stored: where the next `PATCH` goes on.
    pub offset: u64,
    /// The bytes are all here, their digest is right, and this namespace may use them.
    pub complete: bool,
    /// SHA-256 of the chunk index, which the registry computed; present when complete and there is more than one chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Sha256Digest>,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A model that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SearchHit {
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its name.
    pub model: ModelName,
    /// The published release that is highest in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<VersionName>,
}

/// What a token allows. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Scope {
    /// Read private namespaces.
    Read,
    /// Upload, make candidates, publish metadata.
    Publish,
    /// Create namespaces and tokens.
    Admin,
}

/// Makes a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateToken {
    /// What it is for, shown in listings.
    pub label: String,
    /// What it allows.
    pub scope: Scope,
    /// The one namespace that it is for; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NamespaceName>,
    /// When it ends; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<String>"))]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub expires: Option<Timestamp>,
}

/// The registry's transparency log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogInfo {
    /// Its unique name.
    pub origin: String,
    /// Its key as a C2SP verifier key, for `trust/log.json`.
    pub key: String,
    /// The key that will take its place: until then checkpoints carry the signatures of both. New documents should name this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<String>,
    /// The size of the newest published checkpoint, which `/log/checkpoint` shows.
    pub size: u64,
    /// The witnesses that the registry asks for cosignatures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<WitnessInfo>,
}

/// A witness of the registry's log, and the largest checkpoint that it cosigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WitnessInfo {
    /// Its name.
    pub name: String,
    /// Its key as a C2SP verifier key, for `trust/log.json`.
    pub key: String,
    /// The size of that checkpoint; absent if it cosigned none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<String>"))]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub cosigned: Option<Timestamp>,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenInfo {
    /// Its name in its URL.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// What it allows.
    pub scope: Scope,
    /// The one namespace that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NamespaceName>,
    /// When it was made.
    #[cfg_attr(feature = "json-schema", schemars(with = "String"))]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub created: Timestamp,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<String>"))]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub expires: Option<Timestamp>,
}

/// A new token. The secret is shown this once; the registry keeps only its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewToken {
    /// `Authorization: Bearer` takes this.
    pub secret: String,
    /// The rest.
    pub token: TokenInfo,
}
