//! Why a network could not be made, looked at or taken down.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use serde::Deserialize;

use crate::ResultError;

/// What a plugin is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Attach.
    Add,
    /// Say whether an attachment is as it was made.
    Check,
    /// Detach.
    Delete,
    /// Take away what belongs to no valid attachment.
    Collect,
    /// Say whether ADD would work.
    Status,
    /// Say which versions are spoken.
    Version,
}

/// What a plugin says when it fails (section 5 of the specification).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ErrorObject {
    /// Below 100 the specification's, from 100 on the plugin's own.
    pub code: u32,
    /// In short.
    #[serde(default)]
    pub msg: String,
    /// At length; may be empty.
    #[serde(default)]
    pub details: String,
}

/// Why a network could not be made, looked at or taken down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An id, an interface's name or an argument that plugins could not read.
    #[error("{what} {value:?} cannot be given to network plugins")]
    Unusable {
        /// What it is.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// A plugin's program is in none of the directories.
    #[error("the network plugin {plugin:?} is not in {searched}")]
    Missing {
        /// Its name.
        plugin: String,
        /// The directories.
        searched: String,
    },
    /// What a plugin is to read could not be written.
    #[error("the network plugin {plugin:?} cannot be told what to do")]
    Request {
        /// Its name.
        plugin: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A plugin could not be run.
    #[error("cannot run the network plugin {plugin:?}")]
    Run {
        /// Its name.
        plugin: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It took too long, and was killed.
    #[error("the network plugin {plugin:?} did not end {verb} in time and was killed")]
    TimedOut {
        /// Its name.
        plugin: String,
        /// What it was doing.
        verb: Verb,
    },
    /// It printed more than an answer can be, and was killed.
    #[error("the network plugin {plugin:?} printed too much for {verb} and was killed")]
    TooMuch {
        /// Its name.
        plugin: String,
        /// What it was doing.
        verb: Verb,
    },
    /// It failed, and says why.
    #[error("the network plugin {plugin:?} failed ({verb}): {object}")]
    Refused {
        /// Its name.
        plugin: String,
        /// What it was doing.
        verb: Verb,
        /// What it says.
        object: ErrorObject,
    },
    /// It failed, and does not say why as it should.
    #[error(
        "the network plugin {plugin:?} failed ({verb}): {status}{}",
        after_colon(output)
    )]
    Failed {
        /// Its name.
        plugin: String,
        /// What it was doing.
        verb: Verb,
        /// How it ended.
        status: ExitStatus,
        /// The beginning of what it printed, made harmless.
        output: String,
    },
    /// It succeeded, but its answer cannot be used.
    #[error("the network plugin {plugin:?} gave no usable answer ({verb})")]
    Answer {
        /// Its name.
        plugin: String,
        /// What it was doing.
        verb: Verb,
        /// What is wrong with the answer.
        #[source]
        source: ResultError,
    },
    /// What was added cannot be kept, read or forgotten.
    #[error("cannot {action} the record {} of a network", path.display())]
    Record {
        /// As a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Check => "CHECK",
            Verb::Delete => "DEL",
            Verb::Collect => "GC",
            Verb::Status => "STATUS",
            Verb::Version => "VERSION",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl ErrorObject {
    /// The container is unknown: nothing of it has to be taken away.
    pub(crate) const UNKNOWN_CONTAINER: u32 = 3;

    /// From what a plugin printed; none if that is no such object.
    pub(crate) fn parse(output: &[u8]) -> Option<ErrorObject> {
        let mut object: ErrorObject = serde_json::from_slice(output).ok()?;
        object.msg = harmless(&object.msg);
        object.details = harmless(&object.details);
        Some(object)
    }
}

impl fmt::Display for ErrorObject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.msg.is_empty(), self.details.is_empty()) {
            (true, true) => write!(formatter, "code {}", self.code),
            (false, true) => formatter.write_str(&self.msg),
            (true, false) => formatter.write_str(&self.details),
            (false, false) => write!(formatter, "{}; {}", self.msg, self.details),
        }
    }
}

/// A program's words for people and logs: one line, of limited length, nothing that moves a cursor.
pub(crate) fn harmless(text: &str) -> String {
    const LONGEST: usize = 1024;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let words: String = text.trim().chars().map(plain).take(LONGEST).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An error with all that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

fn after_colon(output: &str) -> String {
    match output {
        "" => String::new(),
        output => format!(": {output}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_objects_are_shown_to_people() {
        let parsed = ErrorObject::parse(
            br#"{"cniVersion": "1.0.0", "code": 7, "msg": "bad\n\u001b[31mthing", "details": "x"}"#,
        );
        assert_eq!(parsed.unwrap().to_string(), "bad [31mthing; x");
        assert_eq!(
            ErrorObject::parse(br#"{"code": 11}"#).unwrap().to_string(),
            "code 11"
        );
        for garbage in [
            "",
            "panic: x",
            "{}",
            r#"{"code": -1}"#,
            r#"{"code": "7"}"#,
            r#"{"msg": "x"}"#,
        ] {
            assert_eq!(ErrorObject::parse(garbage.as_bytes()), None, "{garbage}");
        }
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(harmless(&"x".repeat(5000)).len(), 1024);
        assert_eq!(harmless(" a\r\n\tb\0c "), "a b c");
    }
}
