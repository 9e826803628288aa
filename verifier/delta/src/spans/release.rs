//! The tensors of all files of a release together.

use std::collections::BTreeMap;

use super::{Format, SpanError, format, read};
use crate::{ReadAt, Span};

/// The tensors of one file, in the order of their offsets and without overlap.
#[derive(Debug, Default)]
pub struct FileSpans {
    /// What it was read as; `None` for a file of another format.
    pub format: Option<Format>,
    /// Its tensors; none where it is compared as plain bytes.
    pub spans: Vec<Span>,
    /// Why a file of a known format is compared as plain bytes.
    pub problem: Option<SpanError>,
}

/// Finds the tensors of a release's files, given with their paths. The answer has the files' order.
///
/// No file fails the release: one whose header cannot be followed is compared as plain bytes, and its `problem` says why.
pub fn read_release(files: &[(&str, &dyn ReadAt)]) -> Vec<FileSpans> {
    let mut all: Vec<FileSpans> = Vec::with_capacity(files.len());
    let mut external = Vec::new();
    for (at, (path, file)) in files.iter().enumerate() {
        let mut entry = FileSpans::default();
        // A file that cannot be read now is compared as plain bytes, where the same failure comes up and is reported.
        if let Ok(Some(found)) = format(path, *file) {
            entry.format = Some(found);
            match read(found, *file) {
                Ok(found) => {
                    entry.spans = found.spans;
                    external.extend(found.external.into_iter().map(|tensor| (at, tensor)));
                }
                Err(problem) => entry.problem = Some(problem),
            }
        }
        all.push(entry);
    }
    let places: BTreeMap<&str, usize> = files
        .iter()
        .enumerate()
        .map(|(i, (path, _))| (*path, i))
        .collect();
    for (at, tensor) in external {
        let Some((path, _)) = files.get(at) else { continue };
        let location = match path.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{}", tensor.location),
            None => tensor.location,
        };
        let holder = places.get(location.as_str()).copied();
        let length = holder.and_then(|i| files.get(i)).map(|(_, file)| file.len());
        let last = tensor.span.offset.checked_add(tensor.span.length);
        match (holder.and_then(|i| all.get_mut(i)), last, length) {
            (Some(holder), Some(last), Some(length)) if last <= length => holder.spans.push(tensor.span),
            _ => {
                let problem = SpanError::malformed(
                    Format::Onnx,
                    format_args!("initializer {:?}: external data", tensor.span.name),
                    format_args!("{} bytes in {location}", tensor.span.length),
                    match length {
                        Some(length) => format!(
                            "a file of {length} bytes, and an offset of {}",
                            tensor.span.offset
                        ),
                        None => "no such file in the release".to_owned(),
                    },
                );
                if let Some(entry) = all.get_mut(at) {
                    entry.problem.get_or_insert(problem);
                }
            }
        }
    }
    for entry in &mut all {
        disjoint(&mut entry.spans);
    }
    all
}

/// Sorts by offset and keeps the first of tensors that share bytes (tied weights; or a lie, which costs nothing but size).
fn disjoint(spans: &mut Vec<Span>) {
    spans.sort_by(|a, b| (a.offset, &a.name).cmp(&(b.offset, &b.name)));
    let mut end = 0;
    spans.retain(|span| {
        let kept = span.length > 0 && span.offset >= end;
        if kept {
            end = span.offset.saturating_add(span.length);
        }
        kept
    });
}
