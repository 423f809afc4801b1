//! Lines, parts and rotation.

use std::io::Read;
use std::path::PathBuf;

use super::*;

struct Fixture {
    directory: tempfile::TempDir,
    log: Log,
}

fn fixture(max_bytes: u64, max_files: u32) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(
        &directory.path().join("0.log"),
        None,
        LogLimits { max_bytes, max_files },
    )
    .unwrap();
    Fixture { directory, log }
}

impl Fixture {
    /// All log files, oldest first, the current one last.
    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(&self.directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files.rotate_left(1);
        files
    }

    /// Stream, tag and data of each line.
    fn lines(&self) -> Vec<(String, String, String)> {
        let text: String = self.files().iter().map(|file| content(file)).collect();
        text.lines()
            .map(|line| {
                let mut parts = line.splitn(4, ' ').skip(1).map(str::to_owned);
                (
                    parts.next().unwrap(),
                    parts.next().unwrap(),
                    parts.next().unwrap(),
                )
            })
            .collect()
    }
}

fn content(path: &Path) -> String {
    let mut text = String::new();
    std::fs::File::open(path)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

fn line(stream: &str, tag: &str, data: &str) -> (String, String, String) {
    (stream.to_owned(), tag.to_owned(), data.to_owned())
}

#[test]
fn pieces_become_lines_of_their_stream() {
    let mut fixture = fixture(1 << 20, 5);
    let (mut out, mut err) = (Line::default(), Line::default());
    fixture.log.append("stdout", &mut out, b"one\ntw");
    fixture.log.append("stderr", &mut err, b"oops\n");
    fixture.log.append("stdout", &mut out, b"o\n\nend");
    fixture.log.finish("stdout", &mut out);
    fixture.log.finish("stderr", &mut err);
    assert_eq!(
        fixture.lines(),
        [
            line("stdout", "F", "one"),
            line("stderr", "F", "oops"),
            line("stdout", "F", "two"),
            line("stdout", "F", ""),
            line("stdout", "P", "end"),
        ]
    );
}

#[test]
fn long_lines_are_cut_into_parts() {
    for (length, parts) in [
        (16_384, vec![16_384]),
        (16_385, vec![16_384, 1]),
        (40_000, vec![16_384, 16_384, 7_232]),
    ] {
        let mut fixture = fixture(1 << 20, 5);
        let mut out = Line::default();
        let text = "x".repeat(length) + "\n";
        for piece in text.as_bytes().chunks(5_000) {
            fixture.log.append("stdout", &mut out, piece);
        }
        let lines = fixture.lines();
        assert_eq!(
            lines.iter().map(|(.., data)| data.len()).collect::<Vec<_>>(),
            parts
        );
        let (last, first) = lines.split_last().unwrap();
        assert_eq!(last.1, "F");
        assert!(first.iter().all(|(_, tag, _)| tag == "P"));
    }
}

#[test]
fn full_files_are_moved_away_and_the_oldest_removed() {
    let mut fixture = fixture(1_000, 3);
    let mut out = Line::default();
    for number in 0..100 {
        fixture
            .log
            .append("stdout", &mut out, format!("line {number:03}\n").as_bytes());
    }
    let files = fixture.files();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 1_000));
    assert_eq!(files.last().unwrap().file_name().unwrap(), "0.log");
    let lines = fixture.lines();
    assert_eq!(lines.last().unwrap().2, "line 099");
    let first = 100 - lines.len();
    for (number, (.., data)) in (first..).zip(&lines) {
        assert_eq!(*data, format!("line {number:03}"));
    }
    assert!(fixture.log.rotations() > 3);
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew() {
    let mut fixture = fixture(1 << 20, 5);
    let path = fixture.directory.path().join("0.log");
    let mut out = Line::default();
    fixture.log.append("stdout", &mut out, b"before\n");
    rustix::fs::rename(&path, fixture.directory.path().join("0.log.old")).unwrap();
    fixture.log.reopen().unwrap();
    fixture.log.append("stdout", &mut out, b"after\n");
    assert!(content(&path).ends_with("stdout F after\n"));
}

#[test]
fn a_log_goes_on_where_it_was() {
    let Fixture { directory, mut log } = fixture(1 << 20, 5);
    log.append("stdout", &mut Line::default(), b"before\n");
    drop(log);
    let path = directory.path().join("0.log");
    let mut log = Log::open(&path, None, LogLimits::default()).unwrap();
    log.append("stdout", &mut Line::default(), b"after\n");
    assert_eq!(content(&path).lines().count(), 2);
}
