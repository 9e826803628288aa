//! The API's description: the committed document is the one that is served.

use std::collections::BTreeSet;

use assay_schema::problem::ProblemKind;
use serde_json::Value;

use crate::support::Registry;

#[actix_web::test]
async fn the_served_document_is_the_committed_one() {
    let registry = Registry::new().await;
    let answer = registry.get("/openapi.json").await.expect(200);
    let served: Value = answer.json();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    if std::env::var_os("ASSAY_BLESS").is_some() {
        std::fs::write(file, serde_json::to_string_pretty(&served).unwrap() + "\n").unwrap();
    }
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert!(
        served == committed,
        "server/openapi.json is not what is served; ASSAY_BLESS=1 rewrites it"
    );
    assert_eq!(served["openapi"].as_str().unwrap().get(..4), Some("3.1."));
}

#[actix_web::test]
async fn the_kinds_of_problems_are_described_as_they_are_sent() {
    let registry = Registry::new().await;
    let document: Value = registry.get("/openapi.json").await.expect(200).json();
    let described: Vec<_> = document["components"]["schemas"]["ProblemKind"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind.as_str().unwrap())
        .collect();
    let sent: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.uri()).collect();
    assert_eq!(described, sent);
}

#[actix_web::test]
async fn every_reference_leads_somewhere_and_every_operation_says_what_it_is() {
    let registry = Registry::new().await;
    let document: Value = registry.get("/openapi.json").await.expect(200).json();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(operation["summary"].is_string(), "{method} {path}");
            for name in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
                let named = operation["parameters"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|p| p["name"] == name);
                assert_eq!(named.count(), 1, "{method} {path}: {name}");
            }
        }
    }
}

/// Every path of the table in the schema crate's `api` module is in the document.
#[actix_web::test]
async fn every_path_of_the_api_is_described() {
    let registry = Registry::new().await;
    let document: Value = registry.get("/openapi.json").await.expect(200).json();
    let expected = [
        ("/v1/namespaces", "get"),
        ("/v1/namespaces/{namespace}", "get"),
        ("/v1/namespaces/{namespace}", "put"),
        ("/v1/namespaces/{namespace}/keys", "post"),
        ("/v1/namespaces/{namespace}/metadata", "post"),
        ("/v1/namespaces/{namespace}/models", "get"),
        ("/v1/namespaces/{namespace}/models/{model}", "get"),
        ("/v1/namespaces/{namespace}/models/{model}/check", "get"),
        ("/v1/namespaces/{namespace}/models/{model}/releases", "get"),
        (
            "/v1/namespaces/{namespace}/models/{model}/releases/{version}",
            "get",
        ),
        (
            "/v1/namespaces/{namespace}/models/{model}/releases/{version}",
            "put",
        ),
        ("/v1/namespaces/{namespace}/uploads", "post"),
        ("/v1/namespaces/{namespace}/uploads/{id}", "get"),
        ("/v1/namespaces/{namespace}/uploads/{id}", "patch"),
        ("/v1/namespaces/{namespace}/uploads/{id}", "delete"),
        ("/v1/namespaces/{namespace}/blobs/{sha256}", "get"),
        ("/v1/search", "get"),
        ("/v1/tokens", "get"),
        ("/v1/tokens", "post"),
        ("/v1/tokens/{id}", "delete"),
        ("/tuf/{namespace}/metadata/{file}", "get"),
        ("/tuf/{namespace}/targets/{path}", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
    ];
    for (path, method) in expected {
        assert!(document["paths"][path][method].is_object(), "{method} {path}");
    }
}

fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                into.insert(reference.clone());
            }
            map.values().for_each(|v| collect(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| collect(v, into)),
        _ => {}
    }
}
