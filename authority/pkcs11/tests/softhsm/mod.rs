//! Tokens of SoftHSM 2, in folders of the test's own. Also included by the command's tests.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const PIN: &str = "123456";
const SO_PIN: &str = "87654321";

/// The library. Missing is a failure and no reason to skip: `scripts/setup.sh softhsm` installs it.
pub(crate) fn module() -> PathBuf {
    let given = std::env::var_os("SOFTHSM2_MODULE").map(PathBuf::from);
    let usual = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
        "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    ];
    let places = given.into_iter().chain(usual.map(PathBuf::from));
    places
        .into_iter()
        .find(|path| path.exists())
        .expect("SoftHSM 2 is not here: run scripts/setup.sh softhsm, or set SOFTHSM2_MODULE")
}

/// Makes the folder of tokens, and gives the configuration file that SOFTHSM2_CONF must name.
pub(crate) fn configure(folder: &Path) -> PathBuf {
    let tokens = folder.join("tokens");
    std::fs::create_dir_all(&tokens).unwrap();
    let configuration = folder.join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(&configuration, text).unwrap();
    configuration
}

pub(crate) fn init_token(configuration: &Path, label: &str) {
    let args = [
        "--init-token",
        "--free",
        "--label",
        label,
        "--so-pin",
        SO_PIN,
        "--pin",
        PIN,
    ];
    tool("softhsm2-util", configuration, &args);
}

/// Makes a key with a tool that is not ours: `EC:prime256v1`, `EC:edwards25519`.
pub(crate) fn make_key(configuration: &Path, token: &str, label: &str, id: &str, kind: &str) {
    let module = module();
    let args = [
        "--module",
        module.to_str().unwrap(),
        "--token-label",
        token,
        "--login",
        "--pin",
        PIN,
        "--keypairgen",
        "--key-type",
        kind,
        "--label",
        label,
        "--id",
        id,
    ];
    tool("pkcs11-tool", configuration, &args);
}

fn tool(name: &str, configuration: &Path, args: &[&str]) {
    let ran = Command::new(name)
        .args(args)
        .env("SOFTHSM2_CONF", configuration)
        .output()
        .unwrap_or_else(|e| panic!("{name}: {e}: run scripts/setup.sh softhsm"));
    assert!(ran.status.success(), "{name}: {ran:?}");
}
