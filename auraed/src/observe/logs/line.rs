//! One line of a log file in the CRI format: `<RFC 3339 time> <stdout|stderr> <tag[:tag…]> <content>`.

use auraed_api::observe::v0 as api;
use auraed_types::status::to_wire_time;
use jiff::Timestamp;

/// A line, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) time: Timestamp,
    pub(super) stream: api::Stream,
    /// The line goes on in the next one.
    pub(super) partial: bool,
    pub(super) content: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes a line without its newline apart; `None` if it is no line of this format.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let stream = match parts.next()? {
            b"stdout" => api::Stream::Stdout,
            b"stderr" => api::Stream::Stderr,
            _ => return None,
        };
        // The first tag tells full from partial; later ones are for later versions of the format.
        let partial = match parts.next()?.split(|byte| *byte == b':').next()? {
            b"F" => false,
            b"P" => true,
            _ => return None,
        };
        // An empty line may be written without the space before its content.
        let content = parts.next().unwrap_or_default();
        Some(Self {
            time,
            stream,
            partial,
            content,
        })
    }

    /// As a message, with at most `longest` bytes of content. A line that is cut has no end.
    pub(super) fn to_wire(&self, longest: usize) -> api::LogLine {
        let content = self.content.get(..longest).unwrap_or(self.content);
        api::LogLine {
            time: Some(to_wire_time(self.time)),
            stream: self.stream.into(),
            content: content.to_vec(),
            partial: self.partial || content.len() < self.content.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_partial_and_empty_lines_are_read() {
        let line = Line::parse(b"2016-10-06T00:17:09.669794202Z stdout F hello  world").unwrap();
        assert_eq!(line.content, b"hello  world");
        assert_eq!((line.stream, line.partial), (api::Stream::Stdout, false));
        assert_eq!(line.time.to_string(), "2016-10-06T00:17:09.669794202Z");
        let line = Line::parse(b"2016-10-06T00:17:09.669794203+02:00 stderr P:x \xff\x00").unwrap();
        assert_eq!(
            (line.stream, line.partial, line.content),
            (api::Stream::Stderr, true, &b"\xff\x00"[..])
        );
        for empty in [
            &b"2016-10-06T00:17:09Z stdout F "[..],
            b"2016-10-06T00:17:09Z stdout F",
        ] {
            assert_eq!(Line::parse(empty).unwrap().content, b"");
        }
    }

    #[test]
    fn other_lines_are_told_apart() {
        for text in [
            "",
            "hello",
            "yesterday stdout F x",
            "2016-10-06T00:17:09Z stdin F x",
            "2016-10-06T00:17:09Z stdout X x",
            "2016-10-06T00:17:09Z stdout",
            "{\"log\":\"x\"}",
        ] {
            assert_eq!(Line::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_line_is_cut_exactly() {
        let line = Line::parse(b"2016-10-06T00:17:09Z stdout F hello").unwrap();
        let cut = line.to_wire(3);
        assert_eq!((cut.content.as_slice(), cut.partial), (&b"hel"[..], true));
        let whole = line.to_wire(5);
        assert_eq!((whole.content.as_slice(), whole.partial), (&b"hello"[..], false));
    }
}
