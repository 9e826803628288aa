//! Values for the cases.

use assay_schema::api::Visibility;
use assay_schema::tuf::{TufKey, TufKeyValue};
use assay_schema::{NamespaceName, ReleaseOrder, Sha256Digest};
use assay_server::persistence::{
    Database, NewBlob, NewCandidate, NewMetadata, NewNamespace, OnlineKey, OnlineRole, PublishRelease,
    Segment,
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

pub fn sha256(text: &str) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(text.as_bytes()).into())
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub fn name(text: &str) -> NamespaceName {
    text.parse().unwrap()
}

pub fn metadata(role: &str, version: u64) -> NewMetadata {
    let text = format!("{role} {version}");
    NewMetadata {
        role: role.to_owned(),
        version,
        sha256: sha256(&text),
        bytes: text.into_bytes(),
        expires: at(86_400),
    }
}

pub async fn namespace(db: &Database, text: &str, visibility: Visibility) -> NamespaceName {
    let new = NewNamespace {
        name: name(text),
        identity: sha256(text),
        visibility,
        created: at(0),
        metadata: ["root", "targets", "snapshot", "timestamp"]
            .map(|role| metadata(role, 1))
            .to_vec(),
        blobs: Vec::new(),
        releases: Vec::new(),
    };
    db.create_namespace(new).await.unwrap().name
}

pub fn key(role: OnlineRole, text: &str) -> OnlineKey {
    OnlineKey {
        role,
        public: TufKey {
            keytype: "ed25519".to_owned(),
            scheme: "ed25519".to_owned(),
            keyval: TufKeyValue {
                public: sha256(text).to_hex(),
            },
        },
        sealed: text.as_bytes().to_vec(),
    }
}

pub async fn blob(db: &Database, namespace: &NamespaceName, text: &str) -> Sha256Digest {
    let new = NewBlob {
        sha256: sha256(text),
        size: text.len() as u64,
    };
    db.add_small_blob(namespace, new).await.unwrap();
    new.sha256
}

pub fn candidate(namespace: &NamespaceName, model: &str, version: &str, counter: u64) -> NewCandidate {
    let manifest = format!("{namespace}/{model}@{version}");
    NewCandidate {
        namespace: namespace.clone(),
        model: model.parse().unwrap(),
        version: version.parse().unwrap(),
        order: ReleaseOrder::new(1, counter).unwrap(),
        manifest: NewBlob {
            sha256: sha256(&manifest),
            size: manifest.len() as u64,
        },
        size: 100,
        files: 2,
        references: Vec::new(),
        created: at(1),
    }
}

pub fn publication(candidate: &NewCandidate) -> PublishRelease {
    PublishRelease {
        model: candidate.model.clone(),
        version: candidate.version.clone(),
        manifest: candidate.manifest.sha256,
    }
}

/// Makes a release and publishes it.
pub async fn release(db: &Database, namespace: &NamespaceName, model: &str, version: &str, counter: u64) {
    let new = candidate(namespace, model, version, counter);
    db.put_candidate(new.clone()).await.unwrap();
    let revision = db.namespace(namespace).await.unwrap().unwrap().revision;
    db.commit_publication(namespace, revision, Vec::new(), &[publication(&new)], at(2))
        .await
        .unwrap();
}

pub fn segment(upload: &str, start: u64, len: u64) -> Segment {
    Segment {
        start,
        len,
        object: format!("segments/{upload}/{start}"),
    }
}
