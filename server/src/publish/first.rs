//! What a namespace's root must say before the registry takes it.

use std::collections::BTreeSet;

use assay_schema::api::OnlineKeys;
use assay_schema::tuf::TufKey;

use crate::metadata::{BadMetadata, RootFile};

/// A first root that the registry cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum BadRoot {
    /// It has not the form of a root.
    #[error(transparent)]
    Metadata(#[from] BadMetadata),
    /// A namespace begins with version 1.
    #[error("root metadata: version: expected 1, found {found}; create the namespace from its first root")]
    Version {
        /// The version.
        found: u64,
    },
    /// The registry could not sign snapshot or timestamp, or someone else could.
    #[error(
        "root metadata: role {role}: expected exactly this registry's key {expected} with threshold 1, found {found}; \
         ask for the namespace's online keys and list them"
    )]
    OnlineKey {
        /// `snapshot` or `timestamp`.
        role: &'static str,
        /// The registry's public key.
        expected: String,
        /// What is listed.
        found: String,
    },
}

/// Reads a first root and sees that it lists exactly the registry's own keys for the online roles.
///
/// # Errors
/// See [`BadRoot`].
pub fn check(bytes: &[u8], own: &OnlineKeys) -> Result<RootFile, BadRoot> {
    let root = RootFile::parse(bytes)?;
    if root.version != 1 {
        return Err(BadRoot::Version { found: root.version });
    }
    for (role, key) in [("snapshot", &own.snapshot), ("timestamp", &own.timestamp)] {
        online_key(&root, role, &[key])?;
    }
    Ok(root)
}

/// Which of the registry's keys the root lists for an online role, alone and with threshold 1.
///
/// # Errors
/// [`BadRoot::OnlineKey`]: it lists another, or more.
pub fn online_key(root: &RootFile, role: &'static str, own: &[&TufKey]) -> Result<usize, BadRoot> {
    let listed = root.keys_of(role);
    let ids = root.roles.get(role).map_or(0, |r| r.keyids.len());
    let alone = |key: &&TufKey| listed == BTreeSet::from([*key]) && ids == 1 && root.threshold(role) == 1;
    own.iter().position(alone).ok_or_else(|| {
        let publics =
            |keys: &mut dyn Iterator<Item = &str>, between: &str| keys.collect::<Vec<_>>().join(between);
        let found = publics(&mut listed.iter().map(|k| k.keyval.public.as_str()), ", ");
        BadRoot::OnlineKey {
            role,
            expected: publics(&mut own.iter().map(|k| k.keyval.public.as_str()), " or "),
            found: format!("[{found}] with threshold {}", root.threshold(role)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_schema::tuf::{TufKey, TufKeyValue};
    use serde_json::{Value, json};

    fn key(public: &str) -> TufKey {
        let keyval = TufKeyValue {
            public: public.to_owned(),
        };
        TufKey {
            keytype: "ed25519".into(),
            scheme: "ed25519".into(),
            keyval,
        }
    }

    fn own() -> OnlineKeys {
        OnlineKeys {
            snapshot: key("aa"),
            timestamp: key("bb"),
        }
    }

    fn root() -> Value {
        let role = |id: &str| json!({"keyids": [id], "threshold": 1});
        json!({"signatures": [], "signed": {"_type": "root", "version": 1,
            "keys": {"s": key("aa"), "t": key("bb"), "x": key("cc")},
            "roles": {"root": role("x"), "targets": role("x"), "snapshot": role("s"), "timestamp": role("t")}}})
    }

    fn found(change: impl FnOnce(&mut Value)) -> Result<RootFile, BadRoot> {
        let mut root = root();
        change(&mut root["signed"]);
        check(root.to_string().as_bytes(), &own())
    }

    #[test]
    fn takes_a_root_with_exactly_our_keys() {
        assert!(found(|_| {}).is_ok());
    }

    #[test]
    fn refuses_a_root_that_does_not_list_our_keys_alone() {
        let cases: [fn(&mut Value); 6] = [
            |r| r["roles"]["snapshot"]["keyids"] = json!(["x"]),
            |r| r["roles"]["snapshot"]["keyids"] = json!(["s", "x"]),
            |r| r["roles"]["timestamp"]["keyids"] = json!(["s"]),
            |r| r["roles"]["timestamp"]["threshold"] = json!(2),
            |r| r["roles"]["timestamp"]["keyids"] = json!([]),
            |r| r["roles"]["timestamp"]["keyids"] = json!(["t", "missing"]),
        ];
        for (i, case) in cases.into_iter().enumerate() {
            assert!(matches!(found(case), Err(BadRoot::OnlineKey { .. })), "case {i}");
        }
    }

    #[test]
    fn refuses_another_version_than_the_first() {
        assert!(matches!(
            found(|r| r["version"] = json!(2)),
            Err(BadRoot::Version { found: 2 })
        ));
    }
}
