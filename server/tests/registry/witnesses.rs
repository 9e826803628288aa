//! The loops of a registry that serves: bad witnesses keep back nothing but their own cosignatures.

use assay_log::TreeHead;

use super::support::{Registry, config, eventually, logged_namespace, open};
use super::witness::{Manner, Witness};

#[tokio::test]
async fn the_log_grows_and_good_witnesses_cosign_it_beside_bad_ones() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let names = ["a.example", "b.example", "c.example", "d.example", "e.example"];
    let all = names.map(Witness::start);
    let [first, second, silent, lying, endless] = &all;
    silent.behaves(Manner::Silent);
    lying.behaves(Manner::Claims(1 << 40));
    endless.behaves(Manner::Endless);
    let mut config = config(folder.path());
    config.transparency.batch_millis = 20;
    config.transparency.witnesses = all.iter().map(Witness::config).collect();
    config.transparency.witnesses.push(Witness::nobody("f.example"));
    let registry = Registry::with(open(config).await, None).await;
    let db = &registry.state().db;
    let log = db.log_state().await.unwrap().unwrap().key;
    for witness in &all {
        witness.follows(&log);
    }
    for round in 1..=20 {
        logged_namespace(db, &format!("acme{round}")).await;
        eventually("the log grows", async || {
            db.log_state().await.unwrap().unwrap().published == 2 * round
        })
        .await;
    }
    let newest = db.log_head(40).await.unwrap();
    eventually("both cosign the newest checkpoint", async || {
        [first, second].iter().all(|witness| witness.head() == newest)
    })
    .await;
    eventually("and it is stored", async || {
        db.cosignatures(40, 10).await.unwrap().len() == 2
    })
    .await;
    // Both were asked for the same sizes, so that a device that wants two finds them under one checkpoint.
    let sizes = |witness: &Witness| {
        witness
            .asked()
            .iter()
            .map(|(_, head)| *head)
            .collect::<Vec<TreeHead>>()
    };
    let together = sizes(first)
        .iter()
        .filter(|head| sizes(second).contains(head))
        .count();
    assert!(
        together > sizes(first).len() / 2,
        "{:?} {:?}",
        sizes(first),
        sizes(second)
    );
    registry.running.stop().await.unwrap();
}
