//! RFC 9457 problem details: every error that the registry answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::RoleState;
use crate::verdict::Verdict;

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $status:literal, $title:literal;)*) => {
        /// The kinds of problems; each has its status and title.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
        pub enum ProblemKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind,)*
        }

        impl ProblemKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The URI in `type`.
            pub const fn uri(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }

            /// The title, the same for every problem of the kind.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

kinds! {
    /// The request is not what the API takes.
    BadRequest = "urn:assay:problem:bad-request", 400, "The request is malformed";
    /// A name, path or digest breaks its rule.
    BadName = "urn:assay:problem:bad-name", 400, "A name, path or digest is not allowed";
    /// No valid token.
    Unauthorized = "urn:assay:problem:unauthorized", 401, "A valid token is needed";
    /// The token does not allow this.
    Forbidden = "urn:assay:problem:forbidden", 403, "The token does not allow this";
    /// There is no such thing, or the asker may not know of it.
    NotFound = "urn:assay:problem:not-found", 404, "Not found";
    /// The path exists, the method does not.
    MethodNotAllowed = "urn:assay:problem:method-not-allowed", 405, "The method is not allowed here";
    /// A namespace of this name exists.
    NamespaceExists = "urn:assay:problem:namespace-exists", 409, "The namespace exists";
    /// A release of this version exists with other content.
    ReleaseExists = "urn:assay:problem:release-exists", 409, "The release exists with other content";
    /// Another publication came first.
    StaleParent = "urn:assay:problem:stale-parent", 409, "Another publication came first";
    /// The namespace keeps as many proposals as it may.
    TooManyProposals = "urn:assay:problem:too-many-proposals", 409, "Too many proposals";
    /// Someone else is writing to this upload.
    UploadBusy = "urn:assay:problem:upload-busy", 409, "The upload is being written to";
    /// `Upload-Offset` is not where the upload stands.
    OffsetMismatch = "urn:assay:problem:offset-mismatch", 409, "The offset is not where the upload stands";
    /// More bytes than declared or allowed.
    TooLarge = "urn:assay:problem:too-large", 413, "Larger than declared or allowed";
    /// The range lies outside the file.
    RangeNotSatisfiable = "urn:assay:problem:range-not-satisfiable", 416, "The range lies outside the file";
    /// The bytes are not what their digest says.
    DigestMismatch = "urn:assay:problem:digest-mismatch", 422, "The bytes do not match their digest";
    /// A release manifest that no device would take.
    BadManifest = "urn:assay:problem:bad-manifest", 422, "The release manifest is not acceptable";
    /// A delta that is not one, or not between these two releases.
    BadDelta = "urn:assay:problem:bad-delta", 422, "The delta is not acceptable";
    /// The manifest names blobs that this namespace has not uploaded.
    BlobsMissing = "urn:assay:problem:blobs-missing", 422, "Blobs are missing";
    /// The device's own verifier refuses what this metadata would make.
    MetadataRefused = "urn:assay:problem:metadata-refused", 422, "The verifier refuses this metadata";
    /// Too many requests.
    RateLimited = "urn:assay:problem:rate-limited", 429, "Too many requests";
    /// Something broke here.
    Internal = "urn:assay:problem:internal", 500, "The registry failed";
    /// A store is down or the registry is stopping.
    Unavailable = "urn:assay:problem:unavailable", 503, "The registry is not ready";
    /// There is no space left.
    StorageFull = "urn:assay:problem:storage-full", 507, "The registry's storage is full";
}

// Derived, it would name the variants: utoipa does not see names that a macro gives to serde.
#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ProblemKind {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::Type::String)
            .description(Some("The kinds of problems; each has its status and title."))
            .enum_values(Some(Self::ALL.iter().map(|kind| kind.uri())))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ProblemKind {}

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// The kind.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// The kind's title.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, what was expected, and what to do next.
    pub detail: String,
    /// With `stale-parent`: the current file of each role that the publication named.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub current: BTreeMap<String, RoleState>,
    /// With `offset-mismatch`: where the upload stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// With `blobs-missing`: their digests, the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<crate::Sha256Digest>,
    /// With `metadata-refused`: the verifier's verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Box<Verdict>>,
}

impl Problem {
    /// A problem of a kind with its detail.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            current: BTreeMap::new(),
            offset: None,
            missing: Vec::new(),
            verdict: None,
        }
    }
}
