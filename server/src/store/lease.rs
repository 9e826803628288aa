//! One writer an upload.
//!
//! Leases live in this process's memory, so a crash frees them. Two registries on one PostgreSQL may both let a writer in: the
//! compare-and-swap on the offset (U3) decides between them, and they never write one object.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use assay_schema::NamespaceName;

/// Uploads that are being written to, and whose they are.
type Held = HashMap<String, NamespaceName>;

/// Who writes to which upload, in this process.
#[derive(Debug, Clone)]
pub struct Leases {
    held: Arc<Mutex<Held>>,
    most: usize,
}

/// The right to write to an upload, given back when it is dropped.
#[derive(Debug)]
pub struct Lease {
    upload: String,
    held: Arc<Mutex<Held>>,
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
    /// As many uploads of this namespace are being written to as one namespace may.
    #[error(
        "{0} uploads of this namespace are being written to, which is as many as one namespace may; try again"
    )]
    Share(usize),
}

impl Leases {
    /// At most `most` leases at once, and half of them for one namespace: whoever lets all of his uploads trickle keeps only
    /// his own from going on.
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
    pub fn take(&self, upload: &str, namespace: &NamespaceName) -> Result<Lease, NoLease> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(upload) {
            return Err(NoLease::Busy);
        }
        if held.len() >= self.most {
            return Err(NoLease::Full(self.most));
        }
        let share = self.most.div_ceil(2);
        if held.values().filter(|whose| *whose == namespace).count() >= share {
            return Err(NoLease::Share(share));
        }
        held.insert(upload.to_owned(), namespace.clone());
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
        let (leases, acme, other) = (Leases::new(2), name("acme"), name("other"));
        let first = leases.take("a", &acme).unwrap();
        assert_eq!(leases.take("a", &acme).unwrap_err(), NoLease::Busy);
        let _other = leases.take("b", &other).unwrap();
        assert_eq!(leases.take("c", &acme).unwrap_err(), NoLease::Full(2));
        drop(first);
        assert!(leases.take("a", &acme).is_ok());
    }

    #[test]
    fn one_namespace_never_holds_every_lease() {
        let (leases, acme, other) = (Leases::new(3), name("acme"), name("other"));
        let _held = [leases.take("a", &acme).unwrap(), leases.take("b", &acme).unwrap()];
        assert_eq!(leases.take("c", &acme).unwrap_err(), NoLease::Share(2));
        assert!(leases.take("d", &other).is_ok());
    }

    fn name(text: &str) -> NamespaceName {
        text.parse().unwrap()
    }
}
