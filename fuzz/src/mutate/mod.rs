//! Inputs from inputs.

mod bytes;
mod json;
mod text;

use crate::random::Random;
use crate::target::{Form, Target};

/// An input like one of `pool`, with a few things changed.
pub fn mutate(random: &mut Random, pool: &[Vec<u8>], target: &Target) -> Vec<u8> {
    if pool.is_empty() {
        let length = random.below(64);
        return random.bytes(length);
    }
    let mut input = random.pick(pool).clone();
    let other = random.pick(pool);
    for _ in 0..=random.below(4) {
        let structured = !random.once_in(4);
        let changed = match target.form {
            Form::Json if structured => json::mutate(random, &input, other, target.words)
                .unwrap_or_else(|| text::mutate(random, input.clone(), other, target.words)),
            Form::Text if structured => text::mutate(random, input.clone(), other, target.words),
            Form::Json | Form::Text | Form::Binary => {
                bytes::mutate(random, input.clone(), other, target.words)
            }
        };
        // Half of a document is refused at its end, and shows nothing.
        if changed.len() <= target.longest {
            input = changed;
        }
    }
    input
}
