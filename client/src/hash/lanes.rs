//! Four chunks hashed side by side on one core.
//!
//! SHA-256 is one long chain: the processor's SHA instructions wait for each other, and half of its width lies idle. Chunks are
//! independent of each other, so four chains fill it: about twice the speed of one on x86-64 (`make bench` prints it beside
//! `openssl`). Other processors, and other lengths, go one by one through `sha2`.

use assay_schema::Sha256Digest;

/// How many messages advance side by side. Measured: 2 lanes give 1.3, 3 give 1.7, 4 give 2.0 times the speed of one.
pub(super) const LANES: usize = 4;

/// SHA-256 of four messages that are fed in equal steps, each a whole number of 64-byte blocks.
#[derive(Debug)]
pub(super) struct Lanes {
    words: [[u32; 8]; LANES],
    blocks: u64,
}

type Blocks<'a> = [&'a [[u8; 64]]; LANES];

impl Lanes {
    /// Begins four messages; `None` on a processor without the instructions.
    pub(super) fn new() -> Option<Self> {
        supported().then_some(Self {
            words: [INITIAL; LANES],
            blocks: 0,
        })
    }

    /// Feeds the next blocks of each message. They are as many for each; what one has more is left out.
    pub(super) fn update(&mut self, blocks: Blocks<'_>) {
        let count = blocks.iter().map(|b| b.len()).min().unwrap_or(0);
        let equal = blocks.map(|b| b.get(..count).unwrap_or_default());
        self.compress(equal);
        self.blocks += count as u64;
    }

    /// The digests (FIPS 180-4 5.1.1: a one bit, zeros, the length in bits).
    pub(super) fn finish(mut self) -> [Sha256Digest; LANES] {
        let mut last = [0; 64];
        if let Some(first) = last.first_mut() {
            *first = 0x80;
        }
        if let Some(length) = last.last_chunk_mut::<8>() {
            *length = (self.blocks * 512).to_be_bytes();
        }
        let last = [last];
        self.compress([&last; LANES]);
        self.words.map(|words| {
            let mut bytes = [0; 32];
            for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
                *to = word.to_be_bytes();
            }
            Sha256Digest::new(bytes)
        })
    }

    #[cfg(target_arch = "x86_64")]
    #[allow(
        unsafe_code,
        reason = "one call, proved below; the kernel itself is safe code"
    )]
    fn compress(&mut self, blocks: Blocks<'_>) {
        // SAFETY: `compress` needs nothing but the processor features it is compiled for. A `Lanes` is only made by `new`,
        // which asked the processor for exactly these.
        unsafe { x86::compress(&mut self.words, &blocks) }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn compress(&mut self, _: Blocks<'_>) {
        // `new` made none.
    }
}

/// FIPS 180-4 5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

#[cfg(target_arch = "x86_64")]
fn supported() -> bool {
    std::arch::is_x86_feature_detected!("sha")
        && std::arch::is_x86_feature_detected!("ssse3")
        && std::arch::is_x86_feature_detected!("sse4.1")
}

#[cfg(not(target_arch = "x86_64"))]
fn supported() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
#[allow(
    clippy::indexing_slicing,
    reason = "all indexes are constants or bounded by the arrays' own lengths, and bounds checks vanish"
)]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
        _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
        _mm_shuffle_epi8, _mm_shuffle_epi32,
    };

    use super::{Blocks, LANES};

    /// FIPS 180-4 4.2.2.
    #[rustfmt::skip]
    const K: [u32; 64] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ];

    /// The state as the instructions want it: words A, B, E, F and C, D, G, H, the first highest.
    type State = [__m128i; 2];

    #[inline]
    #[target_feature(enable = "sse2")]
    fn words(word: [u32; 4]) -> __m128i {
        let [a, b, c, d] = word.map(u32::cast_signed);
        _mm_set_epi32(a, b, c, d)
    }

    /// Four message words, big-endian as FIPS 180-4 5.2.1 has them.
    #[inline]
    #[target_feature(enable = "sse2,ssse3")]
    fn load(block: &[u8; 64], quarter: usize) -> __m128i {
        let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let eights = block.as_chunks::<8>().0;
        let (low, high) = (eights[2 * quarter], eights[2 * quarter + 1]);
        _mm_shuffle_epi8(
            _mm_set_epi64x(i64::from_le_bytes(high), i64::from_le_bytes(low)),
            swap,
        )
    }

    /// Advances all lanes by their blocks, of which each has the same number (FIPS 180-4 6.2.2).
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(super) fn compress(words_of: &mut [[u32; 8]; LANES], blocks: &Blocks<'_>) {
        let mut states: [State; LANES] = [[_mm_setzero_si128(); 2]; LANES];
        for (state, [a, b, c, d, e, f, g, h]) in states.iter_mut().zip(*words_of) {
            *state = [words([a, b, e, f]), words([c, d, g, h])];
        }
        let count = blocks.iter().map(|lane| lane.len()).min().unwrap_or(0);
        for at in 0..count {
            one(&mut states, blocks.map(|lane| &lane[at]));
        }
        for (out, [abef, cdgh]) in words_of.iter_mut().zip(states) {
            let four = |v: __m128i| {
                [
                    _mm_extract_epi32::<3>(v),
                    _mm_extract_epi32::<2>(v),
                    _mm_extract_epi32::<1>(v),
                    _mm_extract_epi32::<0>(v),
                ]
                .map(i32::cast_unsigned)
            };
            let ([a, b, e, f], [c, d, g, h]) = (four(abef), four(cdgh));
            *out = [a, b, c, d, e, f, g, h];
        }
    }

    /// Four words of one lane's schedule, and the four rounds that use them. All arguments are literals: whether the compiler
    /// unrolls a loop over them differs from build to build, and without that it is not faster than one lane.
    macro_rules! four_rounds {
        ($states:ident, $schedule:ident, $blocks:ident, $k:ident, $lane:literal, $at:literal) => {
            let w = &mut $schedule[$lane];
            w[$at % 4] = if $at < 4 {
                load($blocks[$lane], $at)
            } else {
                let (w0, w1, w2, w3) = (
                    w[$at % 4],
                    w[($at + 1) % 4],
                    w[($at + 2) % 4],
                    w[($at + 3) % 4],
                );
                let mixed = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
                _mm_sha256msg2_epu32(mixed, w3)
            };
            let message = _mm_add_epi32(w[$at % 4], $k);
            let [abef, cdgh] = &mut $states[$lane];
            *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, message);
            *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32::<0x0e>(message));
        };
    }

    macro_rules! all_lanes {
        ($states:ident, $schedule:ident, $blocks:ident, $($at:literal)*) => {$(
            let k = words([K[4 * $at + 3], K[4 * $at + 2], K[4 * $at + 1], K[4 * $at]]);
            four_rounds!($states, $schedule, $blocks, k, 0, $at);
            four_rounds!($states, $schedule, $blocks, k, 1, $at);
            four_rounds!($states, $schedule, $blocks, k, 2, $at);
            four_rounds!($states, $schedule, $blocks, k, 3, $at);
        )*};
    }

    /// One block of each lane. The lanes' instructions stand beside each other, so that one waits while the others work.
    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn one(states: &mut [State; LANES], blocks: [&[u8; 64]; LANES]) {
        let before = *states;
        let mut schedule = [[_mm_setzero_si128(); 4]; LANES];
        all_lanes!(states, schedule, blocks, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for (state, old) in states.iter_mut().zip(before) {
            *state = [_mm_add_epi32(state[0], old[0]), _mm_add_epi32(state[1], old[1])];
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn expected(message: &[u8]) -> Sha256Digest {
        Sha256Digest::new(Sha256::digest(message).into())
    }

    /// Different bytes in every lane, from a small generator.
    fn messages(len: usize) -> [Vec<u8>; LANES] {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        std::array::from_fn(|_| {
            (0..len)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 56) as u8
                })
                .collect()
        })
    }

    #[test]
    fn lanes_give_what_sha2_gives_for_every_number_of_blocks_and_steps() {
        if Lanes::new().is_none() {
            return;
        }
        for blocks in (0..=20).chain([63, 64, 65, 16_384]) {
            let messages = messages(64 * blocks);
            for step in [1, 3, 64, usize::MAX] {
                let mut lanes = Lanes::new().unwrap();
                let all: [&[[u8; 64]]; LANES] = std::array::from_fn(|i| messages[i].as_chunks::<64>().0);
                let mut at = 0;
                while at < blocks {
                    let end = blocks.min(at.saturating_add(step));
                    lanes.update(all.map(|lane| &lane[at..end]));
                    at = end;
                }
                let wanted: [Sha256Digest; LANES] = std::array::from_fn(|i| expected(&messages[i]));
                assert_eq!(lanes.finish(), wanted, "{blocks} blocks in steps of {step}");
            }
        }
    }
}
