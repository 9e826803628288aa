//! File paths: every form that means something else on some system is refused.

use assay_schema::FilePath;
use assay_schema::path::check_together;
use proptest::prelude::*;

fn refused(paths: &[&str]) {
    for path in paths {
        assert!(path.parse::<FilePath>().is_err(), "{path:?}");
        let json = serde_json::to_string(path).unwrap();
        assert!(
            serde_json::from_str::<FilePath>(&json).is_err(),
            "{path:?} inside JSON"
        );
    }
}

fn together(paths: &[&str]) -> Result<(), String> {
    let paths: Vec<FilePath> = paths.iter().map(|p| p.parse().unwrap()).collect();
    check_together(&paths).map_err(|e| e.reason.to_owned())
}

#[test]
fn refuses_dot_dot() {
    refused(&[
        "..",
        "../a",
        "a/..",
        "a/../b",
        "a/../../b",
        ".",
        "./a",
        "a/./b",
        "..\\a",
        "a/..\\..\\b",
    ]);
}

#[test]
fn refuses_absolute_paths_and_empty_components() {
    refused(&[
        "/",
        "/a",
        "//a",
        "\\a",
        "\\\\host\\share",
        "//host/share",
        "",
        "a/",
        "a//b",
    ]);
}

#[test]
fn refuses_drive_letters_and_streams() {
    refused(&["C:", "C:/a", "c:a", "C:\\a", "a:stream", "a/b:c", "\\\\?\\C:\\a"]);
}

#[test]
fn refuses_nul_and_control_characters() {
    refused(&[
        "a\0b",
        "\0",
        "a\nb",
        "a\rb",
        "a\tb",
        "a\u{1b}[31m",
        "a\u{7f}",
        "a\u{85}b",
    ]);
}

#[test]
fn refuses_trailing_dots_and_spaces() {
    refused(&[
        "a.", "a./b", "a/b.", "a ", " a", "a/ b", "a /b", "...", "a/...", ". ",
    ]);
}

#[test]
fn refuses_device_names() {
    refused(&[
        "con",
        "CON",
        "nul.txt",
        "a/aux/b",
        "Com1.bin",
        "lpt0",
        "com²",
        "LPT¹.x",
        "conin$",
        "CONOUT$",
        "nul .txt",
        "prn.tar.gz",
    ]);
    for path in ["console", "com10", "com", "null", "auxiliary.txt", "a.con"] {
        assert!(path.parse::<FilePath>().is_ok(), "{path}");
    }
}

#[test]
fn refuses_characters_that_other_systems_forbid() {
    refused(&["a<b", "a>b", "a\"b", "a|b", "a?b", "a*b"]);
}

#[test]
fn refuses_invisible_characters() {
    refused(&[
        "a\u{200b}b",
        "a\u{202e}gpj.exe",
        "\u{feff}a",
        "a\u{2066}b",
        "a\u{ad}b",
        "a\u{2028}b",
        "a\u{61c}b",
        "a\u{3164}",
        "a\u{e0041}",
    ]);
}

#[test]
fn refuses_long_and_deep_paths() {
    assert!("a".repeat(255).parse::<FilePath>().is_ok());
    assert!("a".repeat(256).parse::<FilePath>().is_err());
    let long = vec!["a".repeat(200); 6].join("/");
    assert!(long.parse::<FilePath>().is_err());
    assert!(["a"; 32].join("/").parse::<FilePath>().is_ok());
    assert!(["a"; 33].join("/").parse::<FilePath>().is_err());
}

#[test]
fn takes_what_models_have() {
    for path in [
        "model.safetensors",
        ".gitattributes",
        "1_Pooling/config.json",
        "onnx/model_O2.onnx",
        "tokenizer/vocab (copy).txt",
        "模型/权重.bin",
        "naïve.txt",
    ] {
        assert!(path.parse::<FilePath>().is_ok(), "{path}");
    }
}

#[test]
fn refuses_the_same_file_twice() {
    assert_eq!(together(&["a", "b", "a"]).unwrap_err(), "the same file twice");
}

#[test]
fn refuses_case_collisions() {
    for pair in [
        ["a/B", "a/b"],
        ["README.md", "readme.MD"],
        ["Ä", "ä"],
        ["ς", "σ"],
        ["\u{17f}", "s"],
        ["\u{212a}", "k"],
        ["straße", "STRASSE"],
    ] {
        assert!(together(&pair).is_err(), "{pair:?}");
    }
}

#[test]
fn refuses_two_spellings_of_one_letter() {
    assert!(together(&["caf\u{e9}", "cafe\u{301}"]).is_err());
    assert!(together(&["\u{212b}", "\u{c5}"]).is_err());
    assert!(together(&["\u{ac00}/x", "\u{1100}\u{1161}/y"]).is_err());
}

#[test]
fn refuses_folders_that_differ_only_in_case() {
    assert!(together(&["Data/a", "data/b"]).is_err());
    assert!(together(&["x/É/a", "x/é/b"]).is_err());
    assert!(together(&["data/a", "data/b"]).is_ok());
}

#[test]
fn refuses_a_file_that_is_also_a_folder() {
    assert!(together(&["a", "a/b"]).is_err());
    assert!(together(&["A", "a/b/c"]).is_err());
    assert!(together(&["a.b", "a/b"]).is_ok());
}

#[test]
fn twenty_thousand_deep_paths_are_compared_in_time() {
    let deep = ["É"; 30].join("/");
    let paths: Vec<FilePath> = (0..20_000)
        .map(|i| format!("{deep}/{i}").parse().unwrap())
        .collect();
    let start = std::time::Instant::now();
    check_together(&paths).unwrap();
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn whatever_is_accepted_stays_inside(text in "[a-c./\\\\: ]{0,12}|\\PC{0,24}") {
        if let Ok(path) = text.parse::<FilePath>() {
            let joined = std::path::Path::new("/base").join(path.as_str());
            prop_assert!(joined.starts_with("/base"));
            prop_assert!(joined.components().all(|c| !matches!(c, std::path::Component::ParentDir | std::path::Component::CurDir)));
            prop_assert_eq!(joined.components().count(), 2 + path.components().count());
            prop_assert_eq!(String::from(path), text);
        }
    }

    #[test]
    fn folding_is_stable(text in "\\PC{1,12}") {
        if let Ok(path) = text.parse::<FilePath>() {
            let folded = path.folded();
            if let Ok(again) = folded.parse::<FilePath>() {
                prop_assert_eq!(again.folded(), folded);
            }
        }
    }
}
