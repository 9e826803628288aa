//! What statements say, for the kinds that are known: fields that readers act on or show. Unknown fields are ignored, as in-toto and
//! the formats demand of readers; the statement's bytes keep them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::StatementError;
use crate::statement::shown;

/// Predicate types that are known.
pub mod kinds {
    /// SLSA provenance v1: who built it, how, from what.
    pub const SLSA_PROVENANCE: &str = "https://slsa.dev/provenance/v1";
    /// SLSA verification summary v1: somebody else verified it against a policy.
    pub const VERIFICATION_SUMMARY: &str = "https://slsa.dev/verification_summary/v1";
    /// in-toto test result v0.1: an evaluation and how it ended.
    pub const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
    /// `CycloneDX` bill of materials (ML-BOM), of any version: the type itself, or followed by `/` and a version.
    pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";
    /// SPDX 3 document, AI and dataset profiles included: the type itself, or followed by a minor version.
    pub const SPDX_3: &str = "https://spdx.dev/Document/v3";
}

/// What a statement says.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// Who built it, how, from what.
    SlsaProvenance(Box<SlsaProvenance>),
    /// An evaluation.
    TestResult(TestResult),
    /// A bill of materials in `CycloneDX`.
    CycloneDx(BillOfMaterials),
    /// A bill of materials in SPDX 3.
    Spdx(SpdxDocument),
    /// What another verifier found.
    VerificationSummary(VerificationSummary),
    /// A kind that is not known here, as it is.
    Unknown(Value),
}

impl Predicate {
    pub(super) fn read(predicate_type: &str, value: Value) -> Result<Self, StatementError> {
        let versioned = |base: &str, separator: char| {
            predicate_type
                .strip_prefix(base)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(separator))
        };
        Ok(match predicate_type {
            kinds::SLSA_PROVENANCE => Self::SlsaProvenance(serde_json::from_value(value)?),
            kinds::VERIFICATION_SUMMARY => Self::VerificationSummary(serde_json::from_value(value)?),
            kinds::TEST_RESULT => Self::TestResult(serde_json::from_value(value)?),
            _ if versioned(kinds::CYCLONEDX, '/') => Self::CycloneDx(serde_json::from_value(value)?),
            _ if versioned(kinds::SPDX_3, '.') => Self::Spdx(serde_json::from_value(value)?),
            _ => Self::Unknown(value),
        })
    }

    /// Why a statement of this kind speaks against what it is about: an evaluation or a verification that failed.
    pub fn objection(&self) -> Option<String> {
        match self {
            Self::TestResult(TestResult {
                result: TestOutcome::Failed,
                failed_tests,
                ..
            }) => Some(format!("an evaluation that failed ({})", list(failed_tests))),
            Self::VerificationSummary(summary) if summary.verification_result != "PASSED" => Some(format!(
                "a verification by {} with the result {}",
                shown(&summary.verifier.id),
                shown(&summary.verification_result)
            )),
            _ => None,
        }
    }
}

/// One line for people.
impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlsaProvenance(it) => write!(
                f,
                "built by {} as {} from {} materials",
                shown(&it.run_details.builder.id),
                shown(&it.build_definition.build_type),
                it.build_definition.resolved_dependencies.len()
            ),
            Self::TestResult(it) => write!(
                f,
                "evaluation {:?}: {} passed, {} warned, {} failed",
                it.result,
                it.passed_tests.len(),
                it.warned_tests.len(),
                it.failed_tests.len()
            ),
            Self::CycloneDx(it) => write!(
                f,
                "CycloneDX {}: {} components, {} models, {} data sets",
                shown(&it.spec_version),
                it.components.len(),
                it.models().count(),
                it.data_sets().count()
            ),
            Self::Spdx(it) => write!(
                f,
                "SPDX 3: {} elements, {} models, {} data sets",
                it.graph.len(),
                it.models().count(),
                it.data_sets().count()
            ),
            Self::VerificationSummary(it) => write!(
                f,
                "{} by {} for {}, levels {}",
                shown(&it.verification_result),
                shown(&it.verifier.id),
                shown(&it.resource_uri),
                list(&it.verified_levels)
            ),
            Self::Unknown(_) => f.write_str("of a kind that is not known here"),
        }
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none named".to_owned(),
        names => shown(&names.join(", ")),
    }
}

/// in-toto `ResourceDescriptor`: something by name, address or digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Where it is known.
    pub uri: String,
    /// Its digests in hexadecimal, by algorithm.
    pub digest: BTreeMap<String, String>,
}

/// SLSA provenance v1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlsaProvenance {
    /// What was to be done.
    pub build_definition: BuildDefinition,
    /// What was done.
    pub run_details: RunDetails,
}

/// What was to be done: a training, a conversion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// How to read the parameters.
    pub build_type: String,
    /// What somebody outside decided: a configuration, a base model.
    #[serde(default)]
    pub external_parameters: Value,
    /// What the builder decided.
    #[serde(default)]
    pub internal_parameters: Value,
    /// What went in: code, data sets, base models.
    #[serde(default)]
    pub resolved_dependencies: Vec<Resource>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetails {
    /// Who did it.
    pub builder: Builder,
    /// When, and under which name.
    #[serde(default)]
    pub metadata: Value,
    /// What came out beside: logs, checkpoints.
    #[serde(default)]
    pub byproducts: Vec<Resource>,
}

/// A builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// Its URI.
    pub id: String,
}

/// How an evaluation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TestOutcome {
    /// All of it.
    Passed,
    /// With remarks.
    Warned,
    /// Not all of it.
    Failed,
}

/// in-toto test result v0.1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// How it ended.
    pub result: TestOutcome,
    /// What was run: suites, data sets, thresholds.
    #[serde(default)]
    pub configuration: Vec<Resource>,
    /// Where to read more.
    #[serde(default)]
    pub url: String,
    /// By name.
    #[serde(default)]
    pub passed_tests: Vec<String>,
    /// By name.
    #[serde(default)]
    pub warned_tests: Vec<String>,
    /// By name.
    #[serde(default)]
    pub failed_tests: Vec<String>,
}

/// A `CycloneDX` bill of materials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BillOfMaterials {
    /// `1.6`.
    pub spec_version: String,
    /// Its own name, a URN.
    #[serde(default)]
    pub serial_number: String,
    /// What it consists of.
    #[serde(default)]
    pub components: Vec<Component>,
}

/// A component of a bill of materials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// `machine-learning-model`, `data`, `library`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Its package URL.
    #[serde(default)]
    pub purl: String,
}

impl BillOfMaterials {
    /// The models among its components.
    pub fn models(&self) -> impl Iterator<Item = &Component> {
        self.components
            .iter()
            .filter(|c| c.kind == "machine-learning-model")
    }

    /// The data sets among its components.
    pub fn data_sets(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().filter(|c| c.kind == "data")
    }
}

/// An SPDX 3 document in JSON-LD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpdxDocument {
    /// Its elements.
    #[serde(rename = "@graph")]
    pub graph: Vec<Value>,
}

/// A package of an SPDX 3 document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpdxPackage<'a> {
    /// Its identifier.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
}

impl SpdxDocument {
    /// The models: packages of the AI profile.
    pub fn models(&self) -> impl Iterator<Item = SpdxPackage<'_>> {
        self.packages("ai_AIPackage")
    }

    /// The data sets: packages of the dataset profile.
    pub fn data_sets(&self) -> impl Iterator<Item = SpdxPackage<'_>> {
        self.packages("dataset_DatasetPackage")
    }

    fn packages(&self, kind: &'static str) -> impl Iterator<Item = SpdxPackage<'_>> {
        self.graph.iter().filter_map(move |element| {
            let field = |name: &str| element.get(name).and_then(Value::as_str);
            let either = |one: &str, other: &str| field(one).or_else(|| field(other)).unwrap_or("");
            (either("type", "@type") == kind).then(|| SpdxPackage {
                id: either("spdxId", "@id"),
                name: field("name").unwrap_or(""),
                version: either("software_packageVersion", "packageVersion"),
            })
        })
    }
}

/// SLSA verification summary v1 (VSA).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationSummary {
    /// Who verified.
    pub verifier: Builder,
    /// When, RFC 3339.
    #[serde(default)]
    pub time_verified: String,
    /// What was verified, in the verifier's words.
    pub resource_uri: String,
    /// Against what.
    pub policy: VerifiedPolicy,
    /// `PASSED` or `FAILED`.
    pub verification_result: String,
    /// The levels that it reaches: `SLSA_BUILD_LEVEL_3`.
    #[serde(default)]
    pub verified_levels: Vec<String>,
    /// How many dependencies reach each level.
    #[serde(default)]
    pub dependency_levels: BTreeMap<String, u64>,
    /// The attestations that it rests on.
    #[serde(default)]
    pub input_attestations: Vec<Resource>,
}

/// The policy that something was verified against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifiedPolicy {
    /// Where it is known.
    pub uri: String,
    /// Its digests in hexadecimal, by algorithm.
    pub digest: BTreeMap<String, String>,
}
