use std::io;

use assay_delta::matching::{ModelFile, correspond};
use assay_delta::spans::read_release;
use assay_delta::{Dtype, ReadAt, Segment, Span};

use crate::writers::{Random, Tensor, gguf, safetensors};

type Files = Vec<(&'static str, Vec<u8>)>;

fn spans(files: &Files) -> Vec<Vec<Span>> {
    let readers: Vec<(&str, &dyn ReadAt)> = files.iter().map(|(p, b)| (*p, b as &dyn ReadAt)).collect();
    read_release(&readers).into_iter().map(|f| f.spans).collect()
}

fn matched(base: &Files, target: &Files) -> Vec<Vec<Segment>> {
    let (base_spans, target_spans) = (spans(base), spans(target));
    fn files<'a>(files: &'a Files, spans: &'a [Vec<Span>]) -> Vec<ModelFile<'a>> {
        let both = files.iter().zip(spans);
        both.map(|((path, bytes), spans)| ModelFile { path, bytes, spans })
            .collect()
    }
    let segments = correspond(&files(base, &base_spans), &files(target, &target_spans)).unwrap();
    for (file, (segments, (path, bytes))) in segments.iter().zip(target).enumerate() {
        let mut next = 0;
        for s in segments {
            assert_eq!(s.target.start, next, "{path}");
            assert!(s.target.end > next);
            next = s.target.end;
            if let Some(at) = s.base {
                let room = base[at.file as usize].1.len() as u64 - at.offset;
                assert!(s.target.end - s.target.start <= room, "{path}: {s:?}");
            }
            let holder = target_spans[file].iter().find(|t| {
                t.offset <= s.target.start && s.target.end <= t.offset + t.length && t.dtype == s.dtype
            });
            if let Some(t) = holder {
                assert!((s.target.start - t.offset).is_multiple_of(t.dtype.unit() as u64));
            }
        }
        assert_eq!(next, bytes.len() as u64, "{path}");
    }
    segments
}

/// Bytes of the target that differ from what their segments propose.
fn unlike(base: &Files, target: &Files, segments: &[Vec<Segment>]) -> usize {
    let all = segments.iter().zip(target);
    all.flat_map(|(segments, (_, bytes))| segments.iter().map(move |s| (s, bytes)))
        .map(|(s, bytes)| {
            let found = &bytes[s.target.start as usize..s.target.end as usize];
            let Some(at) = s.base else { return found.len() };
            let known = &base[at.file as usize].1[at.offset as usize..][..found.len()];
            found.iter().zip(known).filter(|(a, b)| a != b).count()
        })
        .sum()
}

fn size(files: &Files) -> usize {
    files.iter().map(|(_, b)| b.len()).sum()
}

fn model(layers: u64, seed: u64) -> Vec<Tensor> {
    let mut all = vec![Tensor::random("model.embed_tokens.weight", &[500, 128], seed)];
    for i in 0..layers {
        let name = |part: &str| format!("model.layers.{i}.{part}.weight");
        all.push(Tensor::random(&name("q_proj"), &[128, 128], seed + 10 * i + 1));
        all.push(Tensor::random(&name("k_proj"), &[128, 128], seed + 10 * i + 2));
        all.push(Tensor::random(&name("up_proj"), &[256, 128], seed + 10 * i + 3));
        all.push(Tensor::new(
            &name("norm"),
            Dtype::F32,
            &[128],
            1_f32.to_le_bytes().repeat(128),
        ));
    }
    all
}

fn one(tensors: &[Tensor]) -> Files {
    vec![("model.safetensors", safetensors(tensors))]
}

#[test]
fn a_resharded_model_is_nearly_all_the_same() {
    let tensors = model(12, 1);
    let base = one(&tensors);
    let (first, second) = tensors.split_at(20);
    let target = vec![
        ("model-00001-of-00002.safetensors", safetensors(first)),
        ("model-00002-of-00002.safetensors", safetensors(second)),
    ];
    for (a, b) in [(&base, &target), (&target, &base)] {
        let segments = matched(a, b);
        // What remains are headers.
        let headers: usize = b
            .iter()
            .map(|(_, f)| 8 + u64::from_le_bytes(f[..8].try_into().unwrap()) as usize)
            .sum();
        let unlike = unlike(a, b, &segments);
        assert!(unlike <= headers, "{unlike} of {}", size(b));
        assert!(segments.iter().flatten().count() < 3 * tensors.len());
    }
}

#[test]
fn tensors_in_another_order_are_found() {
    let tensors = model(8, 2);
    let mut shuffled = tensors.clone();
    let mut random = Random(5);
    for i in (1..shuffled.len()).rev() {
        shuffled.swap(i, random.below(i + 1));
    }
    let (base, target) = (one(&tensors), one(&shuffled));
    assert!(unlike(&base, &target, &matched(&base, &target)) < 8_000);
}

#[test]
fn renamed_tensors_are_found_by_their_content() {
    let tensors = model(8, 3);
    let renamed: Vec<Tensor> = tensors
        .iter()
        .rev()
        .enumerate()
        .map(|(i, t)| t.named(&format!("transformer.blk.{i}.w")))
        .collect();
    let (base, target) = (one(&tensors), one(&renamed));
    assert!(unlike(&base, &target, &matched(&base, &target)) < 8_000);
}

#[test]
fn renamed_and_trained_tensors_are_found_by_their_likeness() {
    let tensors = model(6, 4);
    let renamed: Vec<Tensor> = tensors
        .iter()
        .rev()
        .enumerate()
        .map(|(i, t)| t.trained(90 + i as u64).named(&format!("t{i}")))
        .collect();
    let (base, target) = (one(&tensors), one(&renamed));
    let segments = matched(&base, &target);
    let base_spans = spans(&base);
    let target_spans = spans(&target);
    for (i, span) in target_spans[0].iter().enumerate() {
        let old = &tensors[tensors.len() - 1 - i];
        if old.shape.len() < 2 {
            // Norms of ones resemble each other; any of them will do.
            continue;
        }
        let segment = segments[0]
            .iter()
            .find(|s| s.target.start <= span.offset && s.target.end > span.offset);
        let segment = segment.unwrap();
        let at = segment.base.unwrap().offset + (span.offset - segment.target.start);
        let known = base_spans[0].iter().find(|s| s.offset == at).unwrap();
        assert_eq!(known.name, old.name);
    }
}

#[test]
fn a_name_that_moved_on_to_another_tensor_is_not_followed() {
    // Layer 2 was removed: the names of those behind it shift.
    let tensors = model(8, 5);
    let pruned: Vec<Tensor> = tensors
        .iter()
        .filter(|t| !t.name.contains(".2."))
        .map(
            |t| match t.name.split('.').nth(2).and_then(|n| n.parse::<u64>().ok()) {
                Some(layer) if layer > 2 => t.named(&t.name.replacen(
                    &format!(".{layer}."),
                    &format!(".{}.", layer - 1),
                    1,
                )),
                _ => t.clone(),
            },
        )
        .collect();
    let (base, target) = (one(&tensors), one(&pruned));
    assert!(unlike(&base, &target, &matched(&base, &target)) < 6_000);
}

#[test]
fn thousands_of_tiny_tensors_do_not_make_thousands_of_segments_a_chunk() {
    let mut tensors: Vec<Tensor> = (0..20_000)
        .map(|i| Tensor::random(&format!("t{i}"), &[8], i))
        .collect();
    tensors.push(Tensor::random("large", &[512, 512], 1));
    let base = one(&tensors);
    tensors.reverse();
    let target = one(&tensors);
    let segments = matched(&base, &target);
    let mut chunks = std::collections::BTreeMap::new();
    for segment in &segments[0] {
        *chunks.entry(segment.target.start >> 20).or_insert(0) += 1;
    }
    assert!(chunks.values().all(|count| *count < 1_300), "{chunks:?}");
    // The large one is still matched.
    assert!(
        segments[0]
            .iter()
            .any(|s| s.base.is_some() && s.target.end - s.target.start >= 1 << 20)
    );
}

#[test]
fn added_rows_leave_the_others_where_they_were() {
    let mut tensors = model(2, 6);
    let base = one(&tensors);
    tensors[0].shape[0] += 3;
    tensors[0].bytes.extend_from_slice(&[7; 3 * 128 * 4]);
    let target = one(&tensors);
    assert!(unlike(&base, &target, &matched(&base, &target)) < 3 * 128 * 4 + 3_000);
}

#[test]
fn another_dtype_has_no_counterpart() {
    let base = one(&[Tensor::random("w", &[64, 64], 1)]);
    let halves: Vec<u8> = Random(3).bytes(64 * 64 * 2);
    let target = one(&[Tensor::new("w", Dtype::F16, &[64, 64], halves)]);
    let segments = matched(&base, &target);
    let tensor = segments[0].iter().find(|s| s.dtype == Dtype::F16).unwrap();
    assert_eq!(
        (tensor.base, tensor.target.end - tensor.target.start),
        (None, 64 * 64 * 2)
    );
}

#[test]
fn quantised_rows_are_told() {
    let tensors = [
        Tensor::new("l.weight", Dtype::I8, &[8, 100], Random(1).bytes(800)),
        Tensor::random("l.weight_scale", &[8, 1], 2),
        Tensor::new("m.weight", Dtype::I8, &[8, 100], Random(3).bytes(800)),
    ];
    let base = one(&tensors);
    let rows: Vec<Option<u32>> = matched(&base, &base)[0]
        .iter()
        .filter(|s| s.dtype == Dtype::I8)
        .map(|s| s.row)
        .collect();
    assert_eq!(rows, [Some(100), None]);
}

#[test]
fn an_unchanged_release_is_a_few_segments() {
    let mut tensors = model(4, 8);
    tensors.remove(0);
    for base in [one(&tensors), vec![("model.gguf", gguf(&tensors, None))]] {
        let segments = matched(&base, &base);
        assert_eq!(unlike(&base, &base, &segments), 0);
        assert!(segments[0].len() <= 2, "{:?}", segments[0]);
    }
}

#[test]
fn content_that_moved_is_found_without_tensors() {
    let mut random = Random(9);
    let known = random.bytes(3 << 20);
    let mut moved = random.bytes(1_001);
    moved.extend_from_slice(&known[1 << 20..]);
    moved.extend_from_slice(&random.bytes(77));
    moved.extend_from_slice(&known[..1 << 20]);
    let base = vec![("a.bin", known)];
    let target = vec![("other.bin", moved)];
    let segments = matched(&base, &target);
    let unlike = unlike(&base, &target, &segments);
    assert!(unlike < 1_200, "{unlike}");
    assert!(segments[0].len() < 12, "{:?}", segments[0]);
}

#[test]
fn bytes_changed_in_place_keep_their_place() {
    let mut random = Random(10);
    let known = random.bytes(1 << 20);
    let mut changed = known.clone();
    for byte in changed.iter_mut().step_by(40) {
        *byte ^= 1;
    }
    let (base, target) = (vec![("a.bin", known)], vec![("a.bin", changed)]);
    let segments = matched(&base, &target);
    assert_eq!(unlike(&base, &target, &segments), (1_usize << 20).div_ceil(40));
}

#[test]
fn tensors_are_found_in_a_file_of_another_format() {
    let tensors = model(3, 11);
    let base = one(&tensors);
    // As in a pickle or an archive: the same bytes, one tensor behind the other, with something between them.
    let mut archive = vec![0x50; 200];
    for t in &tensors {
        archive.extend_from_slice(t.name.as_bytes());
        archive.resize(archive.len().next_multiple_of(64), 0);
        archive.extend_from_slice(&t.bytes);
    }
    let target = vec![("pytorch_model.bin", archive)];
    let unlike = unlike(&base, &target, &matched(&base, &target));
    assert!(unlike < size(&target) / 100, "{unlike} of {}", size(&target));
}

/// A large file that is made as it is read, with holes as sparse files have them.
struct Virtual {
    header: Vec<u8>,
    length: u64,
    seed: u64,
}

impl ReadAt for Virtual {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if offset
            .checked_add(into.len() as u64)
            .is_none_or(|end| end > self.length)
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into.fill(0);
        for (i, byte) in into.iter_mut().enumerate() {
            let at = offset + i as u64;
            match self.header.get(at as usize) {
                Some(known) => *byte = *known,
                // 64 KiB of content in every GiB.
                None if at % (1 << 30) < 64 << 10 => *byte = Random(at / 8 + self.seed).next() as u8,
                None => break,
            }
        }
        Ok(())
    }
}

#[test]
fn twenty_gigabytes_of_tensors_are_matched_by_samples() {
    let count = 40_u64;
    let each = 512_u64 << 20;
    let entries: Vec<String> = (0..count)
        .map(|i| {
            format!(
                r#""t{i}":{{"dtype":"BF16","shape":[{},1024],"data_offsets":[{},{}]}}"#,
                each / 2048,
                i * each,
                (i + 1) * each
            )
        })
        .collect();
    let header = crate::writers::with_header(&format!("{{{}}}", entries.join(",")), &[]);
    let file = Virtual {
        length: header.len() as u64 + count * each,
        header,
        seed: 1,
    };
    let found = read_release(&[("big.safetensors", &file)]);
    assert_eq!(found[0].spans.len(), 40);
    let release = [ModelFile {
        path: "big.safetensors",
        bytes: &file,
        spans: &found[0].spans,
    }];
    let segments = correspond(&release, &release).unwrap();
    let same: u64 = segments[0]
        .iter()
        .filter(|s| s.base.is_some_and(|b| b.offset == s.target.start))
        .map(|s| s.target.end - s.target.start)
        .sum();
    assert!(same >= count * each);
}
