//! What a run prints: one JSON document, or lines for people. Nothing panics when nobody reads it.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};

use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::verdict;

/// What a command that went well has to say, for programs and for people.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) document: Map<String, Value>,
    pub(crate) text: String,
    pub(crate) verdict: Option<assay_schema::Verdict>,
}

impl Answer {
    /// An answer of these fields and this text, whose last line needs no line feed.
    pub(crate) fn new(document: Value, text: impl Into<String>) -> Self {
        let document = match document {
            Value::Object(fields) => fields,
            other => Map::from_iter([("result".to_owned(), other)]),
        };
        Self {
            document,
            text: text.into(),
            verdict: None,
        }
    }

    pub(crate) fn with_verdict(mut self, verdict: assay_schema::Verdict) -> Self {
        self.verdict = Some(verdict);
        self
    }
}

/// Prints what came of a command.
pub(crate) fn finish(context: &Context, result: Result<Answer, Failure>) -> Exit {
    let exit = match &result {
        Ok(_) => Exit::Done,
        Err(failure) => failure.exit,
    };
    let printed = if context.show.json {
        print(&document(context, &result, exit))
    } else {
        people(context, &result)
    };
    match printed {
        // Whoever read the output has seen enough; that is not this command's failure.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => exit,
        Err(e) => {
            complain(&format!("error: standard output: {e}"));
            exit.max(Exit::Failed)
        }
        Ok(()) => exit,
    }
}

fn document(context: &Context, result: &Result<Answer, Failure>, exit: Exit) -> String {
    let (mut fields, verdict) = match result {
        Ok(answer) => (answer.document.clone(), answer.verdict.as_ref()),
        Err(failure) => {
            let error = json!({"code": failure.code, "message": failure.message, "advice": failure.advice});
            let mut fields = failure.fields.clone();
            fields.insert("error".to_owned(), error);
            (fields, failure.verdict.as_deref())
        }
    };
    if let Some(verdict) = verdict {
        fields.insert("verdict".to_owned(), json!(verdict));
    }
    if let Some(traffic) = context.traffic() {
        fields.insert("requests".to_owned(), traffic.requests.into());
        fields.insert("bytes_received".to_owned(), traffic.received.into());
        fields.insert("bytes_sent".to_owned(), traffic.sent.into());
    }
    fields.insert("exit".to_owned(), exit.code().into());
    format!("{:#}\n", Value::Object(fields))
}

fn people(context: &Context, result: &Result<Answer, Failure>) -> io::Result<()> {
    let mut text = String::new();
    let verdict = match result {
        Ok(answer) => {
            text.push_str(&answer.text);
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            answer.verdict.as_ref()
        }
        Err(failure) => failure.verdict.as_deref(),
    };
    // Whoever asked for quiet still learns why not.
    if let Some(verdict) = verdict.filter(|_| !context.show.quiet || result.is_err()) {
        text.push_str(&verdict::table(verdict, context.show.verbose));
    }
    if context.show.verbose
        && let Some(traffic) = context.traffic()
    {
        let _ = writeln!(text, "{traffic}");
    }
    let printed = print(&text);
    if let Err(failure) = result {
        complain(&format!("error: {}", failure.message));
        if let Some(advice) = &failure.advice {
            complain(&format!("  {advice}"));
        }
    }
    printed
}

/// What clap has to say: help and versions on standard output, mistakes on standard error or as JSON.
pub(crate) fn usage(error: &clap::Error, as_json: bool) -> Exit {
    if !error.use_stderr() {
        // Only a reader that went away makes this fail.
        let _ = error.print();
        return Exit::Done;
    }
    if as_json {
        let message = error.render().to_string();
        let advice = "Run the command with --help to see what it takes";
        let document = json!({
            "error": {"code": "usage", "message": message.trim(), "advice": advice},
            "exit": Exit::Usage.code(),
        });
        let _ = print(&format!("{document:#}\n"));
    } else {
        let _ = error.print();
    }
    Exit::Usage
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A line on standard error, where anybody reads it.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Rows with aligned columns, two spaces apart; the last column is not padded.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `87.3 MB`: decimal units, as disks and networks are sold.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}

/// `1 file`, `2 files`.
pub(crate) fn files(count: u64) -> String {
    format!("{count} file{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_carry_no_trailing_blanks() {
        let rows = [
            ["a".into(), "long one".into(), "x".into()],
            ["abc".into(), "b".into(), String::new()],
        ];
        assert_eq!(columns(&rows), "a    long one  x\nabc  b\n");
    }
}
