//! Applying a delta to files on this machine: every chunk is compared with the listing before it is written, the whole with the delta's
//! target before it takes its place.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use assay_delta::{BadChunk, Entry, Index, Scratch, decode_chunk};
use assay_schema::limits::CHUNK_SIZE;

use super::show::read_index;
use super::{AHEAD, DeltaError, Listing, Result, Tree, beside, put_in_place, vacant};

/// Makes what the delta says at `out`, which must not exist, from `base`. Stopped at any moment, nothing is at `out`. `progress` is told
/// how many bytes are done.
///
/// # Errors
/// The delta is from another base or damaged, a chunk does not come out as the listing says, or a file cannot be read or written.
pub fn apply(
    delta: &Path,
    base: &Tree,
    listing: &Listing,
    out: &Path,
    threads: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    vacant(out)?;
    let (file, index) = read_index(delta)?;
    index.between(&base.listing().identity(), &listing.identity())?;
    let sizes: Vec<u64> = listing.files.iter().map(|file| file.size).collect();
    let bases: Vec<u64> = base.listing().files.iter().map(|file| file.size).collect();
    if !index.target_sizes().eq(sizes.iter().copied()) || index.base_sizes() != bases {
        return Err(DeltaError::Listing {
            path: delta.to_owned(),
            found: "other sizes of files than the delta has".to_owned(),
        });
    }
    let new = beside(out, ".new");
    let applied = (|| {
        clear(&new)?;
        let targets = create(&new, listing)?;
        let work = Work {
            delta: (&file, delta),
            index: &index,
            base,
            listing,
            targets: &targets,
            out: &new,
        };
        work.run(threads.max(1), progress)?;
        for target in &targets {
            target.sync_all().map_err(|e| DeltaError::io("sync", &new, e))?;
        }
        // The chunks are the listing's; that the listing is the delta's, only the whole files show.
        let found = Tree::open(&new, &|_| {})?.listing().identity();
        let expected = index.header().target;
        if found != expected {
            return Err(DeltaError::Identity { expected, found });
        }
        put_in_place(&new, out)
    })();
    if applied.is_err() {
        let _ = clear(&new);
    }
    applied
}

fn clear(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.map_err(|e| DeltaError::io("remove", path, e))
}

/// The target's files, empty, at their sizes.
fn create(new: &Path, listing: &Listing) -> Result<Vec<File>> {
    let single = matches!(listing.files.as_slice(), [only] if only.path.is_empty());
    let mut targets = Vec::with_capacity(listing.files.len());
    for file in &listing.files {
        let path = if single {
            new.to_owned()
        } else {
            // Parsed: a path that leads out of the folder is none.
            let inside = file.path.parse::<assay_schema::FilePath>();
            let inside = inside.map_err(|source| crate::scan::ScanError::Name {
                folder: new.to_owned(),
                source,
            })?;
            new.join(inside.as_str())
        };
        let fail = |e| DeltaError::io("create", &path, e);
        if let (false, Some(parent)) = (single, path.parent()) {
            std::fs::create_dir_all(parent).map_err(fail)?;
        }
        let created = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(fail)?;
        created.set_len(file.size).map_err(fail)?;
        targets.push(created);
    }
    Ok(targets)
}

struct Work<'a> {
    delta: (&'a File, &'a Path),
    index: &'a Index,
    base: &'a Tree,
    listing: &'a Listing,
    targets: &'a [File],
    out: &'a Path,
}

impl Work<'_> {
    fn run(&self, threads: usize, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let entries: Vec<Entry<'_>> = self.index.chunks().collect();
        let mut scratches: Vec<Scratch> = Vec::new();
        scratches.resize_with(threads, Scratch::new);
        let mut done = 0;
        for batch in entries.chunks(AHEAD * threads) {
            std::thread::scope(|scope| {
                let workers: Vec<_> = (0..)
                    .zip(&mut scratches)
                    .map(|(first, scratch)| {
                        scope.spawn(move || {
                            let mut own = batch.iter().skip(first).step_by(threads);
                            own.try_for_each(|entry| self.chunk(entry, scratch))
                        })
                    })
                    .collect();
                let joined = workers.into_iter().map(|worker| worker.join());
                joined
                    .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect::<Result<Vec<()>>>()
            })?;
            done += batch.iter().map(|entry| u64::from(entry.length)).sum::<u64>();
            progress(done);
        }
        Ok(())
    }

    fn chunk(&self, entry: &Entry<'_>, scratch: &mut Scratch) -> Result<()> {
        let place = entry.file as usize;
        let missing = || BadChunk {
            file: entry.file,
            chunk: entry.chunk,
            why: assay_delta::Why::Missing,
        };
        let listed = self.listing.files.get(place).ok_or_else(missing)?;
        let (expected, target) = (
            listed.chunk(entry.chunk).ok_or_else(missing)?,
            self.targets.get(place).ok_or_else(missing)?,
        );
        let (delta, path) = self.delta;
        // A frame is bounded by the format (schema/delta.md, "Entries").
        let mut frame = vec![0; (entry.frame.end - entry.frame.start) as usize];
        delta
            .read_exact_at(&mut frame, entry.frame.start)
            .map_err(|e| DeltaError::io("read", path, e))?;
        let chunk = decode_chunk(self.index, entry, &frame, self.base.bytes(), &expected, scratch)?;
        target
            .write_all_at(chunk.bytes(), entry.chunk * u64::from(CHUNK_SIZE))
            .map_err(|e| DeltaError::io("write", self.out, e))
    }
}
