//! Somebody who follows a log by the paths of tlog-tiles, and remembers every checkpoint that it showed.

use assay_log::merkle::Frontier;
use assay_log::policy::LogPolicy;
use assay_log::tile::{EntryBundle, decode_entries};
use assay_log::{Leaf, SignedCheckpoint, TreeHead};
use assay_schema::api::LogInfo;
use assay_schema::limits::LOG_TILE_WIDTH;
use bytes::Bytes;

pub struct Follower {
    policy: LogPolicy,
    client: reqwest::Client,
    seen: Vec<TreeHead>,
}

async fn get(client: &reqwest::Client, url: &str, path: &str) -> reqwest::Result<Bytes> {
    let answer = client.get(format!("{url}{path}")).send().await?;
    answer.error_for_status()?.bytes().await
}

/// What a registry says of its log.
pub async fn log_info(url: &str) -> LogInfo {
    let bytes = get(&reqwest::Client::new(), url, "/v1/log").await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

impl Follower {
    /// Pins the log of a registry.
    pub async fn of(url: &str) -> Self {
        Self {
            policy: LogPolicy::new(log_info(url).await.key.parse().unwrap(), None).unwrap(),
            client: reqwest::Client::new(),
            seen: Vec::new(),
        }
    }

    /// The checkpoint that a registry shows; `None` if the registry is gone.
    pub async fn look(&mut self, url: &str) -> Option<TreeHead> {
        let bytes = get(&self.client, url, "/log/checkpoint").await.ok()?;
        let signed = SignedCheckpoint::parse(&bytes).unwrap();
        let head = self.policy.verify(&signed).unwrap().head();
        self.seen.push(head);
        Some(head)
    }

    /// Remembers what somebody else saw.
    pub fn heard_of(&mut self, heads: impl IntoIterator<Item = TreeHead>) {
        self.seen.extend(heads);
    }

    /// Reads the whole log: its checkpoint, and every one that was seen before, must be of this one history.
    pub async fn read(&mut self, url: &str) -> Vec<Leaf> {
        let head = self.look(url).await.unwrap();
        let mut roots = vec![TreeHead::EMPTY];
        let mut leaves = Vec::new();
        let mut tree = Frontier::empty();
        let width = u64::from(LOG_TILE_WIDTH);
        for index in 0..head.size.div_ceil(width) {
            let here = (head.size - index * width).min(width);
            let bundle = EntryBundle::new(index, here as u16).unwrap();
            let bytes = get(&self.client, url, &format!("/log/{bundle}")).await.unwrap();
            for entry in decode_entries(bundle, &bytes).unwrap() {
                let leaf = Leaf::parse(entry).unwrap();
                tree.push(leaf.hash().unwrap(), |_, _| {}).unwrap();
                roots.push(tree.head());
                leaves.push(leaf);
            }
        }
        assert_eq!(roots.last(), Some(&head));
        for seen in &self.seen {
            assert_eq!(
                roots.get(seen.size as usize),
                Some(seen),
                "another history was shown"
            );
        }
        leaves
    }
}
