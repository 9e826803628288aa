//! The server's walls: rooms never import one another, and each store has one place that touches it.

use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push((path.clone(), std::fs::read_to_string(path).unwrap()));
        }
    }
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn rooms_never_import_one_another() {
    let rooms = ["store", "publish", "distribute", "log", "delta"];
    for room in rooms {
        let files = sources(&src().join(room));
        assert!(!files.is_empty());
        for (path, text) in files {
            for other in rooms.iter().filter(|other| **other != room) {
                let import = format!("crate::{other}");
                assert!(!text.contains(&import), "{} imports {other}", path.display());
            }
        }
    }
}

#[test]
fn only_persistence_queries_the_database_and_only_blobs_touches_the_object_store() {
    for (path, text) in sources(&src()) {
        let inside = |folder: &str| path.starts_with(src().join(folder));
        if !inside("persistence") {
            for crate_name in ["sea_orm::", "sea_orm_migration::"] {
                assert!(!text.contains(crate_name), "{}", path.display());
            }
        }
        if !inside("blobs") {
            assert!(!text.contains("object_store::"), "{}", path.display());
        }
    }
}
