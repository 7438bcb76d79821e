//! The progress bar: shown on a terminal, and only when a job takes longer than a moment.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Fast operations do not clutter the terminal.
const PATIENCE: Duration = Duration::from_millis(250);

/// Least time between two updates.
const INTERVAL: Duration = Duration::from_millis(100);

/// Counts bytes and files, and shows them now and then.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    bytes: u64,
    files: u64,
    total: Option<u64>,
    shown: bool,
    next: Instant,
}

impl Progress {
    /// Begins at zero, with nothing shown.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let next = Instant::now() + PATIENCE;
        Self { bar, bytes: 0, files: 0, total: None, shown: false, next }
    }

    /// Learns how many bytes there are in all.
    pub(crate) fn plan(&mut self, bytes: u64) {
        self.total = Some(bytes);
        self.bar.set_length(bytes);
        self.bar.set_style(style(true));
    }

    /// Counts bytes.
    pub(crate) fn bytes(&mut self, count: u64) {
        self.bytes = self.bytes.saturating_add(count);
        self.update();
    }

    /// Counts a member.
    pub(crate) fn member(&mut self) {
        self.files += 1;
        self.update();
    }

    /// Runs `print` while the bar is out of the way.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        if self.shown { self.bar.suspend(print) } else { print() }
    }

    fn update(&mut self) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + INTERVAL;
        self.bar.set_position(self.bytes);
        self.bar.set_message(format!("{} files", self.files));
        if !self.shown {
            self.shown = true;
            self.bar.set_style(style(self.total.is_some()));
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if self.shown {
            self.bar.finish_and_clear();
        }
    }
}

fn style(total_known: bool) -> ProgressStyle {
    let template = if total_known {
        "{wide_bar} {bytes}/{total_bytes}, {msg}, {bytes_per_sec}, {eta} left"
    } else {
        "{spinner} {bytes}, {msg}, {bytes_per_sec}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_parse() {
        for template in
            ["{wide_bar} {bytes}/{total_bytes}, {msg}, {bytes_per_sec}, {eta} left", "{spinner}"]
        {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn nothing_is_shown_at_first() {
        let mut progress = Progress::new();
        progress.plan(100);
        progress.bytes(10);
        progress.member();
        assert!(!progress.shown);
        assert_eq!((progress.bytes, progress.files), (10, 1));
    }
}
