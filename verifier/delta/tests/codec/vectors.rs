//! Deltas that every implementation must read alike: `schema/vectors/delta.json`. `ASSAY_BLESS=1` writes it anew.
//!
//! What is read is fixed; what is written may become smaller without a new version of the format.

use std::path::Path;

use assay_delta::{BasePosition, Dtype, Index, Scratch, Segment};
use serde_json::{Value, json};

use crate::making::{Made, Noise, weights};
use crate::round_trip::merged_delta;

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema/vectors/delta.json")
}

fn vector(name: &str, made: &Made) -> Value {
    let all = |files: &[Vec<u8>]| files.iter().map(hex::encode).collect::<Vec<_>>();
    json!({"name": name, "delta": hex::encode(&made.delta), "base": all(&made.bases), "target": all(&made.targets)})
}

fn vectors() -> Vec<Value> {
    let mut all = Vec::new();
    for dtype in Dtype::ALL {
        let (base, target) = weights(dtype, 1600 / dtype.unit(), 29);
        all.push(vector(
            &format!("{dtype:?}").to_lowercase(),
            &Made::simple(dtype, 0, base, target, None),
        ));
    }
    all.push(vector("merged-adapter", &merged_delta(48, 32)));
    let (base, target) = weights(Dtype::Q8_0, 40, 31);
    let moved = |offset| Some(BasePosition { file: 1, offset });
    let segments = vec![
        Segment {
            target: 0..680,
            base: moved(680),
            dtype: Dtype::Q8_0,
            row: None,
        },
        Segment {
            target: 680..1360,
            base: moved(0),
            dtype: Dtype::Q8_0,
            row: None,
        },
    ];
    let swapped = [&target[680..], &target[..680]].concat();
    let text = b"words of a licence; ".repeat(30);
    let whole = |dtype| {
        vec![Segment {
            target: 0..600,
            base: None,
            dtype,
            row: None,
        }]
    };
    let made = Made::new(
        vec![vec![], base],
        vec![swapped, text.clone()],
        vec![segments, whole(Dtype::Bytes)],
    );
    all.push(vector("two-files-moved-and-compressed", &made));
    let made = Made::new(vec![], vec![Noise(3).bytes(600)], vec![whole(Dtype::Bf16)]);
    all.push(vector("stored", &made));
    let mut altered = made.clone();
    *altered.delta.last_mut().unwrap() ^= 1;
    all.push(vector("altered-frame_fail", &altered));
    let mut altered = made;
    altered.delta[97] ^= 1;
    all.push(vector("altered-index_fail", &altered));
    all
}

#[test]
fn the_vectors_decode_as_they_must() {
    if std::env::var_os("ASSAY_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&json!({ "vectors": vectors() })).unwrap();
        std::fs::write(path(), text + "\n").unwrap();
    }
    let text = std::fs::read_to_string(path()).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let all = all["vectors"].as_array().unwrap();
    assert!(all.len() > Dtype::ALL.len());
    for vector in all {
        let name = vector["name"].as_str().unwrap();
        let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
        let files = |value: &Value| value.as_array().unwrap().iter().map(bytes).collect::<Vec<_>>();
        let delta = bytes(&vector["delta"]);
        let index = 96 + u32::from_le_bytes(delta[8..12].try_into().unwrap()) as usize;
        let (bases, targets) = (files(&vector["base"]), files(&vector["target"]));
        let made = Made {
            delta,
            index,
            bases,
            targets,
            kinds: vec![],
        };
        let decoded = match Index::parse(&made.delta[..index]) {
            Ok(_) => made.decode(&mut Scratch::new()).ok(),
            Err(_) => None,
        };
        assert_eq!(decoded.is_some(), !name.ends_with("_fail"), "{name}");
        if let Some(decoded) = decoded {
            assert!(decoded == made.targets, "{name}");
        }
    }
}
