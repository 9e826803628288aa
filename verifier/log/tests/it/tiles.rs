//! Tiles: paths, coverage, bundles, and tiles checked against a root.

use std::collections::BTreeMap;

use assay_log::merkle::{
    Node, NodeReader as _, Plan, TreeHead, leaf_hash, verify_consistency, verify_inclusion,
};
use assay_log::tile::{
    Edge, EntryBundle, Resource, Tile, TileError, TileReader, VerifiedTiles, decode_entries, edge_tiles,
    encode_entries, new_bundles, new_tiles,
};
use assay_schema::limits::MAX_LOG_SIZE;
use proptest::prelude::*;

use crate::support::{Leaves, entry, flip};

/// A log's store of tiles.
#[derive(Default, Clone)]
struct Store(BTreeMap<Tile, Vec<u8>>);

impl Store {
    /// All tiles of a log that grew in the given steps, and its head.
    fn grown(steps: &[u64]) -> (Self, TreeHead) {
        let leaves = Leaves::new(*steps.last().unwrap());
        let (mut edge, mut store) = (Edge::empty(), Self::default());
        for size in steps {
            while edge.size() < *size {
                edge.push(leaves.0[edge.size() as usize]).unwrap();
            }
            store.0.extend(edge.take_tiles());
        }
        let head = edge.head().unwrap();
        (store, head)
    }

    fn check(
        &self,
        head: TreeHead,
        tiles: impl IntoIterator<Item = Tile>,
    ) -> Result<VerifiedTiles, TileError> {
        VerifiedTiles::check(
            head,
            tiles
                .into_iter()
                .filter_map(|t| Some((t, self.0.get(&t)?.clone()))),
        )
    }
}

impl TileReader for Store {
    type Error = TileError;

    fn tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, TileError> {
        let missing = |t: &Tile| TileError::Missing {
            tile: t.to_string(),
            size: 0,
        };
        tiles
            .iter()
            .map(|t| self.0.get(t).cloned().ok_or_else(|| missing(t)))
            .collect()
    }
}

fn tile(path: &str) -> Tile {
    match path.parse().unwrap() {
        Resource::Tile(tile) => tile,
        Resource::Entries(_) => panic!("{path} is a bundle"),
    }
}

#[test]
fn the_specifications_examples_hold() {
    assert_eq!(
        Tile::new(0, 1_234_067, 256).unwrap().to_string(),
        "tile/0/x001/x234/067"
    );
    assert_eq!(
        EntryBundle::new(1_234_067, 8).unwrap().to_string(),
        "tile/entries/x001/x234/067.p/8"
    );
    let tiles = new_tiles(0, 70_000);
    let of = |level, full: bool| {
        tiles
            .iter()
            .filter(|t| t.level() == level && t.is_full() == full)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of(0, true).len(), of(1, true).len(), of(2, true).len()),
        (273, 1, 0)
    );
    assert_eq!(
        (
            of(0, false)[0].width(),
            of(1, false)[0].width(),
            of(2, false)[0].width()
        ),
        (112, 17, 1)
    );
    assert_eq!(tiles.len(), 277);
    let paths: Vec<_> = new_tiles(0, 256).iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["tile/0/000", "tile/1/000.p/1"]);
}

#[test]
fn a_second_form_of_a_path_is_refused() {
    for good in [
        "tile/0/000",
        "tile/63/999",
        "tile/0/x001/000",
        "tile/entries/000.p/1",
        "tile/5/x012/x000/345.p/255",
    ] {
        assert_eq!(good.parse::<Resource>().unwrap().to_string(), good);
    }
    for bad in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/0/000/",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001",
        "tile/0/x001/x001",
        "tile/0/X001/001",
        "tile/data/000",
        "tile/entries/x000/000",
        "tile/0/٠٠٠",
        "tile/0/..",
        "tile/0/x001//001",
        "tile//0/000",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(
            matches!(bad.parse::<Resource>(), Err(TileError::Path { .. })),
            "{bad}"
        );
    }
}

#[test]
fn coordinates_that_no_log_has_are_refused() {
    for (level, index, width) in [
        (64, 0, 1),
        (0, 0, 0),
        (0, 0, 257),
        (0, MAX_LOG_SIZE, 1),
        (0, u64::MAX, 256),
    ] {
        assert!(matches!(
            Tile::new(level, index, width),
            Err(TileError::Coordinates { .. })
        ));
    }
}

#[test]
fn new_tiles_and_paths_equal_those_of_another_implementation() {
    for (old, new) in (0..600).map(|n| (n, 600)).chain((0..600).map(|n| (0, n))).chain([
        (255, 257),
        (65_535, 65_537),
        (1, 70_000),
    ]) {
        let ours: Vec<_> = new_tiles(old, new).iter().map(ToString::to_string).collect();
        let theirs = tlog_tiles::Tile::new_tiles(8, old, new);
        let theirs: Vec<_> = theirs
            .iter()
            .map(|t| t.path().replacen("tile/8/", "tile/", 1))
            .collect();
        assert_eq!(ours, theirs, "{old} to {new}");
    }
}

#[test]
fn bundles_lie_over_the_tiles_of_level_0() {
    for (old, new) in [(0, 0), (0, 1), (3, 3), (255, 256), (100, 600), (512, 600)] {
        let tiles: Vec<_> = new_tiles(old, new)
            .into_iter()
            .filter(|t| t.level() == 0)
            .collect();
        let bundles: Vec<_> = new_bundles(old, new).into_iter().map(|b| b.tile()).collect();
        assert_eq!(tiles, bundles);
    }
}

#[test]
fn a_log_that_grew_in_any_steps_has_one_set_of_full_tiles_and_every_proof() {
    const SIZE: u64 = 66_000;
    let leaves = Leaves::new(SIZE);
    let (once, head) = Store::grown(&[SIZE]);
    let (steps, same) = Store::grown(&[1, 255, 256, 257, 300, 65_535, 65_536, 65_537, SIZE]);
    assert_eq!(head, leaves.head(SIZE));
    assert_eq!(head, same);
    assert_eq!(once.0.keys().copied().collect::<Vec<_>>(), {
        let mut all = new_tiles(0, SIZE);
        all.sort();
        all
    });
    assert!(once.0.iter().all(|(tile, bytes)| steps.0[tile] == *bytes));

    for (old, new) in [
        (1, SIZE),
        (256, SIZE),
        (300, SIZE),
        (65_536, SIZE),
        (300, 65_537),
        (255, 256),
    ] {
        let head = leaves.head(new);
        let plan = Plan::consistency(old, new).unwrap();
        let tiles = VerifiedTiles::read(&steps, head, plan.nodes()).unwrap();
        verify_consistency(&leaves.head(old), &head, &plan.prove(&tiles).unwrap()).unwrap();
    }
    for index in [0, 255, 256, 65_279, 65_280, 65_535, 65_536, SIZE - 1] {
        let plan = Plan::inclusion(index, SIZE).unwrap();
        let tiles = VerifiedTiles::read(&once, head, plan.nodes()).unwrap();
        verify_inclusion(
            &leaves.0[index as usize],
            index,
            &head,
            &plan.prove(&tiles).unwrap(),
        )
        .unwrap();
    }
}

#[test]
fn an_edge_that_was_stored_goes_on_as_if_it_had_never_stopped() {
    for size in [0, 1, 255, 256, 257, 511, 600, 65_536] {
        let (store, head) = Store::grown(&[size]);
        let edge = edge_tiles(size);
        let bytes = store.tiles(&edge).unwrap();
        let mut again = Edge::new(head, edge.into_iter().zip(bytes)).unwrap();
        assert!(again.take_tiles().is_empty());
        let leaves = Leaves::new(size + 300);
        for leaf in &leaves.0[size as usize..] {
            again.push(*leaf).unwrap();
        }
        assert_eq!(again.head().unwrap(), leaves.head(size + 300));
        let (all, _) = Store::grown(&[size, size + 300]);
        for (tile, bytes) in again.take_tiles() {
            assert_eq!(all.0[&tile], bytes);
        }
    }
}

#[test]
fn a_missing_tile_is_refused() {
    let (store, head) = Store::grown(&[70_000]);
    let needed = VerifiedTiles::needed(70_000, [Node { level: 0, index: 5 }]).unwrap();
    let paths: Vec<_> = needed.iter().map(ToString::to_string).collect();
    assert_eq!(
        paths,
        [
            "tile/0/000",
            "tile/0/273.p/112",
            "tile/1/000",
            "tile/1/001.p/17",
            "tile/2/000.p/1"
        ]
    );
    store.check(head, needed.clone()).unwrap();
    for missing in &needed {
        let rest = needed.iter().copied().filter(|t| t != missing);
        let outcome = store
            .check(head, rest)
            .and_then(|tiles| tiles.node(Node { level: 0, index: 5 }));
        assert_eq!(
            outcome,
            Err(TileError::Missing {
                tile: missing.to_string(),
                size: 70_000
            })
        );
    }
}

#[test]
fn a_tile_of_another_length_is_refused() {
    let (mut store, head) = Store::grown(&[600]);
    for change in [-1i64, 1, 32, -32] {
        let bytes = store.0.get_mut(&tile("tile/0/002.p/88")).unwrap();
        let right = bytes.clone();
        bytes.resize((right.len() as i64 + change) as usize, 0);
        assert!(matches!(
            store.check(head, edge_tiles(600)),
            Err(TileError::Length { .. })
        ));
        *store.0.get_mut(&tile("tile/0/002.p/88")).unwrap() = right;
    }
}

#[test]
fn a_node_outside_the_tree_is_refused() {
    let (store, head) = Store::grown(&[600]);
    for node in [
        (0, 600),
        (9, 1),
        (10, 0),
        (255, 0),
        (8, 2),
        (0, u64::MAX),
        (7, u64::MAX),
    ] {
        let node = Node {
            level: node.0,
            index: node.1,
        };
        assert_eq!(
            VerifiedTiles::needed(600, [node]),
            Err(TileError::NoSuchNode { node, size: 600 })
        );
        let tiles = store.check(head, edge_tiles(600)).unwrap();
        assert_eq!(tiles.node(node), Err(TileError::NoSuchNode { node, size: 600 }));
    }
    assert_eq!(VerifiedTiles::needed(0, []).unwrap().len(), 0);
    assert!(VerifiedTiles::check(TreeHead::EMPTY, []).is_ok());
    assert!(VerifiedTiles::check(TreeHead { size: 0, ..head }, []).is_err());
}

#[test]
fn a_tile_that_lies_outside_the_tree_is_refused() {
    let (store, head) = Store::grown(&[600]);
    let (larger, _) = Store::grown(&[900]);
    let mut tiles = edge_tiles(600);
    tiles.push(tile("tile/0/002"));
    let tiles = tiles
        .into_iter()
        .map(|t| (t, store.0.get(&t).unwrap_or_else(|| &larger.0[&t]).clone()));
    assert!(matches!(
        VerifiedTiles::check(head, tiles),
        Err(TileError::Missing { .. })
    ));
}

#[test]
fn entries_that_are_not_the_trees_are_refused() {
    let (store, head) = Store::grown(&[300]);
    let tiles = store.check(head, new_tiles(0, 300)).unwrap();
    for bundle in new_bundles(0, 300)
        .into_iter()
        .chain([EntryBundle::new(1, 7).unwrap(), EntryBundle::new(0, 3).unwrap()])
    {
        let range = bundle.start()..bundle.start() + u64::from(bundle.width());
        let entries: Vec<_> = range.map(entry).collect();
        let bytes = encode_entries(entries.iter().map(Vec::as_slice)).unwrap();
        assert_eq!(tiles.entries(bundle, &bytes).unwrap(), entries);
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(matches!(
            tiles.entries(bundle, &changed),
            Err(TileError::Forged { .. })
        ));
        for cut in [
            &bytes[..bytes.len() - 1],
            &bytes[1..],
            &[&bytes[..], &[0]].concat(),
            &[],
        ] {
            assert!(tiles.entries(bundle, cut).is_err());
        }
    }
    let bytes = encode_entries(std::iter::repeat_n(&b"x"[..], 45)).unwrap();
    let outside = tiles.entries(EntryBundle::new(1, 45).unwrap(), &bytes);
    assert!(matches!(outside, Err(TileError::Missing { .. })));
}

#[test]
fn an_entry_over_65535_bytes_is_refused() {
    let longest = vec![7; 65_535];
    let bytes = encode_entries([&longest[..]]).unwrap();
    assert_eq!(
        decode_entries(EntryBundle::new(0, 1).unwrap(), &bytes).unwrap(),
        [&longest[..]]
    );
    let refused = encode_entries([&[7; 65_536][..]]);
    assert_eq!(
        refused,
        Err(TileError::EntryTooLong {
            limit: 65_535,
            found: 65_536
        })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_changed_bit_in_any_tile_is_refused(size in 1u64..2000, which: prop::sample::Index, at: prop::sample::Index, bit in 0u8..8) {
        let (mut store, head) = Store::grown(&[size]);
        let all = new_tiles(0, size);
        store.check(head, all.clone()).unwrap();
        let bytes = store.0.get_mut(which.get(&all)).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let refused = matches!(store.check(head, all), Err(TileError::Forged { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn tiles_under_another_root_are_refused(size in 1u64..2000, bit in 0usize..256) {
        let (store, head) = Store::grown(&[size]);
        let other = TreeHead { root: flip(&head.root, bit), size };
        prop_assert!(store.check(other, new_tiles(0, size)).is_err());
        prop_assert!(Edge::new(other, store.0).is_err());
    }

    #[test]
    fn any_node_of_any_tree_is_its_subtree(size in 1u64..1500, level in 0u8..11, index: u64) {
        prop_assume!(size >> level > 0);
        let node = Node { level, index: index % (size >> level) };
        let leaves = Leaves::new(size);
        let (store, head) = Store::grown(&[size]);
        let tiles = VerifiedTiles::read(&store, head, [node]).unwrap();
        prop_assert_eq!(tiles.node(node).unwrap(), assay_log::merkle::NodeReader::node(&leaves, node).unwrap());
    }

    #[test]
    fn bundles_round_trip(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..=256)) {
        let bundle = EntryBundle::new(0, entries.len() as u16).unwrap();
        let bytes = encode_entries(entries.iter().map(Vec::as_slice)).unwrap();
        prop_assert_eq!(decode_entries(bundle, &bytes).unwrap(), entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(leaf_hash(&entries[0]), leaf_hash(decode_entries(bundle, &bytes).unwrap()[0]));
    }
}
