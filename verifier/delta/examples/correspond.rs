//! Shows where tensors lie, and which base bytes the files of a release would be coded against.
//!
//! ```text
//! correspond FILE              the tensors of a file
//! correspond BASE TARGET       two files or two folders: segments, and how many bytes of the target lie in the base unchanged
//! correspond BASE TARGET lora  the same, and the tensors into which an adapter was merged
//! ```
//!
//! Seconds are of the processor (Linux).
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that reads files and tells what it found"
)]

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use assay_delta::lora::{Tensor, search};
use assay_delta::matching::{ModelFile, correspond};
use assay_delta::spans::{FileSpans, read_release};
use assay_delta::{ReadAt, Segment, Span};

struct Disk(File, u64);

impl ReadAt for Disk {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }
}

struct Release {
    paths: Vec<String>,
    files: Vec<Disk>,
    spans: Vec<FileSpans>,
}

impl Release {
    fn open(at: &Path) -> Result<Self, Box<dyn Error>> {
        let mut found = Vec::new();
        if at.is_dir() {
            collect(at, &mut found)?;
        } else {
            found.push(at.to_owned());
        }
        found.sort();
        let root = if at.is_dir() {
            at
        } else {
            at.parent().unwrap_or(at)
        };
        let paths = found
            .iter()
            .map(|p| p.strip_prefix(root).map(|p| p.display().to_string()))
            .collect::<Result<Vec<_>, _>>()?;
        let files = found
            .iter()
            .map(|p| {
                let file = File::open(p)?;
                let length = file.metadata()?.len();
                Ok(Disk(file, length))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let readers: Vec<(&str, &dyn ReadAt)> = paths
            .iter()
            .zip(&files)
            .map(|(p, f)| (p.as_str(), f as &dyn ReadAt))
            .collect();
        let spans = read_release(&readers);
        Ok(Self { paths, files, spans })
    }

    fn files(&self) -> Vec<ModelFile<'_>> {
        let all = self.paths.iter().zip(&self.files).zip(&self.spans);
        all.map(|((path, bytes), spans)| ModelFile {
            path,
            bytes,
            spans: &spans.spans,
        })
        .collect()
    }
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

/// Bytes of a segment that its base has in the same place.
fn same(segment: &Segment, target: &Disk, base: &Release) -> io::Result<u64> {
    let Some(at) = segment.base else { return Ok(0) };
    let Some(known) = base.files.get(at.file as usize) else {
        return Ok(0);
    };
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut equal = 0;
    let length = segment.target.end - segment.target.start;
    for from in (0..length).step_by(1 << 20) {
        let size = (length - from).min(1 << 20) as usize;
        let (Some(a), Some(b)) = (a.get_mut(..size), b.get_mut(..size)) else {
            continue;
        };
        target.read_at(segment.target.start + from, a)?;
        known.read_at(at.offset + from, b)?;
        equal += a.iter().zip(b.iter()).filter(|(a, b)| a == b).count() as u64;
    }
    Ok(equal)
}

/// Processor time of this thread, by Linux's accounting: other programs do not count.
fn processor_seconds() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().ok_or("no time in schedstat")?;
    Ok(nanoseconds.parse::<f64>()? / 1e9)
}

/// Tells whether an adapter was merged into a tensor, and how many weights its factors predict exactly.
fn adapter(base: &Release, target: &Disk, span: &Span, segments: &[Segment]) -> Result<(), Box<dyn Error>> {
    let holds = |s: &&Segment| s.target.start <= span.offset && span.offset + span.length <= s.target.end;
    let Some((segment, at)) = segments.iter().find(holds).and_then(|s| Some((s, s.base?))) else {
        return Ok(());
    };
    let (Some(file), [rows, columns]) = (base.files.get(at.file as usize), span.shape.as_slice()) else {
        return Ok(());
    };
    let offset = at.offset + (span.offset - segment.target.start);
    let tensor = Tensor {
        base: (file, offset),
        target: (target, span.offset),
        dtype: span.dtype,
        rows: usize::try_from(*rows)?,
        columns: usize::try_from(*columns)?,
    };
    let start = processor_seconds()?;
    let found = search(&tensor)?;
    let seconds = processor_seconds()? - start;
    let Some(factors) = found else {
        println!("{}: no factors ({seconds:.3} s)", span.name);
        return Ok(());
    };
    let length = usize::try_from(span.length)?;
    let (mut predicted, mut wanted) = (vec![0; length], vec![0; length]);
    file.read_at(offset, &mut predicted)?;
    target.read_at(span.offset, &mut wanted)?;
    let start = processor_seconds()?;
    factors.predict(span.dtype, 0, &mut predicted);
    let applied = processor_seconds()? - start;
    let unit = span.dtype.unit();
    let pairs = predicted.chunks_exact(unit).zip(wanted.chunks_exact(unit));
    let exact = pairs.filter(|(a, b)| a == b).count();
    println!(
        "{}: rank {}, {} bytes of factors for {length}, {:.2} % of the weights exact; {seconds:.3} s to find, {applied:.3} s to apply",
        span.name,
        factors.rank(),
        factors.to_bytes().len(),
        100.0 * (exact * unit) as f64 / length as f64
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match arguments.as_slice() {
        [file] => {
            let release = Release::open(file)?;
            for (path, found) in release.paths.iter().zip(&release.spans) {
                match (&found.format, &found.problem) {
                    (_, Some(problem)) => println!("{path}: {problem}"),
                    (Some(format), None) => println!("{path}: {format}, {} tensors", found.spans.len()),
                    (None, None) => println!("{path}: plain bytes"),
                }
                for span in &found.spans {
                    let (offset, length) = (span.offset, span.length);
                    println!(
                        "  {offset:>14} {length:>14} {:?} {:?} {}",
                        span.dtype, span.shape, span.name
                    );
                }
            }
        }
        [base, target, more @ ..] => {
            let (base, target) = (Release::open(base)?, Release::open(target)?);
            let start = processor_seconds()?;
            let all = correspond(&base.files(), &target.files())?;
            let seconds = processor_seconds()? - start;
            let (mut total, mut equal, mut without, mut count) = (0, 0, 0, 0);
            for ((path, file), segments) in target.paths.iter().zip(&target.files).zip(&all) {
                let mut here = 0;
                for segment in segments {
                    here += same(segment, file, &base)?;
                    if segment.base.is_none() {
                        without += segment.target.end - segment.target.start;
                    }
                }
                println!(
                    "{path}: {} bytes, {here} as in the base, {} segments",
                    file.len(),
                    segments.len()
                );
                total += file.len();
                equal += here;
                count += segments.len();
            }
            println!(
                "{total} bytes, {equal} as in the base ({:.3} % differ), {without} without a counterpart, {count} segments; {seconds:.2} s",
                100.0 * (total - equal) as f64 / total.max(1) as f64
            );
            if more.iter().any(|word| word.as_os_str() == "lora") {
                for ((file, found), segments) in target.files.iter().zip(&target.spans).zip(&all) {
                    for span in &found.spans {
                        adapter(&base, file, span, segments)?;
                    }
                }
            }
        }
        _ => return Err("expected FILE, or BASE TARGET [lora]".into()),
    }
    Ok(())
}
