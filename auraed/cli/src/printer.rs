//! Words on the screen: tables and JSON to standard output, notes to standard error. Nothing else in this crate prints.

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use std::io::{self, Write as _};

/// How a command prints what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: the messages of the API in protobuf's JSON form, one document a command, one a line where
    /// it streams.
    Json,
}

/// A table with columns for people, without lines.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> io::Result<()> {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let text = table
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect::<String>();
    bytes(text.as_bytes())
}

/// One JSON document, indented.
pub(crate) fn json(value: &serde_json::Value) -> io::Result<()> {
    bytes(format!("{value:#}\n").as_bytes())
}

/// One JSON document on one line.
pub(crate) fn json_line(value: &serde_json::Value) -> io::Result<()> {
    bytes(format!("{value}\n").as_bytes())
}

/// A line of data.
pub(crate) fn line(text: &str) -> io::Result<()> {
    bytes(format!("{}\n", clean(text)).as_bytes())
}

/// Text on one line, without what a terminal would act on: names and messages come from containers and registries.
fn clean(text: &str) -> String {
    let harmless = |character: char| match character {
        '\n' | '\t' => ' ',
        character if character.is_control() => char::REPLACEMENT_CHARACTER,
        character => character,
    };
    text.trim_end().chars().map(harmless).collect()
}

/// Data as it is. A reader that went away (a closed pipe) is an error of kind `BrokenPipe`.
pub(crate) fn bytes(content: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(content)?;
    out.flush()
}

/// Error output of a program in a container, as it is.
pub(crate) fn error_bytes(content: &[u8]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    err.write_all(content)?;
    err.flush()
}

/// Lines for people, on standard error; nothing is to be done where that is closed.
pub(crate) fn note(text: &str) {
    let mut err = io::stderr().lock();
    for line in text.split('\n') {
        // Indentation is the caller's, so only the end is trimmed.
        drop(writeln!(err, "{}", clean(line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_taken_out() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\td \n"), "a\u{fffd}[2Jb c d");
    }
}
