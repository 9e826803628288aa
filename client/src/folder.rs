//! Folders by file descriptor. Every step down is one name, opened without following symbolic links, so that nothing that
//! somebody plants inside a folder leads a read or write out of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_schema::FilePath;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Something that went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done: "read", "write", "open" ...
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A symbolic link, device, pipe, socket or hard-linked file where an ordinary file or folder belongs.
    #[error(
        "{}: expected {expected}, found {found}. Remove it: Assay never follows links inside its folders",
        path.display()
    )]
    Planted {
        /// Where.
        path: PathBuf,
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// More bytes than a file of its kind may have.
    #[error("{}: expected at most {max} bytes, found {found}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        max: u64,
        /// Its size.
        found: u64,
    },
}

impl FileError {
    /// Whether the disk, or the user's quota on it, is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Whether the file or folder is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

type Result<T> = std::result::Result<T, FileError>;

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Other(&'static str),
}

impl Kind {
    fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Other("a symbolic link"),
            FileType::Fifo => Self::Other("a pipe"),
            FileType::Socket => Self::Other("a socket"),
            FileType::CharacterDevice | FileType::BlockDevice => Self::Other("a device"),
            FileType::Unknown => Self::Other("something that is neither file nor folder"),
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Folder => "a folder",
            Self::Other(what) => what,
        }
    }
}

/// Size, identity and times of a file: what changes when somebody changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    pub(crate) size: u64,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    /// Whether the file was last written or changed before this time (Unix seconds): a later change then has another mark, however
    /// coarse the file system's clock is.
    pub(crate) const fn is_older_than(&self, seconds: i64) -> bool {
        self.modified.0 < seconds && self.changed.0 < seconds
    }
}

/// An open folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    file: Arc<File>,
    path: PathBuf,
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);

impl Folder {
    /// Opens a folder by the path that the user gave; links on the way to it are the user's own.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| io_error("open", path, e))?;
        let kind = file.metadata().map_err(|e| io_error("look at", path, e))?;
        if !kind.is_dir() {
            return Err(io_error("open", path, io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
        })
    }

    /// Opens a folder by the path that the user gave, making it where it is missing.
    pub(crate) fn ensure(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| io_error("create", path, e))?;
        Self::open(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    fn fail(&self, doing: &'static str, name: &OsStr, errno: Errno) -> FileError {
        io_error(doing, &self.at(name), errno.into())
    }

    /// The folder `name` in this one.
    pub(crate) fn sub(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        let name = name.as_ref();
        let fd =
            rustix::fs::openat(&*self.file, name, READ | OFlags::DIRECTORY, Mode::empty()).map_err(|e| {
                match e {
                    // O_NOFOLLOW with O_DIRECTORY answers either, depending on the system.
                    Errno::LOOP | Errno::NOTDIR => self.planted(name, "a folder", e),
                    e => self.fail("open", name, e),
                }
            })?;
        Ok(Self {
            file: Arc::new(File::from(fd)),
            path: self.at(name),
        })
    }

    fn planted(&self, name: &OsStr, expected: &'static str, errno: Errno) -> FileError {
        match self.kind(name) {
            Ok(Some(kind)) => FileError::Planted {
                path: self.at(name),
                expected,
                found: kind.describe(),
            },
            _ => self.fail("open", name, errno),
        }
    }

    /// The folder `name`, `None` where there is none.
    pub(crate) fn find(&self, name: impl AsRef<OsStr>) -> Result<Option<Self>> {
        absent_as_none(self.sub(name))
    }

    /// The folder `name` in this one, made if it is missing.
    pub(crate) fn ensure_sub(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        let name = name.as_ref();
        match rustix::fs::mkdirat(&*self.file, name, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => self.sub(name),
            Err(e) => Err(self.fail("create", name, e)),
        }
    }

    /// What `name` is; `None` where there is nothing.
    pub(crate) fn kind(&self, name: impl AsRef<OsStr>) -> Result<Option<Kind>> {
        let name = name.as_ref();
        match rustix::fs::statat(&*self.file, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Kind::of(FileType::from_raw_mode(stat.st_mode)))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.fail("look at", name, e)),
        }
    }

    /// The file `name`, for reading. Pipes, devices and links are refused.
    pub(crate) fn read_file(&self, name: impl AsRef<OsStr>) -> Result<File> {
        let name = name.as_ref();
        let fd = rustix::fs::openat(&*self.file, name, READ, Mode::empty()).map_err(|e| match e {
            Errno::LOOP => self.planted(name, "a file", e),
            e => self.fail("open", name, e),
        })?;
        self.regular(name, File::from(fd), false)
    }

    /// The file `name`, for reading and writing, made if it is missing. A file with a second name (hard link) is refused:
    /// writing to it would write to that one too.
    pub(crate) fn write_file(&self, name: impl AsRef<OsStr>) -> Result<File> {
        let name = name.as_ref();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = || rustix::fs::openat(&*self.file, name, flags, FILE_MODE);
        let fd = match open() {
            // An earlier run made it read-only just before it stopped.
            Err(Errno::ACCESS | Errno::PERM) if self.kind(name)? == Some(Kind::File) => {
                rustix::fs::chmodat(&*self.file, name, FILE_MODE, AtFlags::empty())
                    .map_err(|e| self.fail("make writable", name, e))?;
                open()
            }
            other => other,
        }
        .map_err(|e| match e {
            Errno::LOOP | Errno::ISDIR | Errno::NXIO => self.planted(name, "a file", e),
            e => self.fail("open", name, e),
        })?;
        self.regular(name, File::from(fd), true)
    }

    fn regular(&self, name: &OsStr, file: File, alone: bool) -> Result<File> {
        let stat = rustix::fs::fstat(&file).map_err(|e| self.fail("look at", name, e))?;
        let kind = Kind::of(FileType::from_raw_mode(stat.st_mode));
        let planted = |found| FileError::Planted {
            path: self.at(name),
            expected: "a file",
            found,
        };
        match kind {
            Kind::File if alone && stat.st_nlink != 1 => {
                Err(planted("a file with a second name (hard link)"))
            }
            Kind::File => Ok(file),
            other => Err(planted(other.describe())),
        }
    }

    /// The folder and last component of a path below this folder; missing folders are made if `create`.
    pub(crate) fn parent_of<'p>(&self, path: &'p FilePath, create: bool) -> Result<(Self, &'p str)> {
        let mut folder = self.clone();
        let mut parts = path.components().peekable();
        let mut last = path.as_str();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                last = part;
                break;
            }
            folder = if create {
                folder.ensure_sub(part)?
            } else {
                folder.sub(part)?
            };
        }
        Ok((folder, last))
    }

    /// Opens the file at a path below this folder for reading; `None` where there is none.
    pub(crate) fn read_at_path(&self, path: &FilePath) -> Result<Option<File>> {
        absent_as_none(
            self.parent_of(path, false)
                .and_then(|(folder, name)| folder.read_file(name)),
        )
    }

    /// Opens the file at a path below this folder for writing, making folders and file.
    pub(crate) fn write_at_path(&self, path: &FilePath) -> Result<File> {
        let (folder, name) = self.parent_of(path, true)?;
        folder.write_file(name)
    }

    /// All bytes of the file `name`; `None` where there is none.
    pub(crate) fn read(&self, name: impl AsRef<OsStr>, max: u64) -> Result<Option<Vec<u8>>> {
        let name = name.as_ref();
        let Some(file) = absent_as_none(self.read_file(name))? else {
            return Ok(None);
        };
        let fail = |e| io_error("read", &self.at(name), e);
        let size = file.metadata().map_err(fail)?.len();
        let mut bytes = Vec::new();
        (&file)
            .take(max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(fail)?;
        let found = size.max(bytes.len() as u64);
        if found > max {
            return Err(FileError::TooLong {
                path: self.at(name),
                max,
                found,
            });
        }
        Ok(Some(bytes))
    }

    /// Replaces the file `name` so that a reader, or a crash at any moment, finds the old bytes or the new ones, whole.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let temporary = format!(".{name}.new");
        match rustix::fs::unlinkat(&*self.file, &temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(self.fail("remove", temporary.as_ref(), e)),
        }
        self.create(&temporary, bytes, mode)?;
        rustix::fs::renameat(&*self.file, &temporary, &*self.file, name)
            .map_err(|e| self.fail("replace", name.as_ref(), e))?;
        self.sync()
    }

    /// Makes the file `name`, which must not exist, and syncs its bytes (not this folder).
    pub(crate) fn create(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*self.file, name, flags, Mode::from_raw_mode(mode))
            .map_err(|e| self.fail("create", name.as_ref(), e))?;
        let mut file = File::from(fd);
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|e| io_error("write", &self.at(name.as_ref()), e))
    }

    /// Syncs the folder's own entries.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| io_error("sync", &self.path, e))
    }

    /// Names and kinds of the entries, sorted by name.
    pub(crate) fn entries(&self) -> Result<Vec<(OsString, Kind)>> {
        let fail = |e: Errno| io_error("list", &self.path, e.into());
        let mut entries = Vec::new();
        for entry in Dir::read_from(&*self.file).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match self.kind(name)? {
                    Some(kind) => kind,
                    None => continue,
                },
                kind => Kind::of(kind),
            };
            entries.push((name.to_owned(), kind));
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(entries)
    }

    /// Moves `name` to `target` in another folder of the same file system. An existing empty folder is replaced.
    pub(crate) fn rename(&self, name: &str, to: &Self, target: &str) -> Result<()> {
        rustix::fs::renameat(&*self.file, name, &*to.file, target)
            .map_err(|e| self.fail("move", name.as_ref(), e))
    }

    /// Lets two folders change places in one step.
    pub(crate) fn exchange(&self, name: &str, other: &Self, target: &str) -> Result<()> {
        rustix::fs::renameat_with(&*self.file, name, &*other.file, target, RenameFlags::EXCHANGE)
            .map_err(|e| self.fail("exchange", name.as_ref(), e))
    }

    /// Removes a file; absence is fine.
    pub(crate) fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        match rustix::fs::unlinkat(&*self.file, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.fail("remove", name, e)),
        }
    }

    /// Removes a folder with all that is in it, following nothing; absence is fine.
    pub(crate) fn remove_tree(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        match self.kind(name)? {
            None => return Ok(()),
            Some(Kind::Folder) => {}
            Some(_) => return self.remove_file(name),
        }
        let folder = self.sub(name)?;
        for (entry, kind) in folder.entries()? {
            match kind {
                Kind::Folder => folder.remove_tree(&entry)?,
                _ => folder.remove_file(&entry)?,
            }
        }
        match rustix::fs::unlinkat(&*self.file, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.fail("remove", name, e)),
        }
    }

    /// Syncs every file and folder below and, if `seal`, takes the write permission from every file.
    pub(crate) fn sync_tree(&self, seal: bool) -> Result<()> {
        for (name, kind) in self.entries()? {
            match kind {
                Kind::Folder => self.sub(&name)?.sync_tree(seal)?,
                Kind::File => {
                    let file = self.read_file(&name)?;
                    if seal {
                        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o444))
                            .map_err(|e| self.fail("make read-only", &name, e))?;
                    }
                    file.sync_all()
                        .map_err(|e| io_error("sync", &self.at(&name), e))?;
                }
                other @ Kind::Other(_) => {
                    return Err(FileError::Planted {
                        path: self.at(&name),
                        expected: "a file or folder",
                        found: other.describe(),
                    });
                }
            }
        }
        self.sync()
    }

    /// Bytes that this user may still write to the file system; `None` where it does not say.
    pub(crate) fn free_space(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(&*self.file).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }

    /// Whether `name` is this very file.
    pub(crate) fn is_same(&self, name: &str, file: &File) -> bool {
        let there = rustix::fs::statat(&*self.file, name, AtFlags::SYMLINK_NOFOLLOW);
        let here = rustix::fs::fstat(file);
        matches!((there, here), (Ok(a), Ok(b)) if a.st_ino == b.st_ino && a.st_dev == b.st_dev)
    }
}

/// What tells whether a file is still the one, and as it was.
pub(crate) fn mark(file: &File, path: &Path) -> Result<Mark> {
    let stat = rustix::fs::fstat(file).map_err(|e| io_error("look at", path, e.into()))?;
    Ok(Mark {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        device: stat.st_dev,
        inode: stat.st_ino,
        modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
        changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
    })
}

/// Fills `buffer` from `offset`, or as far as the file goes; returns how much there was.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

pub(crate) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

fn absent_as_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is_absent() => Ok(None),
        Err(e) => Err(e),
    }
}
