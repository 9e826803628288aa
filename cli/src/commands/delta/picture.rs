//! Where a delta's bytes go, as a picture: one bar a tensor, as long as its bytes in the target, filled as far as it costs.

use std::fmt::Write as _;

use assay_client::delta::Shown;

use super::{name, share};
use crate::output::bytes;

/// Bars of a picture; the rest is one bar together.
const BARS: usize = 60;
const WIDTH: u64 = 480;
const LEFT: u64 = 360;
const LINE: u64 = 16;
const LABEL: usize = 52;

/// An SVG document without scripts, styles or references.
pub(super) fn svg(shown: &Shown) -> String {
    let mut bars: Vec<(String, u64, u64)> = shown
        .rows
        .iter()
        .take(BARS)
        .map(|row| (name(row), row.bytes, row.delta))
        .collect();
    let rest = shown.rows.iter().skip(BARS);
    let (count, of, cost) = rest.fold((0, 0, 0), |(n, of, cost), row| {
        (n + 1, of + row.bytes, cost + row.delta)
    });
    if count > 0 {
        bars.push((format!("{count} more"), of, cost));
    }
    let largest = bars
        .iter()
        .map(|(_, of, cost)| *of.max(cost))
        .max()
        .unwrap_or(1)
        .max(1);
    let height = (bars.len() as u64 + 3) * LINE;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{height}" font-family="sans-serif" font-size="11">
<rect width="{0}" height="{height}" fill="#ffffff"/>
<text x="8" y="{1}" font-size="13">{2}</text>
"##,
        LEFT + WIDTH + 200,
        LINE + 2,
        escaped(&format!(
            "{} of {}, {}; header and index {}",
            bytes(shown.size),
            bytes(shown.full),
            share(shown.size, shown.full),
            bytes(shown.index)
        )),
    );
    for (at, (label, of, cost)) in (2..).zip(&bars) {
        let (y, whole, filled) = (at * LINE, scaled(*of, largest), scaled(*cost, largest));
        // Infallible: a String takes whatever there is memory for.
        let _ = writeln!(
            svg,
            r##"<text x="{0}" y="{1}" text-anchor="end">{2}</text><rect x="{LEFT}" y="{3}" width="{whole}" height="{4}" fill="#d9dfe6"/><rect x="{LEFT}" y="{3}" width="{filled}" height="{4}" fill="#1f5fa8"/><text x="{5}" y="{1}">{6}</text>"##,
            LEFT - 6,
            y + LINE - 5,
            escaped(&shortened(label)),
            y + 2,
            LINE - 4,
            LEFT + whole.max(filled) + 6,
            escaped(&format!(
                "{} of {}, {}",
                bytes(*cost),
                bytes(*of),
                share(*cost, *of)
            )),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// At least a pixel, so that nothing that costs looks free.
fn scaled(count: u64, largest: u64) -> u64 {
    match count {
        0 => 0,
        count => (u128::from(count) * u128::from(WIDTH) / u128::from(largest)).max(1) as u64,
    }
}

/// The end of a long name tells it from its neighbours.
fn shortened(label: &str) -> String {
    let length = label.chars().count();
    match length > LABEL {
        true => format!("…{}", label.chars().skip(length - LABEL + 1).collect::<String>()),
        false => label.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensors_name_cannot_become_markup() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }

    #[test]
    fn what_costs_something_is_seen() {
        assert_eq!((scaled(0, 9), scaled(1, u64::MAX), scaled(9, 9)), (0, 1, WIDTH));
    }
}
