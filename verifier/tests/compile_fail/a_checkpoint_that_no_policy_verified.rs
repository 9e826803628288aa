// A device's checkpoint follows only from one whose signatures a policy verified.
use assay_log::follow::follow;
use assay_log::{LogState, SignedCheckpoint};

fn trust(state: &LogState, shown: &SignedCheckpoint) {
    let _ = follow(Some(state), shown);
}

fn main() {}
