//! How many bytes a shape takes.

use super::limits::MAX_DIMENSIONS;
use crate::Dtype;

/// An element type as a file format lays it out: `weights` of them take `bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) dtype: Dtype,
    pub(super) weights: u64,
    pub(super) bytes: u64,
}

impl Layout {
    pub(super) const fn new(dtype: Dtype, weights: u64, bytes: u64) -> Self {
        Self {
            dtype,
            weights,
            bytes,
        }
    }

    /// Of a type that the codec knows.
    pub(super) const fn known(dtype: Dtype) -> Self {
        Self::new(dtype, dtype.weights() as u64, dtype.unit() as u64)
    }

    /// Of a type that is coded byte by byte.
    pub(super) const fn other(weights: u64, bytes: u64) -> Self {
        Self::new(Dtype::Bytes, weights, bytes)
    }

    /// Bytes of a tensor; `None` if its elements do not fill whole blocks, or nothing can hold as many.
    pub(super) fn size(self, shape: &[u64]) -> Option<u64> {
        if shape.len() > MAX_DIMENSIONS {
            return None;
        }
        // A dimension of 0 makes the others' product irrelevant, however large.
        if shape.contains(&0) {
            return Some(0);
        }
        let elements = shape.iter().try_fold(1_u64, |n, d| n.checked_mul(*d))?;
        if !elements.is_multiple_of(self.weights) {
            return None;
        }
        (elements / self.weights).checked_mul(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_overflow_or_split_a_block_are_refused() {
        assert_eq!(Layout::known(Dtype::F32).size(&[2, 3]), Some(24));
        assert_eq!(Layout::known(Dtype::F32).size(&[]), Some(4));
        assert_eq!(Layout::known(Dtype::Q4_0).size(&[2, 64]), Some(72));
        assert_eq!(Layout::known(Dtype::Q4_0).size(&[31]), None);
        assert_eq!(Layout::known(Dtype::F32).size(&[u64::MAX, 2]), None);
        assert_eq!(Layout::known(Dtype::F32).size(&[1 << 62]), None);
        assert_eq!(Layout::known(Dtype::F32).size(&[u64::MAX, 2, 0]), Some(0));
        assert_eq!(Layout::known(Dtype::F32).size(&[1; 9]), None);
    }
}
