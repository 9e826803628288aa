//! Where things stand on a registry. Every part is a checked name or digest, so nothing needs escaping but a version's `+`.

use assay_schema::bundle::Held;
use assay_schema::{ModelName, NamespaceName, Sha256Digest, VersionName};
use assay_verifier::Resource;

/// The path of what the verifier asks for.
pub fn resource(namespace: &NamespaceName, resource: &Resource) -> String {
    match resource {
        Resource::Bundle {
            model,
            version,
            root,
            log,
            have,
        } => check(namespace, model, *root, version.as_ref(), *log, have),
        Resource::Endorsement {
            model,
            block,
            root,
            log,
            have,
        } => format!(
            "{}&block={block}",
            check(namespace, model, *root, None, *log, have)
        ),
        Resource::Metadata { file } => metadata(namespace, file),
        Resource::Target { path } => format!("/tuf/{namespace}/targets/{}", escape(path)),
        Resource::Blob { sha256, .. } => blob(namespace, sha256),
        Resource::LogProof { snapshot, size } => log_proof(namespace, "snapshot", *snapshot, *size),
        Resource::RootProof { root, size } => log_proof(namespace, "root", *root, *size),
    }
}

/// The check bundle.
pub fn check(
    namespace: &NamespaceName,
    model: &ModelName,
    root: u64,
    version: Option<&VersionName>,
    log: Option<u64>,
    have: &Held,
) -> String {
    let mut path = format!("/v1/namespaces/{namespace}/models/{model}/check?root={root}");
    if let Some(version) = version {
        path.push_str("&version=");
        path.push_str(&escape(version.as_str()));
    }
    path.push_str(&known(log));
    if !have.is_empty() {
        path.push_str("&have=");
        // RFC 3986 3.4 lets commas and colons stand in a query.
        path.push_str(&have.to_string().replace('+', "%2B"));
    }
    path
}

/// A TUF metadata file.
pub fn metadata(namespace: &NamespaceName, file: &str) -> String {
    format!("/tuf/{namespace}/metadata/{}", escape(file))
}

/// A blob.
pub fn blob(namespace: &NamespaceName, sha256: &Sha256Digest) -> String {
    format!("/v1/namespaces/{namespace}/blobs/{sha256}")
}

/// The deltas that lead from one of these releases to the wanted one, releases named by their manifests' digests.
pub fn deltas(
    namespace: &NamespaceName,
    model: &ModelName,
    target: &Sha256Digest,
    bases: &[Sha256Digest],
) -> String {
    let bases: Vec<String> = bases.iter().map(ToString::to_string).collect();
    format!(
        "/v1/namespaces/{namespace}/models/{model}/deltas?target={target}&base={}",
        bases.join(",")
    )
}

/// The proof that a role's file of this version (`snapshot` or `root`) is in the log.
pub fn log_proof(namespace: &NamespaceName, role: &str, version: u64, size: Option<u64>) -> String {
    let known = known(size);
    format!("/v1/namespaces/{namespace}/log-proof?{role}={version}{known}")
}

/// The size of the checkpoint that the device accepted last.
fn known(size: Option<u64>) -> String {
    size.map_or_else(String::new, |size| format!("&log={size}"))
}

/// A release.
pub fn release(namespace: &NamespaceName, model: &ModelName, version: &VersionName) -> String {
    format!(
        "/v1/namespaces/{namespace}/models/{model}/releases/{}",
        escape(version.as_str())
    )
}

/// Percent-encodes everything but RFC 3986's unreserved characters and `/`: role names and target paths come from metadata.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte.into())
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_in_a_version_does_not_become_a_space() {
        let path = check(
            &"acme".parse().unwrap(),
            &"minilm".parse().unwrap(),
            3,
            Some(&"1.0.0+cpu".parse().unwrap()),
            Some(7),
            &"snapshot:12,release:0.9.0+cpu".parse().unwrap(),
        );
        assert_eq!(
            path,
            "/v1/namespaces/acme/models/minilm/check?root=3&version=1.0.0%2Bcpu&log=7&have=snapshot:12,release:0.9.0%2Bcpu"
        );
    }

    #[test]
    fn a_log_proof_names_the_known_size_if_there_is_one() {
        let path = |size| {
            resource(
                &"acme".parse().unwrap(),
                &Resource::LogProof { snapshot: 7, size },
            )
        };
        assert_eq!(path(None), "/v1/namespaces/acme/log-proof?snapshot=7");
        assert_eq!(path(Some(90)), "/v1/namespaces/acme/log-proof?snapshot=7&log=90");
        let root = resource(
            &"acme".parse().unwrap(),
            &Resource::RootProof {
                root: 3,
                size: Some(90),
            },
        );
        assert_eq!(root, "/v1/namespaces/acme/log-proof?root=3&log=90");
    }

    #[test]
    fn names_from_metadata_cannot_add_a_query() {
        let found = resource(
            &"acme".parse().unwrap(),
            &Resource::Metadata {
                file: "1.a?b#c d.json".into(),
            },
        );
        assert_eq!(found, "/tuf/acme/metadata/1.a%3Fb%23c%20d.json");
    }
}
