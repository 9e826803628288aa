//! `assay-schema`: canonical JSON, documents, names and digests.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use assay_schema::api::{
    CreateNamespace, CreateToken, NamespaceInfo, Page, Publication, ReleaseInfo, StartUpload,
};
use assay_schema::bundle::{BundleDifference, Held, LogPart};
use assay_schema::canonical::{self, document as write, read, read_document, signed_bytes};
use assay_schema::difference::Part;
use assay_schema::limits::{MAX_BUNDLE, MAX_INTEGER, MAX_JSON_BODY, MAX_PUBLICATION, MAX_TRUST_TARGET};
use assay_schema::log::LogTrust;
use assay_schema::path::{self, FilePath};
use assay_schema::pattern::Pattern;
use assay_schema::problem::Problem;
use assay_schema::proposal::{AddSignatures, ProposalDetail};
use assay_schema::signers::Signers;
use assay_schema::status::Status;
use assay_schema::tuf::ModelRole;
use assay_schema::verdict::Stage;
use assay_schema::{
    CheckBundle, ChunkIndex, ModelName, ModelRef, NamespaceName, ReleaseManifest, ReleaseRef, Sha256Digest,
    TrustPolicy, Verdict, VersionName,
};
use serde_json::{Value, json};

use super::{document, text, texts};
use crate::target::{Form, Outcome, Target};

/// The targets of this area.
pub const TARGETS: &[Target] = &[
    Target {
        fixtures: &["schema/vectors/canonical-json.json"],
        made: || texts(&[r#"{"a":[1,-1,null,true,"\"\\"],"b":{"":"é"}}"#]),
        covers: &[
            "schema/src/canonical.rs read",
            "schema/src/canonical.rs read_document",
        ],
        runs: 6_000,
        ..Target::new("schema/canonical", Form::Json, canonical_json)
    },
    Target {
        made: manifests,
        words: &[
            "chunks",
            "not_before",
            "attestations",
            "a/b",
            "A/B",
            "models",
            "2026-11-20T00:00:00Z",
            "con",
            "ﬁ",
        ],
        covers: &[
            "schema/src/manifest.rs ReleaseManifest::parse",
            "schema/src/order.rs ReleaseOrder::try_from",
        ],
        runs: 6_000,
        ..Target::new("schema/manifest", Form::Json, manifest)
    },
    Target {
        made: chunk_indexes,
        covers: &["schema/src/chunk.rs ChunkIndex::decode"],
        ..Target::new("schema/chunk-index", Form::Binary, chunk_index)
    },
    Target {
        made: bundles,
        words: &["base", "log", "consistency", "roots"],
        ..Target::new("schema/bundle", Form::Json, bundle)
    },
    Target {
        made: differences,
        ..Target::new("schema/difference", Form::Json, difference)
    },
    Target {
        made: statuses,
        words: &[
            "versions",
            "orders",
            "revoked_releases",
            "revoked_keys",
            "manifest",
            "version",
            "reason",
        ],
        covers: &["schema/src/status.rs Status::parse"],
        ..Target::new("schema/status", Form::Json, status)
    },
    Target {
        made: trust_documents,
        words: &["witnesses", "threshold", "models", "sigstore", "key", "spki"],
        ..Target::new("schema/trust", Form::Json, trust)
    },
    Target {
        made: bodies,
        words: &[
            "namespace",
            "visibility",
            "private",
            "public",
            "roles",
            "proposal",
            "next",
            "scope",
            "detail",
        ],
        ..Target::new("schema/bodies", Form::Json, api)
    },
    Target {
        made: || {
            texts(&[
                "acme",
                "acme/minilm",
                "acme/minilm@1.2.0",
                "snapshot:12,targets:3,model.minilm.0:7,release:1.2.0",
                "model.minilm.0",
                "weights/model-00001.safetensors",
                "trust-root",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ])
        },
        words: &[
            "con",
            "aux.txt",
            "ﬁ",
            "ẞ",
            "İ",
            "snapshot:1",
            "release:1",
            "model.a.0:1",
            "..",
            "@",
            "/",
        ],
        runs: 20_000,
        longest: 4 << 10,
        covers: &[
            "schema/src/name.rs $name::from_str",
            "schema/src/name.rs $name::try_from",
            "schema/src/name.rs ModelRef::from_str",
            "schema/src/name.rs ModelRef::try_from",
            "schema/src/name.rs ReleaseRef::from_str",
            "schema/src/name.rs ReleaseRef::try_from",
            "schema/src/digest.rs Sha256Digest::from_str",
            "schema/src/digest.rs Sha256Digest::try_from",
            "schema/src/path.rs FilePath::from_str",
            "schema/src/path.rs FilePath::try_from",
            "schema/src/bundle.rs Held::from_str",
            "schema/src/bundle.rs Held::try_from",
            "schema/src/tuf.rs ModelRole::parse",
            "schema/src/verdict.rs Stage::from_str",
        ],
        ..Target::new("schema/names", Form::Text, names)
    },
    Target {
        made: || {
            texts(&[
                "a/b\nA/c\nd",
                "Ä/x\nä/y",
                "weights\nweights/1\ntokenizer/vocab.txt",
            ])
        },
        words: &["a", "/", "Ǆ", "ǆ", "İ", "i̇", "ß", "ẞ", "ﬁ", "Å", "Å"],
        ..Target::new("schema/paths", Form::Text, paths)
    },
    Target {
        made: || {
            texts(&[
                "https://github.com/acme/*/.github/workflows/**@refs/tags/*\nhttps://github.com/acme/a/.github/workflows/b/c@refs/tags/v1",
                "**a*b**c\nxaybzbc",
                "*@example.com\nci@example.com",
            ])
        },
        words: &["*", "**", "/", "a", "b", "ab", "a*b", "**/"],
        runs: 10_000,
        covers: &[
            "schema/src/pattern.rs Pattern::from_str",
            "schema/src/pattern.rs Pattern::try_from",
        ],
        ..Target::new("schema/pattern", Form::Text, pattern)
    },
];

fn canonical_json(bytes: &[u8]) -> Outcome {
    let any = Outcome::of(read::<Value>(bytes, 1 << 20), |value| {
        let signed = signed_bytes(&value).is_ok();
        let written = write(&value);
        if let Ok(written) = &written {
            assert!(signed, "a document has signed bytes, too");
            let again: Value = read_document(written, u64::MAX).expect("a document reads as one");
            assert_eq!(again, value, "read back");
        }
        (signed, written.is_ok())
    });
    any.and(Outcome::of(read_document::<Value>(bytes, 1 << 20), |value| {
        assert_eq!(write(&value).expect("a document"), bytes, "one form only");
    }))
}

fn manifest(bytes: &[u8]) -> Outcome {
    Outcome::of(ReleaseManifest::parse(bytes), |manifest| {
        let written = manifest.to_bytes().expect("what was accepted can be written");
        assert_eq!(
            ReleaseManifest::parse(&written).expect("and read"),
            manifest,
            "read back"
        );
        assert!(
            manifest.size() <= assay_schema::limits::MAX_RELEASE_SIZE,
            "{}",
            manifest.size()
        );
        (
            manifest.files.len().min(3),
            manifest.attestations.len().min(2),
            manifest.not_before.is_some(),
        )
    })
}

fn chunk_index(bytes: &[u8]) -> Outcome {
    // As the manifest would say it, and as the index itself says it.
    let claimed = bytes
        .get(16..24)
        .and_then(|size| size.try_into().ok())
        .map_or(0, u64::from_le_bytes);
    let sizes = [claimed, ((bytes.len() as u64).saturating_sub(24) / 32) << 20];
    let read = |size| {
        Outcome::of(ChunkIndex::decode(bytes, size), |index| {
            assert_eq!(index.encode(), bytes, "one form only");
            assert_eq!(
                index.digests().len() as u64,
                assay_schema::chunk::count(size),
                "one digest a chunk"
            );
        })
    };
    // A size that no device would have a manifest for.
    match claimed <= MAX_INTEGER << 10 {
        true => read(sizes[0]).and(read(sizes[1])),
        false => read(sizes[1]),
    }
}

fn bundle(bytes: &[u8]) -> Outcome {
    let part = document::<LogPart>(bytes, MAX_BUNDLE);
    let whole = read::<CheckBundle>(bytes, MAX_BUNDLE);
    let sent = Outcome::of(read::<BundleDifference>(bytes, MAX_BUNDLE), |sent| {
        let written = serde_json::to_vec(&sent).expect("what was read can be written");
        assert_eq!(
            read::<BundleDifference>(&written, u64::MAX).expect("and read"),
            sent,
            "read back"
        );
        let parts = [sent.snapshot, sent.targets].into_iter();
        let parts = parts.chain(sent.delegated.into_iter().map(|role| role.metadata));
        let parts = parts.chain(sent.blobs.into_iter().map(|blob| blob.content));
        parts
            .map(|part| u8::from(rebuilt(part, Some("{\"signed\":{}}"))))
            .fold(0, u8::saturating_add)
            .min(4)
    });
    assert!(
        whole.is_err() || sent.accepted,
        "every whole bundle reads as a difference"
    );
    part.and(sent)
        .and(Outcome::of(whole, |bundle| bundle.log.is_some()))
}

/// Whether a part makes a text, which is then no longer than was allowed.
fn rebuilt(part: Part, base: Option<&str>) -> bool {
    const MOST: u64 = 4 << 10;
    part.rebuild(base, MOST).is_ok_and(|text| {
        assert!(text.len() as u64 <= MOST, "longer than allowed");
        true
    })
}

/// An old text, a part, and a new text.
fn difference(bytes: &[u8]) -> Outcome {
    Outcome::of(
        read::<(String, Part, String)>(bytes, 1 << 20),
        |(base, part, new)| {
            let made = Part::between(&base, &new);
            let edits = matches!(made, Part::Edits(_));
            assert_eq!(
                made.clone().rebuild(Some(&base), new.len() as u64).as_deref(),
                Ok(new.as_str()),
                "rebuilt"
            );
            let written = serde_json::to_string(&made).expect("a part can be written");
            assert_eq!(
                read::<Part>(written.as_bytes(), u64::MAX).expect("and read"),
                made,
                "read back"
            );
            (edits, rebuilt(part.clone(), Some(&base)), rebuilt(part, None))
        },
    )
}

fn status(bytes: &[u8]) -> Outcome {
    Outcome::of(Status::parse(bytes), |status| {
        let written = canonical::document(&status);
        if let Ok(written) = &written {
            assert_eq!(
                Status::parse(written).expect("what was written can be read"),
                status,
                "read back"
            );
        }
        (
            written.is_ok(),
            status.revoked_releases.len().min(2),
            status.orders.len().min(1),
        )
    })
}

fn trust(bytes: &[u8]) -> Outcome {
    let owner = Outcome::of(read::<TrustPolicy>(bytes, MAX_TRUST_TARGET), |policy| {
        if policy.check().is_err() {
            return false;
        }
        // One requirement at a time gives the same policy, but for the order of models.
        let mut again = TrustPolicy::default();
        for requirement in &policy.require {
            again
                .set(requirement.clone())
                .expect("what was checked can be set");
        }
        assert_eq!(again.require.len(), policy.require.len(), "set one by one");
        true
    });
    document::<Signers>(bytes, MAX_TRUST_TARGET)
        .and(document::<LogTrust>(bytes, MAX_TRUST_TARGET))
        .and(owner)
}

fn api(bytes: &[u8]) -> Outcome {
    document::<Publication>(bytes, MAX_PUBLICATION)
        .and(document::<CreateNamespace>(bytes, MAX_JSON_BODY))
        .and(document::<CreateToken>(bytes, MAX_JSON_BODY))
        .and(document::<StartUpload>(bytes, MAX_JSON_BODY))
        .and(document::<AddSignatures>(bytes, MAX_JSON_BODY))
        .and(document::<ProposalDetail>(bytes, MAX_PUBLICATION))
        .and(document::<NamespaceInfo>(bytes, MAX_JSON_BODY))
        .and(document::<Page<ReleaseInfo>>(bytes, MAX_JSON_BODY))
        .and(document::<Problem>(bytes, MAX_JSON_BODY))
        .and(document::<Verdict>(bytes, MAX_JSON_BODY))
}

/// A value whose text is the one that was read.
fn exact<T: FromStr<Err: Display> + Display + PartialEq + Debug>(text: &str) -> Outcome {
    Outcome::of(text.parse::<T>(), |value| {
        assert_eq!(value.to_string(), text, "one spelling only");
        std::any::type_name::<T>()
    })
}

fn names(bytes: &[u8]) -> Outcome {
    text(bytes, |name| {
        let held = Outcome::of(name.parse::<Held>(), |held| {
            let again: Held = held.to_string().parse().expect("what was written can be read");
            assert_eq!(again, held, "read back");
            held.roles.len()
        });
        let role = Outcome::of(ModelRole::parse(name).ok_or("no model role"), |role| {
            assert_eq!(role.name(), name, "one spelling only");
        });
        exact::<NamespaceName>(name)
            .and(exact::<ModelName>(name))
            .and(exact::<VersionName>(name))
            .and(exact::<ModelRef>(name))
            .and(exact::<ReleaseRef>(name))
            .and(exact::<Sha256Digest>(name))
            .and(exact::<FilePath>(name))
            .and(exact::<Stage>(name))
            .and(held)
            .and(role)
    })
}

/// A path on each line: whether they can stand beside each other does not depend on their order.
fn paths(bytes: &[u8]) -> Outcome {
    text(bytes, |lines| {
        let paths: Result<Vec<FilePath>, _> = lines.lines().map(str::parse).collect();
        Outcome::of(paths, |paths| {
            let together = path::check_together(&paths);
            let turned = path::check_together(paths.iter().rev());
            assert_eq!(together.is_ok(), turned.is_ok(), "{together:?} {turned:?}");
            together.map_err(|collision| collision.reason)
        })
    })
}

/// A pattern on the first line, a name on the others.
fn pattern(bytes: &[u8]) -> Outcome {
    text(bytes, |lines| {
        let (pattern, name) = lines.split_once('\n').unwrap_or((lines, ""));
        Outcome::of(pattern.parse::<Pattern>(), |read| {
            assert_eq!(read.to_string(), pattern, "one spelling only");
            let fits = read.fits(name);
            if pattern.len() < 100 && name.len() < 300 {
                assert_eq!(
                    fits,
                    fits_by_definition(pattern.as_bytes(), name.as_bytes()),
                    "{pattern:?} {name:?}"
                );
            }
            (fits, read.has_wildcard(), read.names_somebody())
        })
    })
}

/// Every way to share the name out among the wildcards.
fn fits_by_definition(pattern: &[u8], name: &[u8]) -> bool {
    // Which beginnings of the name the pattern so far may have taken.
    let mut taken = vec![false; name.len() + 1];
    taken[0] = true;
    let mut rest = pattern;
    while let Some((first, after)) = rest.split_first() {
        let mut next = vec![false; name.len() + 1];
        let double = rest.starts_with(b"**");
        for at in 1..=name.len() {
            let byte = name[at - 1];
            next[at] = match first {
                b'*' => (double || byte != b'/') && (taken[at - 1] || next[at - 1]),
                first => *first == byte && taken[at - 1],
            };
        }
        taken = next;
        rest = if double { &rest[2..] } else { after };
    }
    taken[name.len()]
}

fn sha(byte: u8) -> String {
    Sha256Digest::new([byte; 32]).to_hex()
}

fn written(values: &[Value]) -> Vec<Vec<u8>> {
    values
        .iter()
        .map(|value| write(value).expect("a document"))
        .collect()
}

/// A manifest with every field.
pub(super) fn manifest_value() -> Value {
    json!({
        "v": 1,
        "namespace": sha(1),
        "model": "minilm",
        "version": "1.2.0",
        "order": {"epoch": 1, "counter": 7},
        "not_before": "2026-11-20T10:00:00Z",
        "files": [
            {"path": "README.md", "size": 0, "sha256": Sha256Digest::EMPTY.to_hex()},
            {"path": "config.json", "size": 612, "sha256": sha(2)},
            {"path": "weights/model.safetensors", "size": 90_868_376, "sha256": sha(3), "chunks": sha(4)},
        ],
        "attestations": [{"predicate_type": "https://model_signing/signature/v1.0", "size": 4096, "sha256": sha(5)}],
    })
}

fn manifests() -> Vec<Vec<u8>> {
    let full = manifest_value();
    let mut plain = full.clone();
    plain
        .as_object_mut()
        .expect("an object")
        .retain(|key, _| key != "attestations" && key != "not_before");
    written(&[full, plain])
}

fn chunk_indexes() -> Vec<Vec<u8>> {
    [1_u64, 1 << 20, (3 << 20) + 5]
        .map(|size| {
            let digests = (0..assay_schema::chunk::count(size))
                .map(|n| Sha256Digest::new([n as u8; 32]))
                .collect();
            ChunkIndex::new(size, digests).expect("an index").encode()
        })
        .to_vec()
}

fn bundles() -> Vec<Vec<u8>> {
    let file = "{\"signatures\":[],\"signed\":{}}";
    let log = json!({"proof": "c2sp.org/tlog-proof@v1", "consistency": [sha(1), sha(2)]});
    let whole = json!({
        "v": 1, "roots": [file], "timestamp": file, "snapshot": file, "targets": file,
        "delegated": [{"role": "model.minilm.0", "metadata": file}],
        "blobs": [{"sha256": sha(3), "content": "{}"}],
        "log": log,
    });
    let mut sent = whole.clone();
    sent["snapshot"] = json!([[0, 5], "x", [3, 4]]);
    sent["targets"] = json!([[2, 11]]);
    sent["blobs"] = json!([{"sha256": sha(3), "base": sha(4), "content": [[0, 13]]}]);
    written(&[whole, sent, log])
}

fn differences() -> Vec<Vec<u8>> {
    let old: String = (0..40)
        .map(|n| format!("{{\"path\":\"models/minilm/0/{n}.json\",\"length\":{n}}},"))
        .collect();
    let new = old.replace("/7.json", "/é.json");
    written(&[
        json!([old, [[0, 100], "text", [200, 64]], new]),
        json!(["abcdefgh", "whole", "abcdefgh"]),
    ])
}

fn statuses() -> Vec<Vec<u8>> {
    written(&[
        json!({
            "v": 1, "issued": "2026-11-20T10:00:00Z", "versions": {"root": 2, "targets": 9},
            "orders": {"minilm": {"epoch": 1, "counter": 3}},
            "revoked_releases": [{"model": "minilm", "version": "1.0.0", "manifest": sha(9), "reason": "poisoned"}],
            "revoked_keys": [sha(8)],
        }),
        json!({"v": 1, "issued": "2026-11-20T10:00:00Z"}),
    ])
}

/// The owner's trust policy, the permitted signers, the log.
pub(super) fn trust_documents() -> Vec<Vec<u8>> {
    let requirement = |model: &str| {
        json!({"model": model, "threshold": 1, "authorities": [
            {"namespace": "regulator", "identity": sha(1)}, {"namespace": "auditor", "identity": sha(2)},
        ]})
    };
    written(&[
        json!({"v": 1, "require": [requirement("acme/minilm"), requirement("acme/other")]}),
        json!({"v": 1, "signers": [
            {"name": "Acme CI", "models": ["minilm"], "identity": {"kind": "key", "spki": "MCowBQYDK2VwAyEA"}},
            {"name": "Builder", "identity": {"kind": "sigstore", "issuer": "https://token.example", "subject": "a@example.com"}},
        ]}),
        json!({"v": 1, "log": "log.example+00000000+AQ==", "witnesses": ["w.example+00000000+BA=="], "threshold": 1}),
    ])
}

fn bodies() -> Vec<Vec<u8>> {
    let state = json!({"version": 3, "sha256": sha(1)});
    let verdict = json!({
        "v": 1, "outcome": "refuse", "time": "2026-11-20T10:00:00Z",
        "subject": {"namespace": "acme", "identity": sha(1), "model": "minilm"},
        "stages": [
            {"stage": "trust-root", "outcome": "passed", "evidence": {"version": "1"}},
            {"stage": "freshness", "outcome": "refused", "code": "expired", "subject": "timestamp",
             "expected": "a", "found": "b", "advice": "c"},
            {"stage": "release", "outcome": "skipped", "reason": "d"},
            {"stage": "permission", "outcome": "deferred", "until": "2026-12-01T00:00:00Z", "reason": "e"},
        ],
    });
    written(&[
        json!({"roles": {"targets": {"metadata": "{}", "parent": sha(1)}}, "manifests": ["{}"]}),
        json!({
            "root": "{}", "later_roots": ["{}"], "targets": "{}", "roles": {"status": "{}"}, "blobs": ["x"],
            "visibility": "private",
        }),
        json!({"label": "ci", "scope": "publish", "namespace": "acme", "expires": "2026-12-01T00:00:00Z"}),
        json!({"sha256": sha(3), "size": 5}),
        json!({"roles": {"targets": [{"keyid": sha(4), "sig": "00"}]}}),
        json!({"items": [], "next": "x"}),
        json!({
            "type": "urn:assay:problem:stale-parent", "title": "t", "status": 409, "detail": "expected a, found b",
            "current": {"targets": state}, "offset": 1, "missing": [sha(2)], "verdict": verdict,
        }),
        verdict,
    ])
}
