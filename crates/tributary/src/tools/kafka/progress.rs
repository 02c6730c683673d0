//! How far long work is, for the person in front of it.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shown when the work takes longer than this, and then this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// A line on standard error that is rewritten as the work goes on; none when standard error is not a terminal, so
/// that scripts see what the originals would have written.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: usize,
    shown: Cell<bool>,
    next: Cell<Instant>,
    for_person: bool,
}

impl Progress {
    /// Begins work on `total` things, of which `what` says what is done with them (0 = nobody knows how many).
    pub fn new(what: &'static str, total: usize) -> Self {
        Self {
            what,
            total,
            shown: Cell::new(false),
            next: Cell::new(Instant::now() + INTERVAL),
            for_person: std::io::stderr().is_terminal(),
        }
    }

    /// `done` of them are done.
    pub fn at(&self, done: usize) {
        if !self.for_person || Instant::now() < self.next.get() {
            return;
        }
        self.next.set(Instant::now() + INTERVAL);
        self.shown.set(true);
        let text = self.text(done);
        let mut out = std::io::stderr();
        // Nothing is lost when nobody sees it.
        let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
    }

    fn text(&self, done: usize) -> String {
        match done.saturating_mul(100).checked_div(self.total) {
            Some(percent) => format!("{done} of {} {} ({percent} %)", self.total, self.what),
            None => format!("{done} {}", self.what),
        }
    }

    /// The work is done: the line goes away.
    pub fn done(&self) {
        if self.shown.get() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_much_of_how_much() {
        assert_eq!(
            Progress::new("partitions searched", 200).text(50),
            "50 of 200 partitions searched (25 %)"
        );
        assert_eq!(Progress::new("bytes read", 0).text(7), "7 bytes read");
    }
}
