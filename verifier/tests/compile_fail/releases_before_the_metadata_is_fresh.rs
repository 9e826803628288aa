// Releases are asked of what went through root, timestamp, snapshot and targets, in this order.
use assay_schema::tuf::ModelRole;
use assay_trust::{AwaitTargets, Roots};

fn from_roots(roots: Roots, role: &ModelRole) {
    let _ = roots.highest(role);
}

fn before_the_targets(waiting: AwaitTargets, role: &ModelRole) {
    let _ = waiting.highest(role);
}

fn main() {}
