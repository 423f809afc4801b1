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

#[test]
fn a_log_that_somebody_removed_is_begun_anew_when_it_is_full() {
    let mut fixture = fixture(200, 3);
    let mut line = Line::default();
    fixture.log.append("stdout", &mut line, b"first\n");
    std::fs::remove_file(fixture.directory.path().join("0.log")).unwrap();
    for number in 0..20 {
        fixture
            .log
            .append("stdout", &mut line, format!("line {number}\n").as_bytes());
    }
    assert_eq!(fixture.lines().last().unwrap().2, "line 19");
    assert!(fixture.files().iter().all(|file| content(file).len() <= 200));
}

#[test]
fn a_line_that_a_full_disk_cut_is_not_glued_to_the_next() {
    let mut fixture = fixture(u64::MAX, 1);
    // A pipe takes what it has room for, as a disk that runs full, and has room again later.
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
    let room = rustix::pipe::fcntl_setpipe_size(&write, 4096).unwrap();
    fixture.log.target.as_mut().unwrap().file = write;
    let mut line = Line::default();
    let long = [&vec![b'x'; room], b"\n".as_slice()].concat();
    fixture.log.append("stdout", &mut line, &long);
    fixture.log.append("stdout", &mut line, b"all of it is lost\n");
    let mut text = vec![0; room];
    assert_eq!(rustix::io::read(&read, &mut text).unwrap(), room);
    fixture.log.append("stdout", &mut line, b"next\n");
    fixture.log.append("stdout", &mut line, b"last\n");
    let mut rest = [0; 4096];
    let count = rustix::io::read(&read, &mut rest).unwrap();
    text.extend_from_slice(&rest[..count]);
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[1].ends_with("stdout F next") && lines[2].ends_with("stdout F last"));
    assert!(lines.iter().all(|line| line.starts_with("20")));
}

#[test]
fn a_pipe_is_no_log_and_nobody_waits_for_its_reader() {
    use rustix::fs::{CWD, mknodat};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("0.log");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let opened = || Log::open(&path, None, LogLimits::default()).map(|_| ());
    let reader = open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    assert_eq!(opened(), Err(Errno::NXIO));
    drop(reader);
    assert_eq!(opened(), Err(Errno::NXIO));
}
