use super::*;
use std::io::Write;
use tempfile::TempDir;

struct Log {
    directory: TempDir,
    path: PathBuf,
    written: u64,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        Self {
            directory,
            path,
            written: 0,
        }
    }

    /// Writes numbered lines, one a second since 1970.
    fn write(&mut self, count: u64) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .unwrap();
        for _ in 0..count {
            let time = Timestamp::from_second(i64::try_from(self.written).unwrap()).unwrap();
            writeln!(file, "{time} stdout F line {}", self.written).unwrap();
            self.written += 1;
        }
    }

    fn append(&self, text: &[u8]) {
        File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .unwrap()
            .write_all(text)
            .unwrap();
    }

    fn rotate(&self, suffix: &str) {
        fs_err::rename(&self.path, self.directory.path().join(format!("0.log.{suffix}"))).unwrap();
    }

    fn open(&self, selection: Selection) -> Reader {
        Reader::open(self.path.clone(), &selection).unwrap()
    }
}

fn drain(reader: &mut Reader, last: bool) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let batch = reader.read(last).unwrap();
        lines.extend(
            batch
                .lines
                .into_iter()
                .map(|line| String::from_utf8(line.content).unwrap()),
        );
        if batch.progress != Progress::More {
            return lines;
        }
    }
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

#[test]
fn rotated_files_come_first_and_in_order() {
    let mut log = Log::new();
    log.write(3);
    log.rotate("20260101-000000");
    log.write(3);
    log.rotate("20260102-000000");
    log.write(3);
    fs_err::write(log.directory.path().join("0.log.20250101-000000.gz"), "not text").unwrap();
    fs_err::write(
        log.directory.path().join("10.log"),
        "2016-10-06T00:17:09Z stdout F other\n",
    )
    .unwrap();
    assert_eq!(drain(&mut log.open(Selection::default()), true), numbers(0..9));
}

#[test]
fn no_file_is_an_empty_log_until_there_is_one() {
    let mut log = Log::new();
    let mut reader = log.open(Selection::default());
    assert_eq!(drain(&mut reader, false), numbers(0..0));
    log.write(2);
    assert_eq!(drain(&mut reader, false), numbers(0..2));
}

#[test]
fn a_missing_directory_is_an_empty_log() {
    let mut reader = Reader::open("/nonexistent/0.log".into(), &Selection::default()).unwrap();
    assert_eq!(drain(&mut reader, true), numbers(0..0));
}

#[test]
fn every_line_is_followed_over_rotations() {
    let mut log = Log::new();
    let mut reader = log.open(Selection::default());
    let mut seen = Vec::new();
    for round in 0..20 {
        log.write(5);
        // Read to the end of the file, then more is written to it before it is moved away.
        seen.extend(drain(&mut reader, false));
        log.write(2);
        log.rotate(&format!("2026-{round:04}"));
        if round % 3 == 0 {
            log.write(1);
            log.rotate(&format!("2026-{round:04}b"));
        }
        if round % 2 == 0 {
            log.write(1);
            seen.extend(drain(&mut reader, false));
        }
    }
    log.write(1);
    seen.extend(drain(&mut reader, false));
    assert_eq!(seen, numbers(0..log.written));
}

#[test]
fn a_file_that_was_deleted_is_passed_over() {
    let mut log = Log::new();
    log.write(2);
    let mut reader = log.open(Selection::default());
    assert_eq!(drain(&mut reader, false), numbers(0..2));
    log.rotate("1");
    fs_err::remove_file(log.directory.path().join("0.log.1")).unwrap();
    log.write(2);
    assert_eq!(drain(&mut reader, false), numbers(2..4));
}

#[test]
fn the_tail_reaches_back_over_blocks_and_files() {
    let mut log = Log::new();
    log.write(5000);
    log.rotate("1");
    log.write(5000);
    for wanted in [0, 1, 7, 4999, 5000, 5001, 9999, 10_000, 10_001] {
        let tail = Selection {
            tail: Some(wanted),
            ..Selection::default()
        };
        let from = log.written.saturating_sub(wanted);
        assert_eq!(
            drain(&mut log.open(tail), true),
            numbers(from..log.written),
            "{wanted}"
        );
    }
}

#[test]
fn a_tail_of_nothing_follows_what_comes() {
    let mut log = Log::new();
    log.write(3);
    let mut reader = log.open(Selection {
        tail: Some(0),
        ..Selection::default()
    });
    assert_eq!(drain(&mut reader, false), numbers(0..0));
    log.write(1);
    assert_eq!(drain(&mut reader, false), numbers(3..4));
}

#[test]
fn earlier_lines_than_wanted_are_left_out() {
    let mut log = Log::new();
    log.write(10);
    let since = Some(Timestamp::from_second(7).unwrap());
    assert_eq!(
        drain(
            &mut log.open(Selection {
                since,
                ..Selection::default()
            }),
            true
        ),
        numbers(7..10)
    );
    let selection = Selection {
        since,
        tail: Some(5),
        limit: None,
    };
    assert_eq!(drain(&mut log.open(selection), true), numbers(7..10));
}

#[test]
fn bytes_are_limited_exactly() {
    let mut log = Log::new();
    log.write(10);
    let mut reader = log.open(Selection {
        limit: Some(15),
        ..Selection::default()
    });
    assert_eq!(drain(&mut reader, true), ["line 0", "line 1", "lin"]);
    assert_eq!(reader.read(true).unwrap().progress, Progress::Limit);
    let mut none = log.open(Selection {
        limit: Some(0),
        ..Selection::default()
    });
    assert_eq!(drain(&mut none, true), numbers(0..0));
}

#[test]
fn a_line_that_is_being_written_waits_for_its_end() {
    let log = Log::new();
    log.append(b"2016-10-06T00:17:09Z stdout F one\n2016-10-06T00:17:09Z stdout F tw");
    let mut reader = log.open(Selection::default());
    assert_eq!(drain(&mut reader, false), ["one"]);
    log.append(b"o\n");
    assert_eq!(drain(&mut reader, false), ["two"]);
    log.append(b"2016-10-06T00:17:09Z stdout F last");
    assert_eq!(drain(&mut reader, false), numbers(0..0));
    assert_eq!(drain(&mut reader, true), ["last"]);
}

#[test]
fn what_is_no_line_is_left_out() {
    let log = Log::new();
    log.append(b"\0\0\0\n2016-10-06T00:17:09Z stdout F one\ngarbage\n2016-10-06T00:17:09Z stderr P two\n");
    assert_eq!(drain(&mut log.open(Selection::default()), true), ["one", "two"]);
}

#[test]
fn a_line_without_end_takes_bounded_memory() {
    let log = Log::new();
    log.append(&vec![b'x'; 3 * LONGEST_LINE]);
    log.append(b"\n2016-10-06T00:17:09Z stdout F after\n");
    let mut reader = log.open(Selection::default());
    assert_eq!(drain(&mut reader, true), ["after"]);
    assert!(reader.open.unwrap().rest.capacity() <= 2 * LONGEST_LINE + 2 * CHUNK);
}
