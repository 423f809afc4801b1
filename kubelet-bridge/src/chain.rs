//! An error with everything below it, on one line, for logs and messages.

use std::error::Error;
use std::fmt::Write as _;

/// Joins an error and its sources with `: `. A source whose text the line ends with already is left out, because
/// some libraries repeat it.
pub fn sources(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !line.ends_with(&text) {
            let _ = write!(line, ": {text}");
        }
        next = source.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("repeats {0}")]
    struct Inner(#[source] std::fmt::Error);

    #[test]
    fn names_every_source_once() {
        let error = Outer(Inner(std::fmt::Error));
        assert_eq!(sources(&error), format!("outer: repeats {}", std::fmt::Error));
    }
}
