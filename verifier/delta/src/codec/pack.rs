//! Byte streams without a base: stored, or as one Zstandard frame (RFC 8878).

use super::Corrupt;
use crate::wire::{Reader, put_varint};

const STORED: u8 = 0;
const ZSTANDARD: u8 = 1;

/// Reused compressor or decompressor state.
#[derive(Default)]
pub(crate) struct Packer {
    #[cfg(not(target_arch = "wasm32"))]
    compressor: Option<zstd::bulk::Compressor<'static>>,
    #[cfg(not(target_arch = "wasm32"))]
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    #[cfg(target_arch = "wasm32")]
    decoder: ruzstd::decoding::FrameDecoder,
}

impl Packer {
    /// Appends `bytes`, compressed where that is shorter: method, length, data.
    pub(crate) fn pack(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let packed = self.compress(bytes).filter(|packed| packed.len() < bytes.len());
        let (method, data) = packed
            .as_deref()
            .map_or((STORED, bytes), |packed| (ZSTANDARD, packed));
        out.push(method);
        put_varint(out, data.len() as u64);
        out.extend_from_slice(data);
    }

    /// Reads what [`Packer::pack`] wrote; it must have `out.len()` bytes.
    pub(crate) fn unpack(&mut self, reader: &mut Reader<'_>, out: &mut [u8]) -> Result<(), Corrupt> {
        let method = reader.byte()?;
        let length = reader.count(reader.len() as u64, "stream is longer than its payload")?;
        let data = reader.take(length)?;
        match method {
            STORED if data.len() == out.len() => {
                out.copy_from_slice(data);
                Ok(())
            }
            STORED => Err(Corrupt("stored stream has another length")),
            ZSTANDARD => {
                check_frame(data, out.len())?;
                self.decompress(data, out)
            }
            _ => Err(Corrupt("stream is packed by an unknown method")),
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn compress(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.len() < 32 {
            return None;
        }
        if self.compressor.is_none() {
            self.compressor = zstd::bulk::Compressor::new(3).ok();
        }
        self.compressor.as_mut()?.compress(bytes).ok()
    }

    /// The C library does not build for wasm32, and browsers only decode.
    #[cfg(target_arch = "wasm32")]
    fn compress(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn decompress(&mut self, data: &[u8], out: &mut [u8]) -> Result<(), Corrupt> {
        const BROKEN: Corrupt = Corrupt("Zstandard frame is corrupt");
        if self.decompressor.is_none() {
            self.decompressor = zstd::bulk::Decompressor::new().ok();
        }
        let written = self
            .decompressor
            .as_mut()
            .ok_or(BROKEN)?
            .decompress_to_buffer(data, out)
            .map_err(|_| BROKEN)?;
        if written == out.len() { Ok(()) } else { Err(BROKEN) }
    }

    #[cfg(target_arch = "wasm32")]
    fn decompress(&mut self, data: &[u8], out: &mut [u8]) -> Result<(), Corrupt> {
        const BROKEN: Corrupt = Corrupt("Zstandard frame is corrupt");
        let written = self.decoder.decode_all(data, out).map_err(|_| BROKEN)?;
        if written == out.len() { Ok(()) } else { Err(BROKEN) }
    }
}

/// A frame must be a single segment that says its length (RFC 8878, 3.1.1.1): its window is then no larger than what it holds.
fn check_frame(data: &[u8], length: usize) -> Result<(), Corrupt> {
    let mut reader = Reader::new(data);
    if reader.array()? != [0x28, 0xb5, 0x2f, 0xfd] {
        return Err(Corrupt("stream is not a Zstandard frame"));
    }
    let descriptor = reader.byte()?;
    let declared = match descriptor >> 6 {
        0 => u64::from(reader.byte()?),
        1 => u64::from(u16::from_le_bytes(reader.array()?)) + 256,
        2 => u64::from(u32::from_le_bytes(reader.array()?)),
        _ => u64::from_le_bytes(reader.array()?),
    };
    let (single, dictionary) = (descriptor & 0x20 != 0, descriptor & 3 != 0);
    if !single || dictionary || declared != length as u64 {
        return Err(Corrupt(
            "Zstandard frame is not a single segment of the expected length",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Packer::default().pack(bytes, &mut out);
        out
    }

    #[test]
    fn streams_come_back() {
        for bytes in [
            vec![],
            vec![7; 100_000],
            (0..=255).collect(),
            b"abcabc".repeat(99),
        ] {
            let mut out = vec![0; bytes.len()];
            Packer::default()
                .unpack(&mut Reader::new(&packed(&bytes)), &mut out)
                .unwrap();
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn the_decoder_of_browsers_reads_what_is_packed() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i / 7 % 50 * i % 11) as u8).collect();
        let frame = packed(&bytes);
        let at = frame
            .windows(4)
            .position(|four| four == [0x28, 0xb5, 0x2f, 0xfd])
            .unwrap();
        let mut out = vec![0; bytes.len()];
        let written = ruzstd::decoding::FrameDecoder::new()
            .decode_all(&frame[at..], &mut out)
            .unwrap();
        assert_eq!((written, out), (bytes.len(), bytes));
    }

    #[test]
    fn a_bomb_or_another_length_is_refused() {
        let bomb = packed(&vec![0; 1 << 24]);
        assert!(bomb.len() < 2000);
        assert!(
            Packer::default()
                .unpack(&mut Reader::new(&bomb), &mut [0; 100])
                .is_err()
        );
        let mut out = vec![0; 101];
        assert!(
            Packer::default()
                .unpack(&mut Reader::new(&packed(&[1; 100])), &mut out)
                .is_err()
        );
    }

    #[test]
    fn a_frame_without_its_length_or_with_a_large_window_is_refused() {
        let frame = packed(&[7; 5000]);
        let mut out = vec![0; 5000];
        for descriptor in [0, 0x40, 0x41, 0x61, 0xa0] {
            let mut bad = frame.clone();
            assert_eq!(bad[2..6], [0x28, 0xb5, 0x2f, 0xfd]);
            bad[6] = descriptor;
            assert!(
                Packer::default()
                    .unpack(&mut Reader::new(&bad), &mut out)
                    .is_err()
            );
        }
    }
}
