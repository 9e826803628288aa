//! What a run of bytes holds: the elements of safetensors and ONNX, the blocks of GGUF.

/// The element or block type of a run of bytes. Little-endian, as in safetensors and GGUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// Anything that is none of the others; coded byte by byte.
    Bytes,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    Bf16,
    /// OCP 8-bit float, 4 bits of exponent.
    F8E4m3,
    /// OCP 8-bit float, 5 bits of exponent.
    F8E5m2,
    /// Two's complement byte.
    I8,
    /// Unsigned byte.
    U8,
    /// GGUF: f16 scale, 32 signed bytes.
    Q8_0,
    /// GGUF: f16 scale, 32 nibbles.
    Q4_0,
    /// GGUF: f16 scale and minimum, 8 six-bit scales and minima, 256 nibbles.
    Q4K,
    /// GGUF: f16 scale and minimum, 8 six-bit scales and minima, 256 fifth bits, 256 nibbles.
    Q5K,
    /// GGUF: 256 nibbles, 256 upper bit pairs, 16 byte scales, f16 scale.
    Q6K,
}

impl Dtype {
    /// Every type, in the order of its code in the container.
    pub const ALL: [Self; 13] = [
        Self::Bytes,
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::F8E4m3,
        Self::F8E5m2,
        Self::I8,
        Self::U8,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Bytes of one element or, for GGUF's kinds, of one block (ggml's `block_q*` structures).
    #[must_use]
    pub const fn unit(self) -> usize {
        match self {
            Self::Bytes | Self::F8E4m3 | Self::F8E5m2 | Self::I8 | Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Weights in one unit.
    #[must_use]
    pub const fn weights(self) -> usize {
        match self {
            Self::Q8_0 | Self::Q4_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
            _ => 1,
        }
    }

    /// The code that stands for it in the container.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The type with this code, if there is one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_for_one_type_each() {
        for dtype in Dtype::ALL {
            assert_eq!(Dtype::from_code(dtype.code()), Some(dtype));
        }
        assert_eq!(Dtype::from_code(13), None);
    }
}
