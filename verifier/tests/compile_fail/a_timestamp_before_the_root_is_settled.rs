// TUF 5.3.10 stands between the last root and the first timestamp.
use assay_trust::{AwaitSnapshot, Roots};

fn skip(roots: Roots, timestamp: &[u8]) -> AwaitSnapshot {
    let roots: assay_trust::AwaitTimestamp = roots;
    roots.accept(timestamp).unwrap()
}

fn main() {}
