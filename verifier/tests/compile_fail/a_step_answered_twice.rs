// An answer consumes the step: no second answer can be tried where the first one was refused.
use assay_verifier::{Answer, AwaitFetch, CheckStep};

fn twice(waiting: AwaitFetch) -> [CheckStep; 2] {
    [waiting.answer(Answer::Missing), waiting.answer(Answer::NotModified)]
}

fn main() {}
