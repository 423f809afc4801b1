//! Programs beside a container's own, and clients of its streams.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::fd::OwnedFd;

use auraed_sandbox::{Error, Exec, ExecSpec, Sandbox, TerminalSize, User};
use tokio::net::unix::pipe;

use crate::support::{Fixture, PATIENCE, exit_of, wait_until};

fn spec(args: &[&str]) -> ExecSpec {
    ExecSpec {
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        ..ExecSpec::default()
    }
}

/// Reads a pipe to its end.
async fn read_all(source: OwnedFd) -> String {
    let mut text = Vec::new();
    let receiver = pipe::Receiver::from_owned_fd(source).unwrap();
    let mut chunk = [0; 4096];
    loop {
        tokio::time::timeout(PATIENCE, receiver.readable())
            .await
            .expect("nothing to read")
            .unwrap();
        match receiver.try_read(&mut chunk) {
            Ok(0) => return String::from_utf8(text).unwrap(),
            Ok(count) => text.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads a terminal until its last user has closed it.
async fn read_terminal(terminal: &OwnedFd, mut until: impl FnMut(&str) -> bool) -> String {
    let mut text = String::new();
    let mut chunk = [0; 4096];
    let begin = std::time::Instant::now();
    while !until(&text) {
        assert!(begin.elapsed() < PATIENCE, "{text}");
        match rustix::io::read(terminal, &mut chunk) {
            Ok(count) => text.push_str(std::str::from_utf8(&chunk[..count]).unwrap()),
            Err(rustix::io::Errno::AGAIN) => tokio::task::yield_now().await,
            Err(rustix::io::Errno::IO) => break,
            Err(error) => panic!("{error}"),
        }
    }
    text
}

async fn output_of(mut exec: Exec) -> (String, String, i32) {
    let stdout = read_all(exec.stdout.try_clone().unwrap()).await;
    let stderr = read_all(exec.stderr.take().unwrap()).await;
    let code = tokio::time::timeout(PATIENCE, exec.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(exec.wait().await.unwrap(), code);
    (stdout, stderr, code)
}

async fn sleeper(fixture: &Fixture) -> Sandbox {
    let (sandbox, _) = fixture.sandbox().await;
    let main = fixture.script("main", "cd /tmp; sleep 1000");
    let run = sandbox.start_container(main).await.unwrap();
    // The shell takes a moment to become what it is to run.
    let program = format!("/proc/{}/comm", run.pid.unwrap());
    wait_until(|| fs_err::read_to_string(&program).unwrap() == "sleep\n");
    sandbox
}

#[tokio::test]
async fn a_program_runs_in_the_container_with_its_streams() {
    let fixture = Fixture::new();
    let sandbox = sleeper(&fixture).await;
    let script =
        "cat; echo oops >&2; hostname; cat /proc/1/cmdline | tr '\\0' ' '; test -e /etc/os-release; exit 9";
    let mut exec = sandbox
        .exec(
            "main",
            ExecSpec {
                stdin: true,
                ..spec(&["sh", "-c", script])
            },
        )
        .await
        .unwrap();
    let input = exec.stdin.take().unwrap();
    rustix::io::write(&input, b"from outside\n").unwrap();
    drop(input);
    let (stdout, stderr, code) = output_of(exec).await;
    assert_eq!(stdout, "from outside\npod-host\nsleep 1000 ");
    assert_eq!((stderr.as_str(), code), ("oops\n", 9));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_program_has_the_containers_limits_or_fewer() {
    let fixture = Fixture::new();
    let (sandbox, _) = fixture.sandbox().await;
    let mut main = fixture.script("main", "sleep 1000");
    main.no_new_privileges = true;
    main.env.push("WHO=main".to_owned());
    main.oom_score_adj = 321;
    sandbox.start_container(main).await.unwrap();
    let script = "grep -E 'CapBnd|CapEff|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/self/cgroup > /tmp/mine; \
                  cat /proc/1/cgroup | diff - /tmp/mine 2>/dev/null; id -u; echo $WHO; unshare -m true; echo $?; \
                  cat /proc/self/oom_score_adj";
    let exec = sandbox
        .exec(
            "main",
            ExecSpec {
                user: Some(User {
                    name: "web".to_owned(),
                    ..User::default()
                }),
                env: vec!["WHO=exec".to_owned()],
                ..spec(&["sh", "-c", script])
            },
        )
        .await
        .unwrap();
    let (stdout, ..) = output_of(exec).await;
    let expected = "CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\n1000\nexec\n1\n321\n";
    assert_eq!(stdout, expected);
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let fixture = Fixture::new();
    let sandbox = sleeper(&fixture).await;
    let error = sandbox.exec("main", spec(&["nope"])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"exec: "nope": executable file not found in $PATH"#
    );
    let error = sandbox.exec("other", spec(&["true"])).await.unwrap_err();
    assert!(matches!(error, Error::NotRunning));
    let exec = ExecSpec {
        cwd: Some("/proc/self/fd/3".to_owned()),
        ..spec(&["pwd"])
    };
    assert!(matches!(
        sandbox.exec("main", exec).await.unwrap_err(),
        Error::Refused(_)
    ));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_terminal_is_one_and_has_its_size() {
    let fixture = Fixture::new();
    let sandbox = sleeper(&fixture).await;
    let script =
        "tty; stty size; read line; echo got $line; stty size; cat /proc/self/status | grep -c x; exit 4";
    let exec = ExecSpec {
        stdin: true,
        terminal: Some(TerminalSize {
            columns: 100,
            rows: 30,
        }),
        ..spec(&["sh", "-c", script])
    };
    let mut exec = sandbox.exec("main", exec).await.unwrap();
    let first = read_terminal(&exec.stdout, |text| text.contains("30 100")).await;
    assert!(first.starts_with("/dev/pts/0\r\n"), "{first}");
    exec.resize(TerminalSize {
        columns: 50,
        rows: 20,
    })
    .unwrap();
    rustix::io::write(exec.stdin.as_ref().unwrap(), b"typed\n").unwrap();
    let rest = read_terminal(&exec.stdout, |_| false).await;
    assert!(rest.contains("got typed\r\n20 50\r\n"), "{rest}");
    assert_eq!(exec.wait().await.unwrap(), 4);
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_program_can_be_signalled_and_ends_with_its_container() {
    let fixture = Fixture::new();
    let sandbox = sleeper(&fixture).await;
    let mut exec = sandbox.exec("main", spec(&["sleep", "1000"])).await.unwrap();
    exec.signal(libc::SIGKILL).await.unwrap();
    assert_eq!(exec.wait().await.unwrap(), 137);
    assert!(exec.signal(libc::SIGKILL).await.is_err());
    let mut exec = sandbox.exec("main", spec(&["sleep", "1000"])).await.unwrap();
    sandbox.kill("main").await.unwrap();
    assert_eq!(exec.wait().await.unwrap(), 137);
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_program_is_killed_with_what_it_started() {
    let fixture = Fixture::new();
    let sandbox = sleeper(&fixture).await;
    let script = "sleep 4321 & sleep 4321 & echo started; wait";
    let mut exec = sandbox.exec("main", spec(&["sh", "-c", script])).await.unwrap();
    let stdout = pipe::Receiver::from_owned_fd(exec.stdout.try_clone().unwrap()).unwrap();
    tokio::time::timeout(PATIENCE, stdout.readable())
        .await
        .unwrap()
        .unwrap();
    exec.kill().await.unwrap();
    assert_eq!(exec.wait().await.unwrap(), 137);
    // The pipe ends with the last that holds it.
    assert_eq!(read_all(exec.stdout).await, "started\n");
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn many_programs_run_beside_each_other() {
    let fixture = Fixture::new();
    let sandbox = sleeper(&fixture).await;
    let runs = (0..20).map(|number| {
        let sandbox = sandbox.clone();
        async move {
            let exec = sandbox
                .exec(
                    "main",
                    spec(&["sh", "-c", &format!("echo {number}; exit {number}")]),
                )
                .await
                .unwrap();
            assert_eq!(
                output_of(exec).await,
                (format!("{number}\n"), String::new(), number)
            );
        }
    });
    futures_util::future::join_all(runs).await;
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn clients_attach_to_the_containers_own_streams() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", "while read line; do echo got $line; done; echo end");
    spec.stdin = true;
    sandbox.start_container(spec).await.unwrap();
    let first = sandbox.attach("main", true).await.unwrap();
    let second = sandbox.attach("main", true).await.unwrap();
    rustix::io::write(first.stdin.as_ref().unwrap(), b"one\n").unwrap();
    rustix::io::write(second.stdin.as_ref().unwrap(), b"two\n").unwrap();
    drop((first.stdin, second.stdin));
    sandbox.close_stdin("main").await.unwrap();
    assert_eq!(read_all(first.stdout).await, "got one\ngot two\nend\n");
    assert_eq!(read_all(second.stdout).await, "got one\ngot two\nend\n");
    assert_eq!(read_all(first.stderr.unwrap()).await, "");
    exit_of(&mut events, "main").await;
    assert_eq!(fixture.output("main", "stdout"), "got one\ngot two\nend\n");
    assert!(sandbox.attach("main", true).await.is_err());
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_containers_own_terminal_is_logged_and_attached_to() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script(
        "main",
        "tty; test -c /dev/console && read line; stty size; echo got $line",
    );
    (spec.tty, spec.stdin) = (true, true);
    sandbox.start_container(spec).await.unwrap();
    sandbox
        .resize(
            "main",
            TerminalSize {
                columns: 77,
                rows: 22,
            },
        )
        .await
        .unwrap();
    let client = sandbox.attach("main", true).await.unwrap();
    assert!(client.stderr.is_none());
    rustix::io::write(client.stdin.as_ref().unwrap(), b"typed\n").unwrap();
    exit_of(&mut events, "main").await;
    let output = fixture.output("main", "stdout").replace('\r', "");
    assert!(
        output.contains("/dev/pts/0\n") && output.ends_with("22 77\ngot typed\n"),
        "{output}"
    );
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", "read line; seq 1 400000; echo end");
    spec.stdin = true;
    sandbox.start_container(spec).await.unwrap();
    let client = sandbox.attach("main", true).await.unwrap();
    rustix::io::write(client.stdin.as_ref().unwrap(), b"go\n").unwrap();
    exit_of(&mut events, "main").await;
    assert!(fixture.output("main", "stdout").ends_with("400000\nend\n"));
    assert!(!read_all(client.stdout).await.ends_with("end\n"));
    fixture.finish(sandbox).await;
}
