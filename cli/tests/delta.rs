//! `assay delta`: made, shown, applied; and everything that is not what it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::exit::{CONFLICT, DONE, NOT_FOUND, REFUSED};
use support::{Ran, assay};

/// A safetensors file of one f32 matrix and one small vector, whose weights are `weight(i)`.
fn model(weight: impl Fn(u32) -> f32) -> Vec<u8> {
    let (rows, columns) = (600_u32, 1024_u32);
    let matrix = u64::from(rows * columns * 4);
    let header = format!(
        "{{\"layer.weight\":{{\"dtype\":\"F32\",\"shape\":[{rows},{columns}],\"data_offsets\":[0,{matrix}]}},\
         \"layer.bias\":{{\"dtype\":\"F32\",\"shape\":[64],\"data_offsets\":[{matrix},{}]}}}}",
        matrix + 256
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    for i in 0..rows * columns + 64 {
        bytes.extend(weight(i).to_le_bytes());
    }
    bytes
}

fn noise(i: u32) -> f32 {
    let mixed = i.wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b);
    (mixed >> 8) as f32 / 16_777_216.0 - 0.5
}

struct Pair {
    dir: tempfile::TempDir,
}

impl Pair {
    /// A base of two files and a target of which one tensor has moved a little.
    fn new() -> Self {
        let pair = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let step = |i: u32| noise(i) + noise(i ^ 0x5555_5555) * 1e-4;
        pair.write("base/model.safetensors", &model(noise));
        pair.write("base/nested/config.json", b"{\"a\": 1}");
        pair.write("target/model.safetensors", &model(step));
        pair.write("target/nested/config.json", b"{\"a\": 2}");
        pair.write("target/nested/empty", b"");
        pair
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn delta(&self, args: &[&str]) -> Ran {
        let own = |arg: &&str| match arg.starts_with("--") || arg.parse::<u32>().is_ok() {
            true => (*arg).to_owned(),
            false => self.at(arg),
        };
        let mut command = assay();
        command.args(["delta", args[0]]).args(args[1..].iter().map(own));
        command.output().unwrap().into()
    }

    fn make(&self) -> Value {
        self.delta(&["make", "base", "target", "d", "--json"])
            .exits(DONE)
            .json()
    }

    fn nothing_is_left(&self) {
        assert!(!self.path("out").exists());
        assert!(!self.path(".out.new").exists());
    }
}

fn same(a: &Path, b: &Path) {
    for name in ["model.safetensors", "nested/config.json", "nested/empty"] {
        assert_eq!(
            std::fs::read(a.join(name)).unwrap(),
            std::fs::read(b.join(name)).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn a_folder_is_made_of_another_and_the_table_says_where_the_bytes_go() {
    let pair = Pair::new();
    let made = pair.make();
    let (size, full) = (&made["delta"]["size"], &made["delta"]["full"]);
    assert!(size.as_u64().unwrap() * 10 < full.as_u64().unwrap() * 7, "{made}");
    assert_eq!(
        size.as_u64().unwrap(),
        std::fs::metadata(pair.path("d")).unwrap().len()
    );
    for threads in ["1", "3"] {
        pair.delta(&["apply", "d", "base", "out", "--threads", threads])
            .exits(DONE);
        same(&pair.path("out"), &pair.path("target"));
        std::fs::remove_dir_all(pair.path("out")).unwrap();
    }
    let shown = pair
        .delta(&["show", "d", "--target", "target", "--svg", "d.svg"])
        .exits(DONE);
    assert!(shown.out.contains("model.safetensors: layer.weight"), "{shown:?}");
    let svg = std::fs::read_to_string(pair.path("d.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("layer.weight"), "{svg}");
    let shown = pair.delta(&["show", "d", "--json"]).exits(DONE).json();
    let rows = shown["rows"].as_array().unwrap();
    let sum: u64 = rows.iter().map(|row| row["bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum, full.as_u64().unwrap());
    // Frames have a few bytes of their own.
    let cost: u64 = rows.iter().map(|row| row["delta"].as_u64().unwrap()).sum();
    let whole = cost + shown["index"].as_u64().unwrap();
    assert!(
        whole <= size.as_u64().unwrap() && whole + 2048 > size.as_u64().unwrap(),
        "{shown}"
    );
    pair.delta(&["show", "d", "--target", "base"]).exits(CONFLICT);
}

#[test]
fn a_file_is_made_of_another_whatever_their_names_are() {
    let pair = Pair::new();
    pair.delta(&["make", "base/model.safetensors", "target/model.safetensors", "d"])
        .exits(DONE);
    std::fs::rename(pair.path("base/model.safetensors"), pair.path("renamed")).unwrap();
    pair.delta(&["apply", "d", "renamed", "out"]).exits(DONE);
    let made = std::fs::read(pair.path("out")).unwrap();
    assert!(made == std::fs::read(pair.path("target/model.safetensors")).unwrap());
}

#[test]
fn nothing_that_exists_is_written_over() {
    let pair = Pair::new();
    pair.make();
    pair.delta(&["make", "base", "target", "d"]).exits(CONFLICT);
    std::fs::remove_file(pair.path("d")).unwrap();
    // The listing of another delta.
    pair.delta(&["make", "base", "target", "d"]).exits(CONFLICT);
    std::fs::remove_file(pair.path("d.json")).unwrap();
    pair.make();
    pair.write("out", b"precious");
    pair.delta(&["apply", "d", "base", "out"]).exits(CONFLICT);
    assert_eq!(std::fs::read(pair.path("out")).unwrap(), b"precious");
}

#[test]
fn a_base_that_is_another_or_changed_is_refused_and_nothing_is_left() {
    let pair = Pair::new();
    pair.make();
    let other = pair
        .delta(&["apply", "d", "target", "out", "--json"])
        .exits(REFUSED);
    assert_eq!(other.json()["error"]["code"], "bad-delta");
    let mut bytes = model(noise);
    bytes[1 << 20] ^= 1;
    pair.write("base/model.safetensors", &bytes);
    let changed = pair
        .delta(&["apply", "d", "base", "out", "--json"])
        .exits(REFUSED);
    assert_eq!(changed.json()["error"]["code"], "bad-delta");
    pair.delta(&["apply", "d", "nowhere", "out"]).exits(NOT_FOUND);
    pair.nothing_is_left();
}

#[test]
fn a_damaged_delta_and_a_lying_listing_are_refused_and_nothing_is_left() {
    let pair = Pair::new();
    pair.make();
    let whole = std::fs::read(pair.path("d")).unwrap();
    for (at, code) in [
        (3, "bad-delta"),
        (100, "bad-delta"),
        (whole.len() / 2, "bad-chunk"),
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        pair.write("d", &bytes);
        let refused = pair
            .delta(&["apply", "d", "base", "out", "--json"])
            .exits(REFUSED);
        assert_eq!(refused.json()["error"]["code"], code, "{at}: {refused:?}");
        if code == "bad-chunk" {
            assert!(refused.out.contains("of file 0"), "{refused:?}");
        }
        pair.nothing_is_left();
    }
    for cut in [0, 50, 96, whole.len() / 2] {
        pair.write("d", &whole[..cut]);
        let ran = pair.delta(&["apply", "d", "base", "out"]);
        assert!(ran.code != DONE, "{cut}: {ran:?}");
        pair.nothing_is_left();
    }
    pair.write("d", &whole);
    let honest = std::fs::read_to_string(pair.path("d.json")).unwrap();
    let mut listing: Value = serde_json::from_str(&honest).unwrap();
    // The chunks are bound by nothing but what comes out.
    let first = listing["files"][0]["chunks"][0].as_str().unwrap().to_owned();
    listing["files"][0]["chunks"][1] = first.into();
    pair.write("d.json", listing.to_string().as_bytes());
    let refused = pair
        .delta(&["apply", "d", "base", "out", "--json"])
        .exits(REFUSED);
    assert_eq!(refused.json()["error"]["code"], "bad-chunk");
    for (from, to) in [("model.safetensors", "../../escaped"), ("\"v\":1", "\"v\":2")] {
        pair.write("d.json", honest.replace(from, to).as_bytes());
        let refused = pair
            .delta(&["apply", "d", "base", "out", "--json"])
            .exits(REFUSED);
        assert_eq!(refused.json()["error"]["code"], "other-listing", "{refused:?}");
    }
    pair.nothing_is_left();
    pair.write("d.json", honest.as_bytes());
    pair.delta(&["apply", "d", "base", "out"]).exits(DONE);
    same(&pair.path("out"), &pair.path("target"));
}
