//! Strangers' text in messages: fit for a log and a terminal, however long it is and whatever it holds.

/// Characters of a JSON reader's message that are repeated: it quotes values and names at whatever length they were sent.
const LONGEST_MESSAGE: usize = 400;

/// The beginning of a text, at most `most` characters of it, control characters in their escaped form.
pub fn shortened(text: &str, most: usize) -> String {
    let mut short = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == most {
            short.push_str("...");
            break;
        }
        match c.is_control() {
            true => short.extend(c.escape_default()),
            false => short.push(c),
        }
    }
    short
}

/// What a JSON reader says, and where.
pub fn json_error(error: &serde_json::Error) -> String {
    let whole = error.to_string();
    // The place stands at the end, behind what may be a stranger's.
    let place = match error.line() {
        0 => String::new(),
        line => format!(" at line {line} column {}", error.column()),
    };
    let said = whole.strip_suffix(&place).unwrap_or(&whole);
    shortened(said, LONGEST_MESSAGE) + &place
}
