// A witness cosigns what it decided to accept.
use assay_log::checkpoint::Checkpoint;
use assay_log::witness::Accepted;

fn accept(checkpoint: Checkpoint) -> Accepted {
    Accepted { checkpoint, replaces: None }
}

fn main() {}
