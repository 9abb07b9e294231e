//! What a server was asked, in order.

use std::{fmt, time::Duration};

use super::request::Verb;

/// One request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalEntry {
    /// When it came: tokio's time since the server was made.
    pub at: Duration,
    /// What it wanted.
    pub verb: Verb,
    /// Its path.
    pub path: String,
    /// Its query, as it was written.
    pub query: String,
    /// The status it was answered with; `None` while it runs, and for ever if it was hung, refused, or its answer lost.
    pub code: Option<u16>,
}

impl fmt::Display for JournalEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {}", self.at, self.verb, self.path)?;
        if !self.query.is_empty() {
            write!(f, "?{}", self.query)?;
        }
        match self.code {
            Some(code) => write!(f, " -> {code}"),
            None => f.write_str(" -> no answer"),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: Vec<JournalEntry>,
    /// How many entries were taken away: keeps the numbers of the others.
    cleared: usize,
}

impl Journal {
    /// Writes a request down; the number is for its answer.
    pub(super) fn asked(&mut self, at: Duration, verb: Verb, path: &str, query: &str) -> usize {
        self.entries.push(JournalEntry { at, verb, path: path.to_owned(), query: query.to_owned(), code: None });
        self.cleared + self.entries.len() - 1
    }

    pub(super) fn answered(&mut self, number: usize, code: u16) {
        let entry = number.checked_sub(self.cleared).and_then(|at| self.entries.get_mut(at));
        if let Some(entry) = entry {
            entry.code = Some(code);
        }
    }

    pub(super) fn entries(&self) -> Vec<JournalEntry> {
        self.entries.clone()
    }

    pub(super) fn clear(&mut self) {
        self.cleared += self.entries.len();
        self.entries.clear();
    }
}
