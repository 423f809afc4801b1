//! Log files while they are written.

use auraed_sandbox::SandboxEvent;

use crate::support::{Fixture, event};

#[tokio::test]
async fn rotation_under_load_loses_no_line() {
    const LINES: usize = 200_000;
    let fixture = Fixture::with_logs(200_000, 1_000);
    let (sandbox, mut events) = fixture.sandbox().await;
    sandbox
        .start_container(fixture.script("main", &format!("seq 1 {LINES}")))
        .await
        .unwrap();
    let mut rotations = 0;
    loop {
        match event(&mut events).await {
            SandboxEvent::Exited(_) => break,
            SandboxEvent::LogRotated { container } => {
                assert_eq!(container, "main");
                rotations += 1;
            }
            SandboxEvent::Started(_) => {}
        }
    }
    assert!(rotations > 10, "{rotations}");
    let mut files: Vec<_> = fs_err::read_dir(fixture.path("logs/main"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.rotate_left(1);
    let text: String = files
        .iter()
        .map(|file| fs_err::read_to_string(file).unwrap())
        .collect();
    let numbers: Vec<usize> = text
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(numbers.iter().copied().eq(1..=LINES), "{} lines", numbers.len());
    assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 200_000));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn the_last_bytes_are_logged_and_the_end_waits_for_nobody() {
    let fixture = Fixture::new();
    // A pipe's worth at the very end, and a grandchild that holds the pipe open.
    let script = "sleep 1000 & head -c 60000 /dev/zero | tr '\\0' x; echo; exit 0";
    let (output, _) = fixture.run(|_| (), script).await;
    assert_eq!(
        output.chars().filter(|&character| character == 'x').count(),
        60_000
    );
}

#[tokio::test]
async fn a_log_that_was_moved_away_is_begun_anew() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", "echo before; read line; echo after");
    spec.stdin = true;
    sandbox.start_container(spec).await.unwrap();
    let log = fixture.path("logs/main/0.log");
    crate::support::wait_until(|| log.metadata().is_ok_and(|log| log.len() > 0));
    fs_err::rename(&log, fixture.path("logs/main/0.log.old")).unwrap();
    sandbox.reopen_log("main").await.unwrap();
    sandbox.close_stdin("main").await.unwrap();
    crate::support::exit_of(&mut events, "main").await;
    assert_eq!(fixture.output("main", "stdout"), "after\n");
    fixture.finish(sandbox).await;
}
