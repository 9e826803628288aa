//! Changes of a JSON value's members, elements and values.

use serde_json::{Map, Number, Value, json};

use super::text::NUMBERS;
use crate::random::Random;

/// One change, mostly written canonically again, as what is signed must be; `None` where the input is no JSON.
pub(super) fn mutate(random: &mut Random, input: &[u8], other: &[u8], words: &[&str]) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(input).ok()?;
    let other = serde_json::from_slice(other).unwrap_or(Value::Null);
    let nodes = count(&value);
    let at = random.below(nodes);
    let mut left = at;
    if let Some(node) = find(&mut value, &mut left) {
        change(random, node, &other, words);
    }
    let canonical = || assay_schema::canonical::signed_bytes(&value).ok();
    match random.below(8) {
        0 => serde_json::to_vec_pretty(&value).ok(),
        1 => serde_json::to_vec(&value).ok(),
        _ => canonical().or_else(|| serde_json::to_vec(&value).ok()),
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// The node of this number, counted depth first.
fn find<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| find(item, left)),
        Value::Object(members) => members.values_mut().find_map(|member| find(member, left)),
        _ => None,
    }
}

fn change(random: &mut Random, node: &mut Value, other: &Value, words: &[&str]) {
    let nodes = count(other);
    match (random.below(4), &mut *node) {
        (0 | 1, Value::Object(members)) => change_members(random, members, words),
        (0 | 1, Value::Array(items)) => change_items(random, items),
        (0 | 1, Value::String(text)) => *text = change_text(random, text, words),
        (0 | 1, Value::Number(number)) => *number = number_at_an_edge(random),
        (2, _) => {
            let mut other = other.clone();
            if let Some(taken) = find(&mut other, &mut random.below(nodes)) {
                *node = taken.take();
            }
        }
        _ => *node = any(random, words),
    }
}

fn change_members(random: &mut Random, members: &mut Map<String, Value>, words: &[&str]) {
    let keys: Vec<String> = members.keys().cloned().collect();
    if keys.is_empty() || random.once_in(3) {
        let key = match words.is_empty() {
            true => "x".to_owned(),
            false => (*random.pick(words)).to_owned(),
        };
        members.insert(key, any(random, words));
        return;
    }
    let key = random.pick(&keys);
    let Some(value) = members.remove(key) else { return };
    match random.below(3) {
        0 => {}
        1 => drop(members.insert(change_text(random, key, words), value)),
        _ => {
            // Two members with one value: what is unique may be so no more.
            members.insert(change_text(random, key, words), value.clone());
            members.insert(key.clone(), value);
        }
    }
}

fn change_items(random: &mut Random, items: &mut Vec<Value>) {
    if items.is_empty() {
        items.push(Value::Null);
        return;
    }
    let at = random.below(items.len());
    match random.below(4) {
        0 => drop(items.remove(at)),
        1 => {
            let times = if random.once_in(4) { 200 } else { 1 };
            let item = items[at].clone();
            items.splice(at..at, std::iter::repeat_n(item, times));
        }
        2 => {
            let with = random.below(items.len());
            items.swap(at, with);
        }
        _ => items.truncate(at),
    }
}

fn change_text(random: &mut Random, text: &str, words: &[&str]) -> String {
    match random.below(7) {
        0 => String::new(),
        1 => text.repeat(2 + random.below(60)),
        2 if !words.is_empty() => (*random.pick(words)).to_owned(),
        3 => text.chars().rev().collect(),
        4 => text.to_uppercase(),
        _ => {
            let changed = super::text::mutate(random, text.as_bytes().to_vec(), text.as_bytes(), words);
            String::from_utf8_lossy(&changed).into_owned()
        }
    }
}

fn number_at_an_edge(random: &mut Random) -> Number {
    let text = *random.pick(NUMBERS);
    text.parse::<u64>()
        .map(Number::from)
        .or_else(|_| text.parse::<i64>().map(Number::from))
        .unwrap_or_else(|_| Number::from(random.next() >> random.below(64)))
}

fn any(random: &mut Random, words: &[&str]) -> Value {
    match random.below(10) {
        0 => Value::Null,
        1 => Value::Bool(true),
        2 | 3 => Value::Number(number_at_an_edge(random)),
        4 => json!(1.5),
        5 => json!([]),
        6 => json!({}),
        7 => {
            let depth = 1 + random.below(140);
            (0..depth).fold(Value::Null, |inside, _| Value::Array(vec![inside]))
        }
        8 if !words.is_empty() => Value::String((*random.pick(words)).to_owned()),
        _ => Value::String("x".repeat(random.below(2_000))),
    }
}
