//! ggml's quantised blocks, taken apart into scales and quants and put together again, bit for bit.

use crate::Dtype;

/// Weights of the largest block.
pub(crate) const MOST: usize = 256;

/// What a block holds, beside its quants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scales {
    /// f16: the block's scale and, for Q4_K and Q5_K, its minimum.
    pub(crate) supers: [u16; 2],
    /// Q4_K and Q5_K: eight six-bit scales and eight minima; Q6_K: sixteen signed scales.
    pub(crate) subs: [u8; 16],
}

/// How the blocks of a type look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) dtype: Dtype,
    /// Bytes of a block.
    pub(crate) bytes: usize,
    /// Weights of a block.
    pub(crate) weights: usize,
    /// f16 values of a block.
    pub(crate) supers: usize,
    /// Scales and minima within a block.
    pub(crate) subs: usize,
    /// Weights that share a scale.
    pub(crate) group: usize,
    /// Bits of a quant.
    pub(crate) bits: u32,
}

impl Layout {
    /// That of a dtype; `None` for a dtype without blocks.
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        let (supers, subs, group, bits) = match dtype {
            Dtype::Q8_0 => (1, 0, 32, 8),
            Dtype::Q4_0 => (1, 0, 32, 4),
            Dtype::Q4K => (2, 16, 32, 4),
            Dtype::Q5K => (2, 16, 32, 5),
            Dtype::Q6K => (1, 16, 16, 6),
            _ => return None,
        };
        Some(Self {
            dtype,
            bytes: dtype.unit(),
            weights: dtype.weights(),
            supers,
            subs,
            group,
            bits,
        })
    }

    /// Takes a block apart. Quants are in the order of the weights; Q8_0's have their sign bit turned, so that they have the order of
    /// the values. Returns `None` where the slices do not have the layout's lengths.
    #[inline(always)]
    pub(crate) fn unpack(&self, block: &[u8], quants: &mut [u8]) -> Option<Scales> {
        let mut scales = Scales::default();
        match self.dtype {
            Dtype::Q8_0 => {
                let (super_, bytes) = block.split_first_chunk::<2>()?;
                scales.supers[0] = u16::from_le_bytes(*super_);
                for (quant, byte) in quants.iter_mut().zip(bytes) {
                    *quant = byte ^ 0x80;
                }
            }
            Dtype::Q4_0 => {
                let (super_, bytes) = block.split_first_chunk::<2>()?;
                scales.supers[0] = u16::from_le_bytes(*super_);
                nibbles(bytes, quants);
            }
            Dtype::Q4K => {
                let (head, bytes) = block.split_first_chunk::<16>()?;
                scales = unpack_head(head);
                for (bytes, quants) in bytes.chunks_exact(32).zip(quants.chunks_exact_mut(64)) {
                    nibbles(bytes, quants);
                }
            }
            Dtype::Q5K => {
                let (head, bytes) = block.split_first_chunk::<16>()?;
                scales = unpack_head(head);
                let (high, bytes) = bytes.split_first_chunk::<32>()?;
                for (group, (bytes, quants)) in bytes
                    .chunks_exact(32)
                    .zip(quants.chunks_exact_mut(64))
                    .enumerate()
                {
                    nibbles(bytes, quants);
                    for (half, quants) in quants.chunks_exact_mut(32).enumerate() {
                        for (quant, high) in quants.iter_mut().zip(high) {
                            *quant |= (high >> (2 * group + half) & 1) << 4;
                        }
                    }
                }
            }
            _ => {
                let (low, rest) = block.split_first_chunk::<128>()?;
                let (high, rest) = rest.split_first_chunk::<64>()?;
                let (subs, rest) = rest.split_first_chunk::<16>()?;
                scales = Scales {
                    supers: [u16::from_le_bytes(*rest.first_chunk()?), 0],
                    subs: *subs,
                };
                for ((low, high), quants) in low
                    .chunks_exact(64)
                    .zip(high.chunks_exact(32))
                    .zip(quants.chunks_exact_mut(128))
                {
                    nibbles(low, quants);
                    for (part, quants) in quants.chunks_exact_mut(32).enumerate() {
                        for (quant, high) in quants.iter_mut().zip(high) {
                            *quant |= (high >> (2 * part) & 3) << 4;
                        }
                    }
                }
            }
        }
        Some(scales)
    }

    /// Puts a block together: the inverse of [`Layout::unpack`].
    #[inline(always)]
    pub(crate) fn pack(&self, scales: &Scales, quants: &[u8], block: &mut [u8]) -> Option<()> {
        match self.dtype {
            Dtype::Q8_0 => {
                let (super_, bytes) = block.split_first_chunk_mut::<2>()?;
                *super_ = scales.supers[0].to_le_bytes();
                for (byte, quant) in bytes.iter_mut().zip(quants) {
                    *byte = quant ^ 0x80;
                }
            }
            Dtype::Q4_0 => {
                let (super_, bytes) = block.split_first_chunk_mut::<2>()?;
                *super_ = scales.supers[0].to_le_bytes();
                join_nibbles(quants, bytes);
            }
            Dtype::Q4K => {
                let (head, bytes) = block.split_first_chunk_mut::<16>()?;
                *head = pack_head(scales);
                for (bytes, quants) in bytes.chunks_exact_mut(32).zip(quants.chunks_exact(64)) {
                    join_nibbles(quants, bytes);
                }
            }
            Dtype::Q5K => {
                let (head, bytes) = block.split_first_chunk_mut::<16>()?;
                *head = pack_head(scales);
                let (high, bytes) = bytes.split_first_chunk_mut::<32>()?;
                high.fill(0);
                for (group, (bytes, quants)) in bytes
                    .chunks_exact_mut(32)
                    .zip(quants.chunks_exact(64))
                    .enumerate()
                {
                    join_nibbles(quants, bytes);
                    for (half, quants) in quants.chunks_exact(32).enumerate() {
                        for (high, quant) in high.iter_mut().zip(quants) {
                            *high |= (quant >> 4 & 1) << (2 * group + half);
                        }
                    }
                }
            }
            _ => {
                let (low, rest) = block.split_first_chunk_mut::<128>()?;
                let (high, rest) = rest.split_first_chunk_mut::<64>()?;
                let (subs, rest) = rest.split_first_chunk_mut::<16>()?;
                *subs = scales.subs;
                *rest.first_chunk_mut()? = scales.supers[0].to_le_bytes();
                high.fill(0);
                let parts = low
                    .chunks_exact_mut(64)
                    .zip(high.chunks_exact_mut(32))
                    .zip(quants.chunks_exact(128));
                for ((low, high), quants) in parts {
                    join_nibbles(quants, low);
                    for (part, quants) in quants.chunks_exact(32).enumerate() {
                        for (high, quant) in high.iter_mut().zip(quants) {
                            *high |= (quant >> 4 & 3) << (2 * part);
                        }
                    }
                }
            }
        }
        Some(())
    }
}

/// Lower nibbles of all bytes, and then the upper ones.
#[inline(always)]
fn nibbles(bytes: &[u8], quants: &mut [u8]) {
    let (low, high) = quants.split_at_mut(bytes.len().min(quants.len()));
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

#[inline(always)]
fn join_nibbles(quants: &[u8], bytes: &mut [u8]) {
    let (low, high) = quants.split_at(bytes.len().min(quants.len()));
    for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
        *byte = low & 15 | high << 4;
    }
}

/// ggml's `get_scale_min_k4` for all eight scales and minima.
fn unpack_head(head: &[u8; 16]) -> Scales {
    let [d0, d1, m0, m1, a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3] = *head;
    let mut subs = [0; 16];
    let (scales, minima) = subs.split_at_mut(8);
    for (i, (a, (b, c))) in [a0, a1, a2, a3]
        .into_iter()
        .zip([b0, b1, b2, b3].into_iter().zip([c0, c1, c2, c3]))
        .enumerate()
    {
        let put = |to: &mut [u8], at: usize, value: u8| {
            if let Some(to) = to.get_mut(at) {
                *to = value;
            }
        };
        put(scales, i, a & 63);
        put(minima, i, b & 63);
        put(scales, i + 4, c & 15 | a >> 6 << 4);
        put(minima, i + 4, c >> 4 | b >> 6 << 4);
    }
    Scales {
        supers: [u16::from_le_bytes([d0, d1]), u16::from_le_bytes([m0, m1])],
        subs,
    }
}

fn pack_head(scales: &Scales) -> [u8; 16] {
    let mut head = [0; 16];
    let [d, m] = scales.supers.map(u16::to_le_bytes);
    let sub = |at: usize| scales.subs.get(at).copied().unwrap_or_default();
    for (at, byte) in head.iter_mut().enumerate() {
        *byte = match at {
            0 | 1 => d.get(at).copied().unwrap_or_default(),
            2 | 3 => m.get(at - 2).copied().unwrap_or_default(),
            4..8 => sub(at - 4) & 63 | sub(at) >> 4 << 6,
            8..12 => sub(at) & 63 | sub(at + 4) >> 4 << 6,
            _ => sub(at - 8) & 15 | sub(at) << 4,
        };
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_bit_for_bit() {
        let mut seed = 1_u32;
        for dtype in [Dtype::Q8_0, Dtype::Q4_0, Dtype::Q4K, Dtype::Q5K, Dtype::Q6K] {
            let layout = Layout::of(dtype).unwrap();
            for _ in 0..50 {
                let block: Vec<u8> = (0..layout.bytes)
                    .map(|_| {
                        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (seed >> 24) as u8
                    })
                    .collect();
                let mut quants = vec![0; layout.weights];
                let scales = layout.unpack(&block, &mut quants).unwrap();
                assert!(quants.iter().all(|quant| u32::from(*quant) < 1 << layout.bits));
                let mut again = vec![0xaa; layout.bytes];
                layout.pack(&scales, &quants, &mut again).unwrap();
                assert_eq!(again, block, "{dtype:?}");
            }
        }
    }

    #[test]
    fn scales_and_minima_are_those_of_ggml() {
        // get_scale_min_k4 of ggml-quants.c, for the bytes 1 to 12.
        let mut head = [0; 16];
        for (at, byte) in head.iter_mut().enumerate().skip(4) {
            *byte = (at as u8 - 3) * 21;
        }
        let q: Vec<u8> = head[4..].to_vec();
        let subs = unpack_head(&head).subs;
        for j in 0..8 {
            let (scale, minimum) = if j < 4 {
                (q[j] & 63, q[j + 4] & 63)
            } else {
                (
                    (q[j + 4] & 0xf) | ((q[j - 4] >> 6) << 4),
                    (q[j + 4] >> 4) | ((q[j] >> 6) << 4),
                )
            };
            assert_eq!((subs[j], subs[j + 8]), (scale, minimum));
        }
    }
}
