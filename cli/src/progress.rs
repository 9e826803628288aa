//! Progress bars, on standard error, where that is a terminal.

use std::sync::OnceLock;

use assay_client::publisher::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Show;

const KNOWN: &str =
    "{prefix:>10} [{bar:40}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
const UNKNOWN: &str = "{prefix:>10} {spinner} {decimal_bytes} {decimal_bytes_per_sec}";

/// A bar for so many bytes; for `None` it only counts.
pub(crate) fn bar(show: Show, doing: &'static str, total: Option<u64>) -> ProgressBar {
    let target = if show.quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(total, target).with_prefix(doing);
    let template = if total.is_some() { KNOWN } else { UNKNOWN };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// Counts the entries of a log.
pub(crate) fn entries(show: Show) -> ProgressBar {
    let bar = bar(show, "reading", None);
    match ProgressStyle::with_template("{prefix:>10} {spinner} {human_pos} entries, {per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The two bars of a publication, each shown from its first byte on: hashing, then uploading.
pub(crate) struct PublishBars {
    show: Show,
    total: u64,
    hashing: OnceLock<ProgressBar>,
    uploading: OnceLock<ProgressBar>,
}

impl PublishBars {
    pub(crate) fn new(show: Show, total: u64) -> Self {
        Self {
            show,
            total,
            hashing: OnceLock::new(),
            uploading: OnceLock::new(),
        }
    }

    pub(crate) fn tell(&self, progress: &Progress) {
        match progress {
            Progress::Hashed(bytes) => {
                let start = || bar(self.show, "hashing", Some(self.total));
                self.hashing.get_or_init(start).inc(*bytes);
            }
            Progress::Uploading(total) => {
                self.clear();
                self.uploading
                    .get_or_init(|| bar(self.show, "uploading", Some(*total)));
            }
            Progress::Uploaded(bytes) => {
                if let Some(bar) = self.uploading.get() {
                    bar.inc(*bytes);
                }
            }
            Progress::Rebasing(_) => {
                if let Some(bar) = self.uploading.get() {
                    bar.set_prefix("rebasing");
                }
            }
        }
    }

    pub(crate) fn clear(&self) {
        for bar in [&self.hashing, &self.uploading]
            .into_iter()
            .filter_map(OnceLock::get)
        {
            bar.finish_and_clear();
        }
    }
}
