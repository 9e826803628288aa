//! `assay delta`: deltas between files on this machine.

mod picture;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use assay_client::delta::{self, DeltaError, Listing, Row, Shown, Tree};
use serde_json::{Value, json};

use crate::args::{DeltaApply, DeltaCommand, DeltaMake, DeltaShow};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, bytes, columns};
use crate::progress::bar;
use crate::verdict::printable;

pub(super) fn run(context: &Context, command: &DeltaCommand) -> Result<Answer, Failure> {
    match command {
        DeltaCommand::Make(args) => make(context, args),
        DeltaCommand::Show(args) => show(context, args),
        DeltaCommand::Apply(args) => apply(context, args),
    }
}

fn make(context: &Context, args: &DeltaMake) -> Result<Answer, Failure> {
    let listing_at = beside(&args.delta);
    if listing_at.exists() {
        let message = format!("{}: expected a new name, found a file", listing_at.display());
        return Err(
            Failure::new(Exit::Conflict, "exists", message).advise("Remove it, or name the delta otherwise")
        );
    }
    let (base, target) = (open(context, &args.base)?, open(context, &args.target)?);
    let bar = bar(context.show, "encoding", Some(target.size()));
    let identities = [base.listing().identity(), target.listing().identity()];
    let threads = threads(args.threads);
    let made = delta::make(&base, &target, identities, &args.delta, threads, &mut |done| {
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let made = made?;
    save(&listing_at, target.listing())?;
    let text = format!(
        "{}: {} of {}, {}; listing in {}",
        args.delta.display(),
        bytes(made.size),
        bytes(made.full),
        share(made.size, made.full),
        listing_at.display()
    );
    let document = json!({"delta": made, "listing": listing_at});
    Ok(Answer::new(document, text))
}

fn show(context: &Context, args: &DeltaShow) -> Result<Answer, Failure> {
    let target = args
        .target
        .as_deref()
        .map(|path| open(context, path))
        .transpose()?;
    let spans = target.as_ref().map(Tree::spans).unwrap_or_default();
    let shown = delta::show(&args.delta, target.as_ref().map(Tree::listing), &spans)?;
    if let Some(target) = &target
        && target.listing().identity() != shown.target
    {
        let message = format!(
            "expected the delta's target, with identity {}, found files with identity {}",
            shown.target,
            target.listing().identity()
        );
        return Err(Failure::new(Exit::Conflict, "other-target", message).advise("Name what the delta makes"));
    }
    if let Some(path) = &args.svg {
        let drawn = std::fs::write(path, picture::svg(&shown));
        drawn.map_err(|e| Failure::new(Exit::Store, "file", format!("write {}: {e}", path.display())))?;
    }
    let document = serde_json::to_value(&shown).unwrap_or(Value::Null);
    Ok(Answer::new(document, table(&shown, args.rows)))
}

fn table(shown: &Shown, most: usize) -> String {
    let most = if most == 0 { usize::MAX } else { most };
    let mut rows =
        vec![["tensor", "type", "bytes", "copied", "delta", "of it", "coded as"].map(str::to_owned)];
    for row in shown.rows.iter().take(most) {
        rows.push([
            name(row),
            row.dtype.clone(),
            bytes(row.bytes),
            share(row.copied, row.bytes),
            bytes(row.delta),
            share(row.delta, row.bytes),
            modes(row),
        ]);
    }
    let mut text = columns(&rows);
    if let Some(more) = shown.rows.len().checked_sub(most).filter(|more| *more > 0) {
        text.push_str(&format!("and {more} more (--rows 0 shows all)\n"));
    }
    text.push_str(&format!(
        "header and index {}; together {} of {}, {}",
        bytes(shown.index),
        bytes(shown.size),
        bytes(shown.full),
        share(shown.size, shown.full)
    ));
    text
}

/// Names come out of files: no control character reaches the terminal.
fn name(row: &Row) -> String {
    let name = match (&row.tensor, row.file.as_str()) {
        (Some(tensor), "") => tensor.clone(),
        (Some(tensor), file) => format!("{file}: {tensor}"),
        (None, "") => "(no tensor)".to_owned(),
        (None, file) => format!("{file}: (no tensor)"),
    };
    printable(&name)
}

fn modes(row: &Row) -> String {
    let mut modes: Vec<_> = row.modes.iter().filter(|(mode, _)| **mode != "copy").collect();
    modes.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
    let modes: Vec<&str> = modes.into_iter().map(|(mode, _)| *mode).collect();
    match modes.is_empty() {
        true => "copy".to_owned(),
        false => modes.join(", "),
    }
}

fn apply(context: &Context, args: &DeltaApply) -> Result<Answer, Failure> {
    let listing_at = args.listing.clone().unwrap_or_else(|| beside(&args.delta));
    let target = delta::show(&args.delta, None, &[])?.target;
    let listing = Listing::read(&listing_at, target)?;
    let base = open(context, &args.base)?;
    let full: u64 = listing.files.iter().map(|file| file.size).sum();
    let bar = bar(context.show, "applying", Some(full));
    let applied = delta::apply(
        &args.delta,
        &base,
        &listing,
        &args.out,
        threads(args.threads),
        &mut |done| bar.set_position(done),
    );
    bar.finish_and_clear();
    applied?;
    let text = format!("{}: {}, identity {target}", args.out.display(), bytes(full));
    Ok(Answer::new(
        json!({"out": args.out, "identity": target, "bytes": full}),
        text,
    ))
}

fn open(context: &Context, path: &Path) -> Result<Tree, Failure> {
    let bar = bar(context.show, "hashing", None);
    let tree = Tree::open(path, &|piece| bar.inc(piece));
    bar.finish_and_clear();
    Ok(tree?)
}

fn threads(asked: Option<NonZeroUsize>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    asked.map_or_else(cores, NonZeroUsize::get)
}

/// The listing's name: the delta's with `.json` behind it.
fn beside(delta: &Path) -> PathBuf {
    let mut name = delta.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

fn save(path: &Path, listing: &Listing) -> Result<(), Failure> {
    let fail = |e: String| Failure::new(Exit::Store, "file", format!("write {}: {e}", path.display()));
    let text = serde_json::to_string(listing).map_err(|e| fail(e.to_string()))?;
    std::fs::write(path, text + "\n").map_err(|e| fail(e.to_string()))
}

fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        whole => format!("{:.2} %", part as f64 * 100.0 / whole as f64),
    }
}

impl From<DeltaError> for Failure {
    fn from(error: DeltaError) -> Self {
        let message = printable(&error.to_string());
        let (exit, code) = match error {
            DeltaError::File(e) => return e.into(),
            DeltaError::Scan(e) => return e.into(),
            DeltaError::Exists { .. } => (Exit::Conflict, "exists"),
            DeltaError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                (Exit::NotFound, "no-file")
            }
            DeltaError::Io { .. } | DeltaError::Match(_) => (Exit::Store, "file"),
            DeltaError::Listing { .. } => (Exit::Refused, "other-listing"),
            DeltaError::Encode(_) => (Exit::Failed, "no-delta"),
            DeltaError::Index(_) => (Exit::Refused, "bad-delta"),
            DeltaError::Chunk(_) => (Exit::Refused, "bad-chunk"),
            DeltaError::Identity { .. } => (Exit::Refused, "other-content"),
        };
        Self::new(exit, code, message)
    }
}
