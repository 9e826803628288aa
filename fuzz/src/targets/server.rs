//! `assay-server`: what requests and publications hold, as far as it is read without a database.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::test::TestRequest;
use assay_schema::api::Publication;
use assay_schema::canonical::read;
use assay_schema::limits::MAX_PUBLICATION;
use assay_server::distribute::{coding, conditional};
use assay_server::metadata::{RootFile, TargetsFile, version_and_expiry};
use assay_server::publish::decide;

use super::{authority, sha256, texts};
use crate::target::{Form, Outcome, Target};

/// The targets of this area.
pub const TARGETS: &[Target] = &[
    Target {
        made: authority::files,
        words: &[
            "x-assay",
            "inline",
            "order",
            "hashes",
            "sha256",
            "delegations",
            "roles",
            "name",
        ],
        runs: 3_000,
        covers: &[
            "server/src/metadata.rs TargetsFile::parse",
            "server/src/metadata.rs RootFile::parse",
        ],
        ..Target::new("server/metadata", Form::Json, metadata)
    },
    Target {
        made: authority::publications,
        words: &[
            "root",
            "targets",
            "status",
            "model.minilm.0",
            "parent",
            "metadata",
            "manifests",
        ],
        runs: 2_000,
        covers: &[
            "server/src/publish/decide.rs read",
            "server/src/publish/decide.rs read_role",
        ],
        ..Target::new("server/publication", Form::Json, publication)
    },
    Target {
        made: || {
            texts(&[
                "range: bytes=0-99\nif-range: \"x\"",
                "range: bytes=-5",
                "range: bytes=10-",
                "if-none-match: W/\"a\", \"b\"\naccept-encoding: gzip;q=0.5, *;q=0",
            ])
        },
        words: &[
            "range: ",
            "bytes=",
            "if-range: ",
            "if-none-match: ",
            "accept-encoding: ",
            "gzip",
            "identity",
            ";q=",
            "*",
            "W/\"",
            "18446744073709551615",
        ],
        runs: 6_000,
        longest: 4 << 10,
        ..Target::new("server/headers", Form::Text, headers)
    },
];

fn metadata(bytes: &[u8]) -> Outcome {
    let version = Outcome::of(version_and_expiry("targets", bytes), |(version, _)| {
        version.leading_zeros()
    });
    let targets = Outcome::of(TargetsFile::parse("targets", bytes), |file| {
        file.targets.len().min(2)
    });
    version
        .and(targets)
        .and(Outcome::of(RootFile::parse(bytes), |root| {
            root.threshold("root").min(3)
        }))
}

fn publication(bytes: &[u8]) -> Outcome {
    let publication = match read::<Publication>(bytes, MAX_PUBLICATION) {
        Ok(publication) => publication,
        Err(error) => return Outcome::refused(error),
    };
    Outcome::of(decide::read(publication), |sent| sent.files().count().min(4))
}

/// A header on each line.
fn headers(bytes: &[u8]) -> Outcome {
    const LENGTH: u64 = 1000;
    let mut request = TestRequest::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let at = line.windows(2).position(|two| two == b": ");
        let Some((name, value)) = at.map(|at| (&line[..at], &line[at + 2..])) else {
            return Outcome::refused("no header");
        };
        match (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(value)) => request = request.append_header((name, value)),
            _ => return Outcome::refused("no header"),
        }
    }
    let request = request.to_http_request();
    let selected = conditional::select(&request, &conditional::tag(&sha256(b"content")), LENGTH);
    if let conditional::Selection::Part { first, last } = selected {
        assert!(first <= last && last < LENGTH, "{first} to {last} of {LENGTH}");
    }
    Outcome::accepted((std::mem::discriminant(&selected), coding::accepts_gzip(&request)))
}
