//! Byte planes: the lowest bytes of all elements, then the next ones, each plane packed on its own.
//!
//! The fallback where contexts predict little: Zstandard finds repetitions, too.

use super::Corrupt;
use super::elements::{BUCKETS, Element, U8, with_element};
use super::pack::Packer;
use crate::Dtype;
use crate::wire::Reader;

/// What the planes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transform {
    /// Target XOR base.
    Xor,
    /// Difference of the ordered integers, turned where the base is negative, as 2d or -2d - 1.
    Subtract,
    /// The same, elements sorted by the base's exponent (or upper bits), highest first, otherwise in order.
    Sorted,
}

impl Transform {
    pub(crate) const ALL: [Self; 3] = [Self::Xor, Self::Subtract, Self::Sorted];

    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// Room for planes.
#[derive(Default)]
pub(crate) struct Planes {
    bytes: Vec<u8>,
    places: Vec<u32>,
}

/// Bytes of the elements that planes are made of: blocks of GGUF go byte by byte.
pub(crate) const fn width(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 | Dtype::F16 | Dtype::Bf16 => dtype.unit(),
        _ => 1,
    }
}

/// Appends the packed planes of `target` against `base`; both hold whole elements.
pub(crate) fn encode(
    dtype: Dtype,
    transform: Transform,
    (base, target): (&[u8], &[u8]),
    room: &mut Planes,
    packer: &mut Packer,
    out: &mut Vec<u8>,
) {
    with_element!(
        dtype,
        fill((base, target), transform, room),
        fill::<U8>((base, target), transform, room)
    );
    for plane in room.bytes.chunks((target.len() / width(dtype)).max(1)) {
        packer.pack(plane, out);
    }
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(
    dtype: Dtype,
    transform: Transform,
    payload: &mut Reader<'_>,
    (base, target): (&[u8], &mut [u8]),
    room: &mut Planes,
    packer: &mut Packer,
) -> Result<(), Corrupt> {
    let width = width(dtype);
    room.bytes.clear();
    room.bytes.resize(target.len(), 0);
    for plane in room.bytes.chunks_mut((target.len() / width).max(1)) {
        packer.unpack(payload, plane)?;
    }
    with_element!(
        dtype,
        take((base, target), transform, room),
        take::<U8>((base, target), transform, room)
    )
}

/// Splits bytes without a base into `width` planes and packs them.
pub(crate) fn split(width: usize, target: &[u8], room: &mut Planes, packer: &mut Packer, out: &mut Vec<u8>) {
    for plane in 0..width {
        room.bytes.clear();
        room.bytes
            .extend(target.chunks(width).filter_map(|element| element.get(plane)));
        packer.pack(&room.bytes, out);
    }
}

/// Reads what [`split`] wrote.
pub(crate) fn merge(
    width: usize,
    payload: &mut Reader<'_>,
    target: &mut [u8],
    room: &mut Planes,
    packer: &mut Packer,
) -> Result<(), Corrupt> {
    if width == 1 {
        return packer.unpack(payload, target);
    }
    for plane in 0..width {
        room.bytes.clear();
        room.bytes
            .resize((target.len() + width - 1).saturating_sub(plane) / width, 0);
        packer.unpack(payload, &mut room.bytes)?;
        for (element, byte) in target.chunks_mut(width).zip(&room.bytes) {
            if let Some(into) = element.get_mut(plane) {
                *into = *byte;
            }
        }
    }
    Ok(())
}

/// Where each element stands among the planes.
fn sort<E: Element>(base: &[u8], transform: Transform, places: &mut Vec<u32>) {
    places.clear();
    let count = base.len() / E::SIZE;
    if transform != Transform::Sorted {
        places.extend(0..count as u32);
        return;
    }
    let key = |bytes: &[u8]| match E::exponent(E::load(bytes)) {
        0 => usize::from(E::bucket(E::load(bytes), u8::MAX)),
        exponent => BUCKETS + usize::from(u8::MAX - exponent),
    };
    let mut next = [0_u32; BUCKETS + 256];
    for bytes in base.chunks_exact(E::SIZE) {
        if let Some(count) = next.get_mut(key(bytes)) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for start in &mut next {
        sum += *start;
        *start = sum - *start;
    }
    for bytes in base.chunks_exact(E::SIZE) {
        if let Some(place) = next.get_mut(key(bytes)) {
            places.push(*place);
            *place += 1;
        }
    }
}

/// The lowest bits of a number, their highest one being its sign.
fn sign_extend<E: Element>(bits: u32) -> i32 {
    let unused = 32 - 8 * E::SIZE as u32;
    ((bits << unused) as i32) >> unused
}

fn turn<E: Element>(ordered: u32, difference: i32) -> i32 {
    if ordered < E::HALF {
        difference.wrapping_neg()
    } else {
        difference
    }
}

fn fill<E: Element>((base, target): (&[u8], &[u8]), transform: Transform, room: &mut Planes) {
    sort::<E>(base, transform, &mut room.places);
    let count = target.len() / E::SIZE;
    room.bytes.clear();
    room.bytes.resize(target.len(), 0);
    for ((base, target), place) in base
        .chunks_exact(E::SIZE)
        .zip(target.chunks_exact(E::SIZE))
        .zip(&room.places)
    {
        let (old, new) = (E::load(base), E::load(target));
        let bits = if transform == Transform::Xor {
            old ^ new
        } else {
            let ordered = E::order(old);
            let difference = sign_extend::<E>(E::order(new).wrapping_sub(ordered));
            let difference = sign_extend::<E>(turn::<E>(ordered, difference) as u32);
            ((difference << 1) ^ (difference >> 31)) as u32
        };
        for (plane, byte) in bits.to_le_bytes().iter().enumerate().take(E::SIZE) {
            if let Some(into) = room.bytes.get_mut(plane * count + *place as usize) {
                *into = *byte;
            }
        }
    }
}

fn take<E: Element>(
    (base, target): (&[u8], &mut [u8]),
    transform: Transform,
    room: &mut Planes,
) -> Result<(), Corrupt> {
    sort::<E>(base, transform, &mut room.places);
    let count = target.len() / E::SIZE;
    for ((base, target), place) in base
        .chunks_exact(E::SIZE)
        .zip(target.chunks_exact_mut(E::SIZE))
        .zip(&room.places)
    {
        let mut bytes = [0; 4];
        for (plane, byte) in bytes.iter_mut().enumerate().take(E::SIZE) {
            *byte = *room
                .bytes
                .get(plane * count + *place as usize)
                .ok_or(Corrupt("planes are too short"))?;
        }
        let (bits, old) = (u32::from_le_bytes(bytes), E::load(base));
        let new = if transform == Transform::Xor {
            old ^ bits
        } else {
            let ordered = E::order(old);
            let difference = (bits >> 1) as i32 ^ -((bits & 1) as i32);
            E::restore(ordered.wrapping_add(turn::<E>(ordered, difference) as u32))
        };
        E::store(new, target);
    }
    Ok(())
}
