//! `assay verify`.

use std::collections::BTreeMap;
use std::path::Path;

use assay_client::Device;
use assay_client::device::{DeviceError, Verification};
use assay_client::store::StoreError;
use assay_schema::limits::{MAX_FILES, MAX_PATH};
use assay_schema::{ModelRef, ReleaseRef, Sha256Digest, Stage, VersionName};
use serde_json::json;

use super::foreign;
use super::foreign::bounded;
use super::pull::{device, judged, name, options};
use crate::args::{PartArgs, Verify, Wanted};
use crate::context::{self, Context};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Answer;
use crate::progress::bar;

/// A file of digests: a line for each file of the largest release.
const MAX_DIGESTS: u64 = (MAX_FILES * (MAX_PATH + 70)) as u64;

pub(super) fn run(context: &Context, args: &Verify) -> Result<Answer, Failure> {
    let folder = Path::new(&args.what);
    if args.foreign.signature.is_some() {
        return foreign::run(context, existing(folder)?, &args.foreign, &part(&args.part)?);
    }
    let stage = args
        .chain
        .require
        .iter()
        .find(|s| !matches!(s, Stage::Content | Stage::Verdict));
    if let (false, Some(stage)) = (args.online, stage) {
        let message = format!("--require {stage}: only the content is verified without asking the registry");
        return Err(Failure::new(Exit::Usage, "offline", message).advise("Add --online"));
    }
    let (wanted, folder) = match &args.release {
        Some(release) => (release.clone(), Some(existing(folder)?)),
        None => on_this_device(context, args, folder)?,
    };
    if args.online {
        online(context, args, &wanted, folder)
    } else {
        offline(context, args, &wanted, folder)
    }
}

/// One argument alone: a model, or the folder of one of its releases in this device's store.
fn on_this_device<'f>(
    context: &Context,
    args: &Verify,
    folder: &'f Path,
) -> Result<(Wanted, Option<&'f Path>), Failure> {
    let bad = |message: String, advice| Failure::new(Exit::Usage, "bad-name", message).advise(advice);
    match args.what.parse::<Wanted>() {
        Ok(wanted) if wanted.version.is_none() => Ok((wanted, None)),
        Ok(_) => Err(bad(
            format!(
                "{}: expected a model without a version: what is active is verified",
                args.what
            ),
            "Give a model as NS/MODEL",
        )),
        Err(_) if folder.is_dir() => {
            let found = context.store(&args.device.store)?.release_at(folder)?;
            let release = found.ok_or_else(|| {
                bad(
                    format!("{}: not a release of this device's store", folder.display()),
                    "Say what it should be: `assay verify DIR NS/MODEL`, or --signature and --public-key",
                )
            })?;
            let wanted = Wanted {
                model: release.model,
                version: Some(release.version),
            };
            Ok((wanted, Some(folder)))
        }
        Err(e) => Err(bad(e.to_string(), "Give a model as NS/MODEL, or a folder")),
    }
}

/// What is verified, and on whose word.
fn part(args: &PartArgs) -> Result<Verification, Failure> {
    let digests = args.digests.as_deref().map(digests).transpose()?;
    Ok(Verification {
        only: args.file.iter().cloned().collect(),
        digests: digests.unwrap_or_default(),
        trust_unchanged: args.trust_unchanged.clone(),
    })
}

/// Lines as `sha256sum` writes them: a digest, two spaces or a space and an asterisk, and a path.
fn digests(path: &Path) -> Result<BTreeMap<String, Sha256Digest>, Failure> {
    let text = String::from_utf8(bounded(path, MAX_DIGESTS)?).unwrap_or_default();
    let mut all = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let parsed = line.split_once(' ').and_then(|(digest, name)| {
            let name = name.strip_prefix([' ', '*'])?;
            let name = name.strip_prefix("./").unwrap_or(name);
            Some((name.to_owned(), digest.parse::<Sha256Digest>().ok()?))
        });
        let new = parsed.is_some_and(|(name, digest)| all.insert(name, digest).is_none());
        if !new {
            let at = format!("{}, line {}", path.display(), number + 1);
            let message =
                format!("{at}: expected 64 hexadecimal digits, two spaces and a path that comes once");
            return Err(
                Failure::new(Exit::Usage, "bad-digests", message).advise("Write them with `sha256sum`")
            );
        }
    }
    match all.is_empty() {
        false => Ok(all),
        true => Err(Failure::new(
            Exit::Usage,
            "bad-digests",
            format!("{}: no digests", path.display()),
        )),
    }
}

fn existing(folder: &Path) -> Result<&Path, Failure> {
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(Failure::new(
        Exit::NotFound,
        "no-folder",
        format!("{}: no such folder", folder.display()),
    ))
}

fn offline(
    context: &Context,
    args: &Verify,
    wanted: &Wanted,
    folder: Option<&Path>,
) -> Result<Answer, Failure> {
    let device = context::device(context.store(&args.device.store)?)?.verify_by(part(&args.part)?);
    let bar = bar(context.show, "verifying", size(&device, wanted)?);
    let mut progress = |done| bar.set_position(done);
    let result = match folder {
        None => device.verify_active(&wanted.model, &mut progress),
        Some(folder) => device.verify_copy(folder, &wanted.model, wanted.version.as_ref(), &mut progress),
    };
    bar.finish_and_clear();
    let verdict = judged(result.map_err(Failure::from).map_err(advise)?, None)?;
    Ok(Answer::new(json!({"release": name(&verdict), "online": false}), "").with_verdict(verdict))
}

/// What is not on this device can still be compared with what the registry has.
fn advise(failure: Failure) -> Failure {
    match failure.code.as_str() {
        "not-kept" | "not-active" => {
            failure.advise("With --online, a folder is compared with any release: DIR NS/MODEL@VERSION")
        }
        _ => failure,
    }
}

fn online(
    context: &Context,
    args: &Verify,
    wanted: &Wanted,
    folder: Option<&Path>,
) -> Result<Answer, Failure> {
    let (device, transport) = device(context, &args.device, &wanted.model)?;
    let device = device.verify_by(part(&args.part)?);
    // Held until the end, so that the folder stays whatever another process activates.
    let active = device.active(&wanted.model)?;
    let version = match (&wanted.version, &active) {
        (Some(version), _) => version.clone(),
        (None, Some(active)) => active.manifest().version.clone(),
        (None, None) => return Err(not_active(&wanted.model, folder)),
    };
    let folder = match (folder, &active) {
        (Some(folder), _) => folder,
        (None, Some(active)) => active.path(),
        (None, None) => return Err(not_active(&wanted.model, folder)),
    };
    let release = ReleaseRef {
        model: wanted.model.clone(),
        version,
    };
    let bar = bar(context.show, "verifying", size(&device, wanted)?);
    let result = device.verify_directory(folder, &release, &options(wanted, &args.chain), &mut |done| {
        bar.set_position(done)
    });
    bar.finish_and_clear();
    let verdict = judged(result?, Some(&transport))?;
    Ok(Answer::new(json!({"release": name(&verdict), "online": true}), "").with_verdict(verdict))
}

fn not_active(model: &ModelRef, folder: Option<&Path>) -> Failure {
    let advice = match folder {
        Some(_) => format!("Say which release the folder should be: {model}@VERSION"),
        None => format!("Run `assay pull {model}` first"),
    };
    Failure::new(
        Exit::NotFound,
        "not-active",
        format!("{model} has no active release on this device"),
    )
    .advise(advice)
}

/// Bytes that will be verified, where the active release is the one that is meant.
fn size(device: &Device, wanted: &Wanted) -> Result<Option<u64>, Failure> {
    let is_meant = |version: &VersionName| wanted.version.as_ref().is_none_or(|w| w == version);
    // What other authorities did not sign is not handed out, but can be verified: the verdict says what is missing.
    let active = match device.active(&wanted.model) {
        Err(DeviceError::Store(StoreError::NotEndorsed(_))) => return Ok(None),
        active => active?,
    };
    Ok(active
        .filter(|a| is_meant(&a.manifest().version))
        .map(|a| a.manifest().size()))
}
