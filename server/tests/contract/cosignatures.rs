//! Cosignatures: the first of a size and key stays, and each question is answered from the rows of the right witnesses.

use assay_log::VerifierKey;
use assay_log::note::{KeyName, SignatureLine};

use crate::Fixture;
use crate::samples::at;

fn key(byte: u8) -> VerifierKey {
    let public = ed25519_dalek::SigningKey::from_bytes(&[byte; 32]).verifying_key();
    VerifierKey::witness(KeyName::new(&format!("w{byte}")).unwrap(), &public.to_bytes()).unwrap()
}

fn line(key: &VerifierKey, byte: u8) -> SignatureLine {
    SignatureLine {
        name: key.name().clone(),
        id: key.id(),
        signature: vec![byte; 72],
    }
}

pub async fn the_first_cosignature_of_a_size_and_key_stays(Fixture { db, .. }: Fixture) {
    let (a, b) = (key(1), key(2));
    db.add_cosignature(5, &a, &line(&a, 1), at(1)).await.unwrap();
    // Another registry on the database asked the same witness at the same time.
    db.add_cosignature(5, &a, &line(&a, 2), at(2)).await.unwrap();
    db.add_cosignature(5, &b, &line(&b, 3), at(3)).await.unwrap();
    let found = db.cosignatures(5, 10).await.unwrap();
    let shown: Vec<_> = found
        .iter()
        .map(|c| (c.key.as_str(), c.line.clone(), c.time))
        .collect();
    let (first, second) = (a.to_string(), b.to_string());
    assert_eq!(
        shown,
        [
            (first.as_str(), line(&a, 1), at(1)),
            (second.as_str(), line(&b, 3), at(3))
        ]
    );
    assert_eq!(db.cosignatures(5, 1).await.unwrap().len(), 1);
    assert!(db.cosignatures(4, 10).await.unwrap().is_empty());
}

pub async fn cosigned_sizes_are_found_by_witness_and_in_order(Fixture { db, .. }: Fixture) {
    let (a, b, c) = (key(1), key(2), key(3));
    for (key, sizes) in [(&a, [3, 9, 12]), (&b, [3, 7, 12])] {
        for size in sizes {
            db.add_cosignature(size, key, &line(key, 1), at(1)).await.unwrap();
        }
    }
    assert_eq!(db.last_cosigned(&a).await.unwrap().unwrap().size, 12);
    assert_eq!(db.last_cosigned(&c).await.unwrap(), None);
    assert_eq!(db.first_cosigned(&b, 4).await.unwrap(), Some(7));
    assert_eq!(db.first_cosigned(&b, 13).await.unwrap(), None);
    let both = [a.clone(), b.clone()];
    assert_eq!(db.newest_cosigned(&both).await.unwrap(), Some(12));
    assert_eq!(db.newest_cosigned(&[c]).await.unwrap(), None);
    assert_eq!(db.cosigned_sizes(&both, 4, 10).await.unwrap(), [7, 9, 12, 12]);
    assert_eq!(db.cosigned_sizes(&both, 4, 3).await.unwrap(), [7, 9, 12]);
    assert_eq!(db.cosigned_sizes(&[b], 0, 10).await.unwrap(), [3, 7, 12]);
}
