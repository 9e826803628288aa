//! Deltas that lie, bombs, truncations, and a base that is another: an error that names the chunk, or a chunk that its digest refuses.

use assay_delta::{BadIndex, Dtype, Header, Index, Scratch, Why, decode_chunk};

use crate::making::{Made, Noise, sha256, weights};

/// Small deltas that have every kind of operation.
fn samples() -> Vec<Made> {
    let mut all = Vec::new();
    for dtype in [
        Dtype::Bf16,
        Dtype::F32,
        Dtype::I8,
        Dtype::Q8_0,
        Dtype::Q4K,
        Dtype::Q6K,
    ] {
        let (base, target) = weights(dtype, 6000 / dtype.unit(), 13);
        all.push(Made::simple(dtype, 0, base, target, None));
    }
    let text = b"0123456789 some text that is there again; ".repeat(60);
    let mut changed = text.clone();
    changed[100..160].fill(b'x');
    all.push(Made::simple(Dtype::Bytes, 0, text, changed, None));
    all
}

/// The same delta with the index's digest made right again.
fn sealed(made: &Made) -> Made {
    let mut made = made.clone();
    let digest = sha256(&made.delta[96..made.index]);
    made.delta[80..96].copy_from_slice(&digest.as_bytes()[..16]);
    made
}

#[test]
fn every_flipped_byte_of_a_frame_is_refused_before_anything_is_decoded() {
    for made in samples() {
        let mut scratch = Scratch::new();
        for at in made.index..made.delta.len() {
            let mut bad = made.clone();
            bad.delta[at] ^= 0x10;
            let refused = bad.decode(&mut scratch).unwrap_err();
            assert!(matches!(refused.why, Why::Frame { .. }), "{refused}");
        }
        made.assert_round_trip();
    }
}

#[test]
fn every_flipped_byte_under_a_right_frame_digest_gives_an_error_or_the_right_chunk() {
    for made in samples() {
        let (mut scratch, mut corrupt, mut digest) = (Scratch::new(), 0, 0);
        let index = Index::parse(&made.delta[..made.index]).unwrap();
        let entry = index.chunk(0, 0).unwrap();
        let frame = &made.delta[made.index..];
        for at in 0..frame.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = frame.to_vec();
                bad[at] ^= flip;
                let mut entry = entry.clone();
                entry.check.copy_from_slice(&sha256(&bad).as_bytes()[..16]);
                let expected = sha256(&made.targets[0]);
                match decode_chunk(&index, &entry, &bad, &made.bases, &expected, &mut scratch) {
                    Ok(checked) => assert_eq!(checked.bytes(), made.targets[0]),
                    Err(refused) => match refused.why {
                        Why::Malformed(_) => corrupt += 1,
                        Why::Digest { .. } => digest += 1,
                        other => panic!("{other}"),
                    },
                }
            }
        }
        assert!(corrupt + digest > 0);
        // The scratch is none the worse for it.
        assert!(made.decode(&mut scratch).unwrap() == made.targets);
    }
}

#[test]
fn every_flipped_byte_of_an_index_is_refused_or_harmless() {
    for made in samples() {
        let mut scratch = Scratch::new();
        for at in 0..made.index {
            for flip in [1, 0x80, 0xff] {
                let mut bad = made.clone();
                bad.delta[at] ^= flip;
                if (16..80).contains(&at) {
                    // Identities: `between` is for them.
                    let index = Index::parse(&bad.delta[..bad.index]).unwrap();
                    assert!(matches!(
                        index.between(&sha256(b"base"), &sha256(b"target")),
                        Err(BadIndex::Other { .. })
                    ));
                    continue;
                }
                assert!(Index::parse(&bad.delta[..bad.index]).is_err(), "byte {at}");
                let bad = sealed(&bad);
                let Ok(index) = Index::parse(&bad.delta[..bad.index]) else {
                    continue;
                };
                for entry in index.chunks() {
                    let frame = (entry.frame.start as usize..entry.frame.end as usize).len();
                    let frame = bad.delta.get(bad.index..bad.index + frame).unwrap_or_default();
                    let expected = sha256(&made.targets[0]);
                    if let Ok(checked) =
                        decode_chunk(&index, &entry, frame, &bad.bases, &expected, &mut scratch)
                    {
                        assert_eq!(checked.bytes(), made.targets[0]);
                    }
                }
            }
        }
    }
}

#[test]
fn a_truncated_or_extended_index_is_refused() {
    let made = &samples()[0];
    for end in 0..made.index {
        assert!(Index::parse(&made.delta[..end]).is_err(), "{end}");
    }
    assert!(Index::parse(&[&made.delta[..made.index], &[0]].concat()).is_err());
    let mut longer = made.clone();
    longer.delta.insert(made.index, 0);
    longer.index += 1;
    let length = (longer.index - 96) as u32;
    longer.delta[8..12].copy_from_slice(&length.to_le_bytes());
    assert!(matches!(
        Index::parse(&sealed(&longer).delta[..longer.index]),
        Err(BadIndex::Malformed { .. })
    ));
}

#[test]
fn an_index_larger_than_the_limit_is_refused_by_its_header() {
    let mut header = samples()[0].delta[..96].to_vec();
    header[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Header::parse(&header), Err(BadIndex::TooLarge { .. })));
    header[0] = b'B';
    assert_eq!(Header::parse(&header), Err(BadIndex::Header));
}

#[test]
fn another_base_gives_no_chunk() {
    for made in samples() {
        let mut other = made.clone();
        other.bases[0][500] ^= 0x55;
        let refused = other.decode(&mut Scratch::new()).unwrap_err();
        assert_eq!((refused.file, refused.chunk), (0, 0));
        assert!(
            matches!(refused.why, Why::Malformed(_) | Why::Digest { .. }),
            "{refused}"
        );
    }
}

#[test]
fn a_base_that_became_shorter_or_vanished_gives_no_chunk() {
    let made = &samples()[0];
    let mut short = made.clone();
    short.bases[0].truncate(100);
    assert!(matches!(
        short.decode(&mut Scratch::new()).unwrap_err().why,
        Why::Base { file: 0, .. }
    ));
    short.bases.clear();
    let refused = short.decode(&mut Scratch::new()).unwrap_err();
    assert!(refused.to_string().contains("chunk 0 of file 0"), "{refused}");
}

#[test]
fn a_truncated_frame_is_refused() {
    let made = &samples()[0];
    let index = Index::parse(&made.delta[..made.index]).unwrap();
    let entry = index.chunk(0, 0).unwrap();
    let frame = &made.delta[made.index..];
    let expected = sha256(&made.targets[0]);
    for end in 0..frame.len() {
        let mut lying = entry.clone();
        lying.frame.end = lying.frame.start + end as u64;
        lying
            .check
            .copy_from_slice(&sha256(&frame[..end]).as_bytes()[..16]);
        assert!(
            decode_chunk(
                &index,
                &lying,
                &frame[..end],
                &made.bases,
                &expected,
                &mut Scratch::new()
            )
            .is_err()
        );
        assert!(
            decode_chunk(
                &index,
                &entry,
                &frame[..end],
                &made.bases,
                &expected,
                &mut Scratch::new()
            )
            .is_err()
        );
    }
}

#[test]
fn noise_in_place_of_a_frame_gives_no_chunk() {
    for (made, seed) in samples().iter().zip(1..) {
        let index = Index::parse(&made.delta[..made.index]).unwrap();
        let mut noise = Noise(seed);
        for length in [1_usize, 34, 40, 100, 5000] {
            let frame = noise.bytes(length);
            let mut entry = index.chunk(0, 0).unwrap();
            entry.frame.end = entry.frame.start + length as u64;
            entry.check.copy_from_slice(&sha256(&frame).as_bytes()[..16]);
            let expected = sha256(&made.targets[0]);
            assert!(
                decode_chunk(
                    &index,
                    &entry,
                    &frame,
                    &made.bases,
                    &expected,
                    &mut Scratch::new()
                )
                .is_err()
            );
        }
    }
}
