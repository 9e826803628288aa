//! Signs a folder as OpenSSF Model Signing does: `sign_model KEY.pem MODEL_DIR MODEL.sig KEY.pub`. The passphrase of an encrypted
//! key comes from the environment variable `PASSPHRASE`.
//!
//! `python -m model_signing verify key MODEL_DIR --signature MODEL.sig --public_key KEY.pub` accepts the result.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use assay_authority::SigningKey;
use assay_authority::oms::{DEFAULT_IGNORED, sign_model};
use assay_authority::release::FileHasher;
use assay_schema::{FilePath, Sha256Digest};

type Files = BTreeMap<FilePath, Sha256Digest>;

fn hash(folder: &Path, prefix: &str, ignored: &[&str], files: &mut Files) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!(
            "{prefix}{}",
            entry
                .file_name()
                .to_str()
                .ok_or("a file name that is not UTF-8")?
        );
        if ignored.contains(&name.as_str()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            hash(&entry.path(), &format!("{name}/"), ignored, files)?;
        } else {
            let mut hasher = FileHasher::new();
            hasher.update(&fs::read(entry.path())?);
            files.insert(name.parse()?, hasher.finish()?.sha256());
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [key, model, signature, public] = arguments.as_slice() else {
        return Err("expected KEY.pem MODEL_DIR MODEL.sig KEY.pub".into());
    };
    let key = SigningKey::from_pem(&fs::read_to_string(key)?, env::var("PASSPHRASE").ok().as_deref())?;
    let mut ignored = DEFAULT_IGNORED.to_vec();
    let inside = signature.strip_prefix(model).ok().and_then(Path::to_str);
    ignored.extend(inside);
    let mut files = Files::new();
    hash(model, "", &ignored, &mut files)?;
    let name = model
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("model");
    let bytes = sign_model(
        &key,
        name,
        files.iter().map(|(path, digest)| (path, *digest)),
        &ignored,
    )?;
    fs::write(signature, bytes)?;
    fs::write(public, key.public_key_pem()?)?;
    Ok(())
}
