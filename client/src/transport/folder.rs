//! An exported namespace as if it were a registry: files at the paths under which a registry serves them.

use std::io::{Read, Seek, SeekFrom};

use assay_schema::FilePath;

use super::{Fetched, Meter, Reply, Request, Traffic, Transport, TransportError};
use crate::folder::{FileError, Folder};

/// The files of an export. It only reads.
pub(crate) struct FolderTransport {
    folder: Folder,
    meter: Meter,
}

impl FolderTransport {
    pub(crate) fn new(folder: Folder) -> Self {
        Self {
            folder,
            meter: Meter::default(),
        }
    }

    fn fail(&self, path: &str, reason: impl ToString) -> TransportError {
        TransportError::Unreachable {
            registry: self.folder.path().display().to_string(),
            path: path.to_owned(),
            reason: reason.to_string(),
            attempts: 1,
        }
    }

    fn find(&self, path: &str) -> Result<Option<std::fs::File>, TransportError> {
        let Some(file) = file_path(path) else {
            return Ok(None);
        };
        match self.folder.read_at_path(&file) {
            Ok(found) => Ok(found),
            Err(e @ FileError::Io { .. }) if e.is_absent() => Ok(None),
            Err(e) => Err(self.fail(path, e)),
        }
    }
}

/// The file that a request path names, as a plain web server would find it: without the query, and decoded.
pub(crate) fn file_path(path: &str) -> Option<FilePath> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let mut bytes = Vec::new();
    let mut rest = path.trim_start_matches('/').bytes();
    while let Some(byte) = rest.next() {
        let digit = |b: Option<u8>| char::from(b?).to_digit(16);
        match byte {
            b'%' => bytes.extend(u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?)),
            byte => bytes.push(byte),
        }
    }
    // A checked path: no `..`, nothing absolute; and no link is followed on the way.
    String::from_utf8(bytes).ok()?.parse().ok()
}

impl Transport for FolderTransport {
    fn get(&self, path: &str, max: u64, _: Option<&str>) -> Result<Fetched, TransportError> {
        self.meter.request();
        let Some(file) = self.find(path)? else {
            return Ok(Fetched::Missing);
        };
        let read = super::read_bounded(file, max, None).map_err(|e| self.fail(path, e))?;
        let path = path.to_owned();
        let bytes = read.ok_or(TransportError::TooLong { path, max })?;
        self.meter.received(bytes.len() as u64);
        Ok(Fetched::Found { bytes, etag: None })
    }

    fn open(&self, path: &str, offset: u64, len: u64) -> Result<Box<dyn Read + '_>, TransportError> {
        self.meter.request();
        let found = self.find(path)?;
        let mut file = found.ok_or_else(|| self.fail(path, "no such file"))?;
        file.seek(SeekFrom::Start(offset))
            .map_err(|e| self.fail(path, e))?;
        Ok(Box::new(file.take(len)))
    }

    fn send(&self, request: Request<'_>) -> Result<Reply, TransportError> {
        Err(self.fail(&request.path, "an export takes no changes"))
    }

    fn traffic(&self) -> Traffic {
        self.meter.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_files_and_never_out_of_the_folder() {
        let found = |path: &str| file_path(path).map(|path| path.to_string());
        assert_eq!(
            found("/tuf/acme/metadata/1.root.json").as_deref(),
            Some("tuf/acme/metadata/1.root.json")
        );
        assert_eq!(found("/v1/log-proof?snapshot=7").as_deref(), Some("v1/log-proof"));
        assert_eq!(found("/a/1.0.0%2Bcpu.json").as_deref(), Some("a/1.0.0+cpu.json"));
        for bad in [
            "/",
            "/../x",
            "/a/../x",
            "/a/%2e%2e/x",
            "/a//b",
            "/a/%",
            "/a/%zz",
            "/a%00b",
        ] {
            assert_eq!(found(bad), None, "{bad}");
        }
    }
}
