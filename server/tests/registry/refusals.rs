//! Uploads that are refused, and what they leave.

use assay_schema::api::{UploadInfo, Visibility};
use assay_schema::problem::{Problem, ProblemKind};
use reqwest::{Method, StatusCode};

use super::raw::Connection;
use super::support::{MIB, Registry, json, problem, sample, sha256};

#[tokio::test]
async fn more_than_declared_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(MIB);
    let id = registry.declare(&acme, sha256(&bytes), 1000).await.id.unwrap();
    let answer = registry
        .patch(&acme, &id, 0)
        .body(bytes.clone())
        .send()
        .await
        .unwrap();
    problem(answer, ProblemKind::TooLarge).await;
    assert_eq!(registry.offset(&acme, &id).await, 0);
    // Without a Content-Length the excess shows only as it comes.
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(bytes)]));
    let answer = registry.patch(&acme, &id, 0).body(body).send().await.unwrap();
    problem(answer, ProblemKind::TooLarge).await;
    assert!(registry.offset(&acme, &id).await <= 1000);
}

#[tokio::test]
async fn a_size_beyond_the_limit_is_refused_before_any_byte() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    registry.namespace("acme", Visibility::Public).await;
    for size in [(4_u64 << 40) + 1, u64::MAX] {
        let body = serde_json::json!({ "sha256": sha256(b""), "size": size });
        let answer = registry
            .request(Method::POST, "/v1/namespaces/acme/uploads")
            .json(&body)
            .send()
            .await
            .unwrap();
        problem(answer, ProblemKind::TooLarge).await;
    }
}

#[tokio::test]
async fn bytes_that_do_not_match_their_digest_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let (bytes, other) = (sample(2 * MIB), vec![7; 2 * MIB]);
    let id = registry.begin(&acme, &bytes).await.id.unwrap();
    let answer = registry.patch(&acme, &id, 0).body(other).send().await.unwrap();
    let found = problem(answer, ProblemKind::DigestMismatch).await;
    assert!(found.detail.contains(&sha256(&bytes).to_hex()));
    assert_eq!(registry.segments_on_disk(), 0);
    assert!(registry.stored(&acme, &sha256(&bytes)).await.is_none());
    let gone = registry
        .request(Method::GET, &format!("/v1/namespaces/acme/uploads/{id}"))
        .send()
        .await
        .unwrap();
    problem(gone, ProblemKind::NotFound).await;
    assert!(registry.upload(&acme, &bytes).await.complete);
}

#[tokio::test]
async fn another_size_for_the_same_digest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(100);
    let declare = async |size: u64| {
        let body = serde_json::json!({ "sha256": sha256(&bytes), "size": size });
        registry
            .request(Method::POST, "/v1/namespaces/acme/uploads")
            .json(&body)
            .send()
            .await
            .unwrap()
    };
    let id = json::<UploadInfo>(declare(99).await, StatusCode::CREATED)
        .await
        .id
        .unwrap();
    problem(declare(100).await, ProblemKind::BadRequest).await;
    let path = format!("/v1/namespaces/acme/uploads/{id}");
    let deleted = registry.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert!(registry.upload(&acme, &bytes).await.complete);
    problem(declare(99).await, ProblemKind::BadRequest).await;
}

#[tokio::test]
async fn a_wrong_offset_is_told_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(3000);
    let id = registry.begin(&acme, &bytes).await.id.unwrap();
    registry
        .patch(&acme, &id, 0)
        .body(bytes.slice(..1000))
        .send()
        .await
        .unwrap();
    for offset in [0, 999, 1001, 5000, u64::MAX] {
        let answer = registry
            .patch(&acme, &id, offset)
            .body(bytes.slice(1000..))
            .send()
            .await
            .unwrap();
        assert_eq!(
            problem(answer, ProblemKind::OffsetMismatch).await.offset,
            Some(1000)
        );
    }
    let path = format!("/v1/namespaces/acme/uploads/{id}");
    for (header, value) in [
        ("x-none", "0"),
        ("Upload-Offset", "-1"),
        ("Upload-Offset", "1e3"),
        ("Upload-Offset", ""),
    ] {
        let request = registry
            .request(Method::PATCH, &path)
            .header(header, value)
            .body("x");
        problem(request.send().await.unwrap(), ProblemKind::BadRequest).await;
    }
    let request = registry
        .request(Method::PATCH, &path)
        .header("Upload-Offset", 1000)
        .header("Content-Type", "text/html");
    problem(request.body("x").send().await.unwrap(), ProblemKind::BadRequest).await;
    assert_eq!(registry.offset(&acme, &id).await, 1000);
    let head = registry.request(Method::HEAD, &path).send().await.unwrap();
    assert_eq!(head.headers()["upload-offset"], "1000");
}

#[tokio::test]
async fn a_second_writer_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(3000);
    let id = registry.begin(&acme, &bytes).await.id.unwrap();
    let lease = registry.state().leases.take(&id, &acme).unwrap();
    let answer = registry
        .patch(&acme, &id, 0)
        .body(bytes.clone())
        .send()
        .await
        .unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    problem(answer, ProblemKind::UploadBusy).await;
    drop(lease);
    assert!(registry.upload(&acme, &bytes).await.complete);
}

/// A refusal before the body was read must not make the rest of the body the next request.
#[tokio::test]
async fn an_early_refusal_does_not_desynchronise_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(4 * MIB);
    let id = registry.begin(&acme, &bytes).await.id.unwrap();
    // A body that would be a request of its own, were it read as one.
    let smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(30_000);
    for body in [&smuggled[..340], &smuggled[..]] {
        for (token, offset, expected) in [(registry.token.as_str(), 7, 409), ("assay_0_0", 0, 401)] {
            let mut connection = Connection::open(registry.running.address).await;
            let head = format!(
                "PATCH /v1/namespaces/acme/uploads/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
                 Upload-Offset: {offset}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            connection.send(head.as_bytes()).await.unwrap();
            // The registry may close at any time from here on.
            let sent = connection.send(body).await;
            let refusal = connection
                .answer()
                .await
                .expect("the refusal must reach a client that sends its whole body");
            assert_eq!(refusal.status, expected, "{refusal:?}");
            serde_json::from_slice::<Problem>(&refusal.body).unwrap();
            let next = b"GET /no/such/path HTTP/1.1\r\nHost: x\r\n\r\n";
            let open = sent.is_ok() && connection.send(next).await.is_ok();
            match connection.answer().await {
                // Still in step: the answer is that of the request, not of the body.
                Some(answer) => assert_eq!(answer.status, 404, "{answer:?}"),
                None => assert!(
                    !open || refusal.head.contains("connection: close"),
                    "{}",
                    refusal.head
                ),
            }
        }
    }
}

/// The same with a chunked body, which is refused after some of it was read.
#[tokio::test]
async fn a_chunked_body_refused_half_way_leaves_the_connection_in_step() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let id = registry.declare(&acme, sha256(b"x"), 1000).await.id.unwrap();
    let smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(30_000);
    let uploads = "/v1/namespaces/acme/uploads";
    for (method, path, token) in [
        ("PATCH", format!("{uploads}/{id}"), registry.token.as_str()),
        ("POST", uploads.to_owned(), registry.token.as_str()),
        ("PATCH", format!("{uploads}/{id}"), "assay_0_0"),
    ] {
        let mut connection = Connection::open(registry.running.address).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nUpload-Offset: 0\r\n\
             Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            smuggled.len()
        );
        connection.send(head.as_bytes()).await.unwrap();
        connection.send(&smuggled).await.unwrap();
        connection.send(b"\r\n0\r\n\r\n").await.unwrap();
        let refusal = connection.answer().await.unwrap();
        assert!((400..500).contains(&refusal.status), "{refusal:?}");
        let next = b"GET /no/such/path HTTP/1.1\r\nHost: x\r\n\r\n";
        connection.send(next).await.unwrap();
        let answer = tokio::time::timeout(std::time::Duration::from_secs(5), connection.answer()).await;
        assert_eq!(answer.expect("an answer").unwrap().status, 404);
    }
}

/// Whoever goes on sending pieces of a chunked body that nobody reads holds his connection for seconds, not for ever.
#[tokio::test]
async fn a_chunked_body_that_trickles_on_after_the_refusal_ends_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    for path in ["/no/such/path", "/v1/namespaces/acme/uploads"] {
        let mut connection = Connection::open(registry.running.address).await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        connection.send(head.as_bytes()).await.unwrap();
        let trickle = async {
            while connection.send(b"1\r\nx\r\n").await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), trickle).await;
        ended.expect("the registry ends the connection");
        assert!((400..500).contains(&connection.answer().await.unwrap().status));
    }
}
