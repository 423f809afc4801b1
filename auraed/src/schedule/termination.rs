//! The message that a container leaves at its end.

use std::path::Path;

use auraed_types::pod::TerminationMessagePolicy;

use crate::files;

/// The most of the container's own file that is kept: its end.
const FILE_BYTES: u64 = 4096;
/// The most of the log that stands in for it.
const LOG_BYTES: usize = 2048;
/// The same, in lines.
const LOG_LINES: usize = 80;
/// As much of the log file as is looked at: lines, their times and the longest content.
const LOOK_BACK_BYTES: u64 = 64 * 1024;

/// What a run ended with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    /// The container's own file.
    pub(crate) file: &'a Path,
    /// Its log.
    pub(crate) log: &'a Path,
    /// What it wants.
    pub(crate) policy: TerminationMessagePolicy,
    /// It ended badly, having run.
    pub(crate) failed: bool,
}

/// The message of a run. What cannot be read is empty: a message is for people, and nothing hangs on it.
pub(crate) fn message(sources: Sources<'_>) -> String {
    let own = files::tail(sources.file, FILE_BYTES)
        .map(|(content, _)| content)
        .unwrap_or_default();
    if !own.is_empty() {
        return String::from_utf8_lossy(&own).into_owned();
    }
    if sources.policy == TerminationMessagePolicy::FallbackToLogsOnError && sources.failed {
        return log_end(sources.log);
    }
    String::new()
}

fn log_end(path: &Path) -> String {
    let Ok((content, cut)) = files::tail(path, LOOK_BACK_BYTES) else {
        return String::new();
    };
    let mut lines: Vec<&[u8]> = content.split_inclusive(|&byte| byte == b'\n').collect();
    if cut && !lines.is_empty() {
        // The first is the end of a line that began before.
        lines.remove(0);
    }
    let mut text: Vec<u8> = Vec::new();
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        append(&mut text, line);
    }
    let end = &text[text.len().saturating_sub(LOG_BYTES)..];
    String::from_utf8_lossy(end).into_owned()
}

/// One line of a log: `<time> <stream> <tags> <content>`; the newline of a partial one is the log's, not its own.
fn append(text: &mut Vec<u8>, line: &[u8]) {
    let mut fields = line.splitn(4, |&byte| byte == b' ');
    let (Some(_), Some(_), Some(tags), Some(content)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return;
    };
    let partial = tags.split(|&byte| byte == b':').next() == Some(b"P");
    text.extend_from_slice(if partial {
        content.strip_suffix(b"\n").unwrap_or(content)
    } else {
        content
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use TerminationMessagePolicy::{FallbackToLogsOnError, File};

    struct Run {
        _directory: tempfile::TempDir,
        file: std::path::PathBuf,
        log: std::path::PathBuf,
    }

    fn run(file: &str, log: &str) -> Run {
        let directory = tempfile::tempdir().unwrap();
        let (file_path, log_path) = (directory.path().join("m"), directory.path().join("l"));
        fs_err::write(&file_path, file).unwrap();
        fs_err::write(&log_path, log).unwrap();
        Run {
            _directory: directory,
            file: file_path,
            log: log_path,
        }
    }

    fn read(run: &Run, policy: TerminationMessagePolicy, failed: bool) -> String {
        message(Sources {
            file: &run.file,
            log: &run.log,
            policy,
            failed,
        })
    }

    #[test]
    fn the_file_wins_and_its_end_is_kept() {
        let long = format!("{}{}", "a".repeat(100), "b".repeat(4096));
        let run = run(&long, "2026-01-01T00:00:00Z stdout F log\n");
        assert_eq!(read(&run, FallbackToLogsOnError, true), "b".repeat(4096));
    }

    #[test]
    fn the_log_stands_in_for_an_empty_file_after_a_failure_alone() {
        let run = run(
            "",
            "2026-01-01T00:00:00Z stdout P he\n2026-01-01T00:00:00Z stdout F llo\n",
        );
        assert_eq!(read(&run, FallbackToLogsOnError, true), "hello\n");
        assert_eq!(read(&run, FallbackToLogsOnError, false), "");
        assert_eq!(read(&run, File, true), "");
    }

    #[test]
    fn the_log_is_cut_to_its_last_lines_and_bytes() {
        let line = |number: usize| format!("2026-01-01T00:00:00Z stderr F line {number}\n");
        let many = run("", &(0..200).map(line).collect::<String>());
        let message = read(&many, FallbackToLogsOnError, true);
        assert!(
            message.starts_with("line 120\n") && message.ends_with("line 199\n"),
            "{message}"
        );
        let wide = run(
            "",
            &format!("2026-01-01T00:00:00Z stdout F {}\n", "x".repeat(100_000)),
        );
        assert!(read(&wide, FallbackToLogsOnError, true).len() <= LOG_BYTES);
    }

    #[test]
    fn what_is_missing_or_no_log_is_empty() {
        let nowhere = Path::new("/nonexistent/file");
        let sources = Sources {
            file: nowhere,
            log: nowhere,
            policy: FallbackToLogsOnError,
            failed: true,
        };
        assert_eq!(message(sources), "");
        let run = run("", "garbage\n\n");
        assert_eq!(read(&run, FallbackToLogsOnError, true), "");
    }
}
