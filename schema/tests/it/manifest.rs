//! The release manifest: what no device may follow.

use assay_schema::limits::{
    CHUNK_SIZE, MAX_ATTESTATION, MAX_ATTESTATIONS, MAX_FILE_SIZE, MAX_FILES, MAX_MANIFEST,
};
use assay_schema::manifest::{AttestationRef, BadManifest, FileEntry};
use assay_schema::{ReleaseManifest, ReleaseOrder, Sha256Digest};

fn digest(n: u8) -> Sha256Digest {
    Sha256Digest::new([n; 32])
}

fn file(path: &str, size: u64, n: u8) -> FileEntry {
    FileEntry {
        path: path.parse().unwrap(),
        size,
        sha256: digest(n),
        chunks: (size > u64::from(CHUNK_SIZE)).then(|| digest(n.wrapping_add(100))),
    }
}

fn manifest() -> ReleaseManifest {
    ReleaseManifest {
        v: 1,
        namespace: digest(9),
        model: "minilm".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        order: ReleaseOrder::new(1, 1).unwrap(),
        not_before: None,
        files: vec![file("a.bin", 5, 1), file("b/c.bin", 3 << 20, 2)],
        attestations: Vec::new(),
    }
}

// Both ways: neither written by a publisher nor taken by a device.
fn refused(change: impl FnOnce(&mut ReleaseManifest)) -> String {
    let mut bad = manifest();
    change(&mut bad);
    let written = bad.to_bytes().unwrap_err().to_string();
    let bytes = assay_schema::canonical::document(&bad).unwrap();
    let read = ReleaseManifest::parse(&bytes).unwrap_err().to_string();
    assert_eq!(read, written);
    assert!(read.starts_with("release manifest: "), "{read}");
    read
}

#[test]
fn reads_back_what_it_writes() {
    let mut manifest = manifest();
    manifest.not_before = Some("2026-12-01T00:00:00Z".parse().unwrap());
    manifest.attestations.push(AttestationRef {
        predicate_type: "https://model_signing/signature/v1.0".into(),
        size: 9,
        sha256: digest(7),
    });
    let bytes = manifest.to_bytes().unwrap();
    assert_eq!(ReleaseManifest::parse(&bytes).unwrap(), manifest);
    assert_eq!(manifest.size(), 5 + (3 << 20));
}

#[test]
fn has_the_published_bytes() {
    let expected = concat!(
        r#"{"files":[{"path":"a.bin","sha256":"0101010101010101010101010101010101010101010101010101010101010101","size":5},"#,
        r#"{"chunks":"6666666666666666666666666666666666666666666666666666666666666666","path":"b/c.bin","#,
        r#""sha256":"0202020202020202020202020202020202020202020202020202020202020202","size":3145728}],"model":"minilm","#,
        r#""namespace":"0909090909090909090909090909090909090909090909090909090909090909","order":{"counter":1,"epoch":1},"v":1,"#,
        r#""version":"1.0.0"}"#,
    );
    assert_eq!(
        String::from_utf8(manifest().to_bytes().unwrap()).unwrap(),
        expected
    );
}

#[test]
fn keeps_unknown_fields_out_of_the_decision() {
    let text = String::from_utf8(manifest().to_bytes().unwrap()).unwrap();
    let later = text.replace(r#""v":1,"#, r#""v":1,"variants":[],"#);
    // Not in canonical order: "variants" sorts before "version".
    assert!(ReleaseManifest::parse(later.as_bytes()).is_ok());
}

#[test]
fn refuses_another_version() {
    assert!(refused(|m| m.v = 2).contains("v: expected 1, found 2"));
}

#[test]
fn refuses_duplicate_and_unsorted_files() {
    refused(|m| m.files.push(file("b/c.bin", 1, 3)));
    refused(|m| m.files.reverse());
}

#[test]
fn refuses_case_collisions() {
    assert!(refused(|m| m.files.insert(0, file("A.bin", 1, 3))).contains("differ only in case"));
}

#[test]
fn refuses_no_files_and_too_many() {
    refused(|m| m.files.clear());
    refused(|m| m.files = (0..=MAX_FILES).map(|i| file(&format!("{i:08}"), 1, 1)).collect());
}

#[test]
fn refuses_a_chunk_index_too_many_or_too_few() {
    refused(|m| m.files[1].chunks = None);
    refused(|m| m.files[0].chunks = Some(digest(1)));
    refused(|m| {
        m.files[0].size = u64::from(CHUNK_SIZE);
        m.files[0].chunks = Some(digest(1));
    });
    refused(|m| m.files[0].size = u64::from(CHUNK_SIZE) + 1);
}

#[test]
fn refuses_an_empty_file_with_another_digest() {
    assert!(refused(|m| m.files[0].size = 0).contains("e3b0c442"));
    let mut empty = manifest();
    empty.files[0].size = 0;
    empty.files[0].sha256 = Sha256Digest::EMPTY;
    assert!(empty.to_bytes().is_ok());
}

#[test]
fn refuses_one_digest_with_two_sizes() {
    assert!(refused(|m| m.files.push(file("d", 6, 1))).contains("one size"));
    let mut twice = manifest();
    twice.files.push(file("d", 5, 1));
    assert!(twice.to_bytes().is_ok());
}

#[test]
fn refuses_sizes_over_the_limits() {
    refused(|m| m.files[1].size = MAX_FILE_SIZE + 1);
    refused(|m| m.files = (0..5).map(|i| file(&i.to_string(), MAX_FILE_SIZE, i)).collect());
    refused(|m| m.files[1].size = u64::MAX);
}

#[test]
fn refuses_too_many_or_too_large_attestations() {
    let one = AttestationRef {
        predicate_type: "p".into(),
        size: 1,
        sha256: digest(1),
    };
    refused(|m| m.attestations = vec![one.clone(); MAX_ATTESTATIONS + 1]);
    refused(|m| {
        m.attestations = vec![AttestationRef {
            size: MAX_ATTESTATION + 1,
            ..one
        }]
    });
}

#[test]
fn refuses_bad_paths_orders_and_digests() {
    let text = String::from_utf8(manifest().to_bytes().unwrap()).unwrap();
    for (from, to) in [
        ("a.bin", "../a.bin"),
        ("a.bin", "/a.bin"),
        ("a.bin", "C:a.bin"),
        ("\"epoch\":1", "\"epoch\":0"),
        ("\"model\":\"minilm\"", "\"model\":\"..\""),
        ("0101", "010g"),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text);
        assert!(
            matches!(ReleaseManifest::parse(bad.as_bytes()), Err(BadManifest::Json(_))),
            "{to}"
        );
    }
}

#[test]
fn refuses_oversized_and_truncated_manifests() {
    let bytes = manifest().to_bytes().unwrap();
    assert!(ReleaseManifest::parse(&bytes[..bytes.len() - 1]).is_err());
    assert!(ReleaseManifest::parse(&vec![b' '; usize::try_from(MAX_MANIFEST).unwrap() + 1]).is_err());
}
