//! One writer an upload.
//!
//! Leases live in this process's memory, so a crash frees them. Two registries on one PostgreSQL may both let a writer in: the
//! compare-and-swap on the offset (U3) decides between them, and they never write one object.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Who writes to which upload, in this process.
#[derive(Debug, Clone)]
pub struct Leases {
    held: Arc<Mutex<HashSet<String>>>,
    most: usize,
}

/// The right to write to an upload, given back when it is dropped.
#[derive(Debug)]
pub struct Lease {
    upload: String,
    held: Arc<Mutex<HashSet<String>>>,
}

/// Why there is no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLease {
    /// Someone else is writing to this upload.
    #[error("someone else is writing to this upload; ask for its offset and try again")]
    Busy,
    /// As many uploads are being written to as this registry allows.
    #[error("{0} uploads are being written to, which is as many as this registry allows; try again")]
    Full(usize),
}

impl Leases {
    /// At most `most` leases at once.
    pub fn new(most: usize) -> Self {
        Self {
            held: Arc::default(),
            most,
        }
    }

    /// Takes the lease of an upload.
    ///
    /// # Errors
    /// It is taken, or there are too many.
    pub fn take(&self, upload: &str) -> Result<Lease, NoLease> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains(upload) {
            return Err(NoLease::Busy);
        }
        if held.len() >= self.most {
            return Err(NoLease::Full(self.most));
        }
        held.insert(upload.to_owned());
        Ok(Lease {
            upload: upload.to_owned(),
            held: Arc::clone(&self.held),
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.upload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_refused_until_the_first_is_done() {
        let leases = Leases::new(2);
        let first = leases.take("a").unwrap();
        assert_eq!(leases.take("a").unwrap_err(), NoLease::Busy);
        let _other = leases.take("b").unwrap();
        assert_eq!(leases.take("c").unwrap_err(), NoLease::Full(2));
        drop(first);
        assert!(leases.take("a").is_ok());
    }
}
