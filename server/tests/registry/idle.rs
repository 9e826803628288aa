//! Bodies that stand still.

use std::time::Duration;

use assay_schema::api::Visibility;
use assay_schema::problem::{Problem, ProblemKind};

use super::raw::Connection;
use super::support::{Registry, config, open, sample, sha256};

/// Whoever sends a part of a body and then nothing holds neither the connection nor the right to write.
#[tokio::test]
async fn a_body_that_stands_still_is_refused_and_its_upload_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.requests.body_idle_seconds = 1;
    let registry = Registry::with(open(config).await, None).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(1000);
    let id = registry.begin(&acme, &bytes).await.id.unwrap();
    let uploads = "/v1/namespaces/acme/uploads";
    for (method, path) in [("PATCH", format!("{uploads}/{id}")), ("POST", uploads.to_owned())] {
        let mut connection = Connection::open(registry.running.address).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nUpload-Offset: 0\r\n\
             Content-Length: 1000\r\n\r\n",
            registry.token
        );
        connection.send(head.as_bytes()).await.unwrap();
        connection.send(&bytes[..100]).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(4), connection.answer()).await;
        let answer = answer.expect("an answer soon after the second").unwrap();
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem.kind, ProblemKind::BadRequest);
        assert!(problem.detail.contains("within 1 seconds"), "{}", problem.detail);
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
        assert!(connection.answer().await.is_none(), "the connection ends");
    }
    // What came before the pause counts, and somebody else may write now.
    assert_eq!(registry.offset(&acme, &id).await, 100);
    assert!(registry.upload(&acme, &bytes).await.complete);
    assert_eq!(registry.stored(&acme, &sha256(&bytes)).await.unwrap(), bytes);
}
