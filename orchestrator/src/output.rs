//! The only place that writes to standard output. Data goes to standard output, everything said about it to standard
//! error, so that a pipe gets data and nothing else.

mod terminal;

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use chrono::TimeDelta;
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use domain::Timestamp;
use serde::Serialize;

use crate::config;

/// Nobody reads our standard output any more: `orchestrator session list | head`.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub struct StdoutClosed;

/// How data is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; its columns may change.
    #[default]
    Table,
    /// For programs: the API's own documents.
    Json,
}

/// Writes `text` to standard output as it is.
pub fn raw(text: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        Err(error) => Err(anyhow::Error::new(error).context("standard output takes no more")),
    }
}

/// Writes what others wrote to standard output, piece by piece: as it is into a pipe, and so that a terminal does not obey
/// it.
#[derive(Default)]
pub struct Foreign {
    visible: terminal::Visible,
}

impl Foreign {
    pub fn write(&mut self, piece: &[u8]) -> anyhow::Result<()> {
        if io::stdout().is_terminal() {
            raw(&self.visible.feed(piece))
        } else {
            raw(piece)
        }
    }

    pub fn finish(mut self) -> anyhow::Result<()> {
        raw(&self.visible.finish())
    }
}

/// The same for what comes in one piece.
pub fn foreign(whole: &[u8]) -> anyhow::Result<()> {
    let mut shown = Foreign::default();
    shown.write(whole)?;
    shown.finish()
}

/// Writes `text` and a line's end to standard output, without control characters.
pub fn line(text: impl Display) -> anyhow::Result<()> {
    raw(format!("{}\n", terminal::visible(&text.to_string())).as_bytes())
}

/// Writes a document to standard output, indented.
pub fn json(document: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    raw(format!("{}\n", terminal::escaped(&text)).as_bytes())
}

/// Writes a document to standard output as one line.
pub fn json_line(document: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(document)?;
    raw(format!("{}\n", terminal::escaped(&text)).as_bytes())
}

/// Says something to the person at the terminal. That nobody listens is no reason to stop.
pub fn say(text: impl Display) {
    let text = terminal::visible(&text.to_string());
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A table without ornaments: columns under their names (if they have any), as wide as the terminal allows.
pub fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if !columns.is_empty() {
        table.set_header(columns.iter().map(|name| name.to_uppercase()));
    }
    if !io::stdout().is_terminal() {
        // A pipe has no width; lines are not to be broken for it.
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table
}

/// Writes a table, without the blanks at the ends of its lines.
pub fn print(table: Table) -> anyhow::Result<()> {
    line(plain(table))
}

fn plain(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, COLUMN_GAP));
    }
    table.trim_fmt()
}

/// True when bars and colours on standard error are seen by a person who wants them.
pub fn is_lively() -> bool {
    io::stderr().is_terminal() && !config::no_color()
}

/// Blanks between columns.
const COLUMN_GAP: u16 = 2;

/// A duration as a person says it: `0.3 s`, `42 s`, `3 min 5 s`, `2 h 10 min`.
pub fn duration(span: TimeDelta) -> String {
    let milliseconds = span.num_milliseconds().max(0);
    let seconds = milliseconds / 1000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// An instant, to the second, in UTC.
pub fn instant(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// What stands in a table where there is nothing.
pub const NOTHING: &str = "-";

pub fn or_nothing(text: Option<impl Display>) -> String {
    text.map_or_else(|| NOTHING.to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let said = |milliseconds| duration(TimeDelta::milliseconds(milliseconds));
        assert_eq!(said(-5), "0.0 s");
        assert_eq!(said(349), "0.3 s");
        assert_eq!(said(9_999), "9.9 s");
        assert_eq!(said(42_000), "42 s");
        assert_eq!(said(185_000), "3 min 5 s");
        assert_eq!(said(7_800_000), "2 h 10 min");
    }

    #[test]
    fn a_table_for_a_pipe_is_plain_lines() {
        let mut table = table(&["id", "status"]);
        table.add_row(["1", "queued"]);
        table.add_row(["2", NOTHING]);
        assert_eq!(plain(table), "ID  STATUS\n1   queued\n2   -");
    }
}
