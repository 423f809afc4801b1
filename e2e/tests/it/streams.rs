//! Streams as kubectl opens them: attach, port-forward, `run -it`, over WebSocket and over SPDY/3.1.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use e2e::pods;
use e2e::suite::{PATIENCE, Test, with_images};

use crate::on_cluster;

/// What kubectl speaks: WebSocket by itself, SPDY where it is told to.
const PROTOCOLS: [(&str, &str); 2] = [("websocket", "true"), ("spdy", "false")];

/// kubectl, with one of the protocols.
fn kubectl(test: &Test, websocket: &str, arguments: &[&str]) -> Command {
    let mut command = test.kubectl.command(arguments.iter().copied());
    command
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websocket)
        .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websocket);
    command
}

/// kubectl that runs with its pipes; ended when it is dropped.
struct Session {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Session {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self {
            input: child.stdin.take(),
            output,
            child,
        })
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("the input is closed")?;
        Ok(writeln!(input, "{line}")?)
    }

    /// The next line of its output.
    fn hear(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            let mut said = String::new();
            if let Some(stderr) = &mut self.child.stderr {
                stderr.read_to_string(&mut said)?;
            }
            bail!("kubectl has ended: {said}");
        }
        Ok(line.trim_end().to_owned())
    }

    /// Closes its input, and waits for its end: its exit code, and what it had left to say.
    fn finish(mut self) -> anyhow::Result<(Option<i32>, String, String)> {
        drop(self.input.take());
        let (mut out, mut err) = (String::new(), String::new());
        self.output.read_to_string(&mut out)?;
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut err)?;
        }
        Ok((self.child.wait()?.code(), out, err))
    }
}

#[test]
fn attach_passes_a_containers_own_streams() {
    on_cluster("attach_passes_a_containers_own_streams", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: echo}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    image: '@busybox'
    stdin: true
    command: [sh, -c, 'while read line; do [ $line = quit ] && exit 3; echo got $line; done']
  - {name: quiet, image: '@busybox', command: [sleep, '3600']}
",
        )?;
        test.ready("echo").await?;
        for (protocol, websocket) in PROTOCOLS {
            let attach = || {
                let arguments = ["attach", "-i", "echo", "-c", "echo", "-q"];
                Session::start(kubectl(&test, websocket, &arguments))
            };
            let (mut first, mut second) = (attach()?, attach()?);
            // Both are there when the second one's line reaches the first.
            let seen = format!("got hello over {protocol}");
            let begun = Instant::now();
            second.say(&format!("hello over {protocol}"))?;
            ensure!(second.hear()? == seen, "{protocol}");
            first.say(&format!("hello over {protocol}"))?;
            while first.hear()? != seen {
                ensure!(begun.elapsed() < PATIENCE, "{protocol}");
            }
            // With its input a client's part is over; the container's is not.
            let (code, _, err) = first.finish()?;
            ensure!(code == Some(0), "{protocol}: {code:?} {err}");
            second.say("still there")?;
            while second.hear()? != "got still there" {}
        }
        let mut last = Session::start(kubectl(
            &test,
            "true",
            &["attach", "-i", "echo", "-c", "echo", "-q"],
        ))?;
        last.say("quit")?;
        let pod = test
            .pod("echo", "its container ends", |pod| {
                pods::terminated(pod, "echo").is_some()
            })
            .await?;
        ensure!(pods::terminated(&pod, "echo").is_some_and(|end| end.exit_code == 3));
        let (code, _, err) = last.finish()?;
        // As under kubelet: being attached went well.
        ensure!(code == Some(0), "{code:?} {err}");
        Ok(())
    });
}

#[test]
fn a_pod_that_is_run_for_its_output_is_attached_to() {
    on_cluster("a_pod_that_is_run_for_its_output_is_attached_to", async |test| {
        let image = with_images("--image=@busybox");
        for (protocol, websocket) in PROTOCOLS {
            let name = format!("cat-{protocol}");
            let mut run = Session::start(kubectl(
                &test,
                websocket,
                &[
                    "run",
                    "-i",
                    "--rm",
                    "-q",
                    "--restart=Never",
                    &name,
                    &image,
                    "--",
                    "sh",
                    "-c",
                    "cat; exit 7",
                ],
            ))?;
            run.say("through and back")?;
            // Its input ends with this first client, and so does `cat`.
            let (code, out, err) = run.finish()?;
            ensure!(
                out == "through and back\n" && code == Some(7),
                "{protocol}: {code:?} {out:?} {err}"
            );
            test.gone(&name).await?;
        }
        let arguments = [
            "run",
            "-it",
            "--rm",
            "-q",
            "--restart=Never",
            "terminal",
            &image,
            "--",
            "sh",
            "-c",
            "read line; tty; stty size; exit 5",
        ];
        let mut terminal = Session::start(on_terminal(&kubectl(&test, "true", &arguments)))?;
        // The container has begun to wait for it, or will find it waiting.
        terminal.say("go")?;
        let mut seen = Vec::new();
        while !seen.iter().any(|line: &String| line.contains("/dev/")) {
            seen.push(terminal.hear()?);
        }
        let (code, rest, _) = terminal.finish()?;
        ensure!(
            code == Some(5) && rest.contains(' '),
            "{code:?} {seen:?} {rest:?}"
        );
        Ok(())
    });
}

#[test]
fn exec_over_spdy_is_the_same() {
    on_cluster("exec_over_spdy_is_the_same", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: box}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: box, image: '@busybox', command: [sleep, '3600']}
",
        )?;
        test.ready("box").await?;
        let exec = kubectl(
            &test,
            "false",
            &["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7"],
        )
        .output()?;
        ensure!(
            exec.status.code() == Some(7) && exec.stdout == b"out\n" && exec.stderr.starts_with(b"err\n"),
            "{exec:?}"
        );
        let long = "0123456789abcdef".repeat(256 * 1024);
        let mut cat = Session::start(kubectl(&test, "false", &["exec", "-i", "box", "--", "cat"]))?;
        let mut input = cat.input.take().context("no input")?;
        let writing = std::thread::spawn({
            let long = long.clone();
            move || input.write_all(long.as_bytes())
        });
        let mut echoed = String::new();
        cat.output.read_to_string(&mut echoed)?;
        writing
            .join()
            .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        ensure!(echoed == long, "{} of {} bytes", echoed.len(), long.len());
        let (code, ..) = cat.finish()?;
        ensure!(code == Some(0), "{code:?}");
        Ok(())
    });
}

/// A forwarded port, and the local one that it is at.
fn forward(test: &Test, websocket: &str, pod: &str, port: u16) -> anyhow::Result<(Session, u16)> {
    let ports = format!(":{port}");
    let arguments = ["port-forward", "--address", "127.0.0.1", pod, &ports];
    let mut session = Session::start(kubectl(test, websocket, &arguments))?;
    let line = session.hear()?;
    let local = line
        .strip_prefix("Forwarding from 127.0.0.1:")
        .and_then(|rest| rest.split(' ').next())
        .with_context(|| format!("kubectl says {line:?}"))?;
    let local = local.parse()?;
    Ok((session, local))
}

/// An answer's body.
fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("no answer in {answer:?}"))?;
    Ok(body.to_owned())
}

#[test]
fn ports_are_forwarded_for_many_at_once() {
    on_cluster("ports_are_forwarded_for_many_at_once", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: '@agnhost'
    args: [netexec, --http-port=8080]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
  - name: cat
    image: '@busybox'
    command: [nc, -ll, -p, '7000', -e, cat]
    readinessProbe: {tcpSocket: {port: 7000}, periodSeconds: 1}
",
        )?;
        test.ready("web").await?;
        for (protocol, websocket) in PROTOCOLS {
            let (session, port) = forward(&test, websocket, "web", 8080)?;
            let asking: Vec<_> = (0..12)
                .map(|number| {
                    std::thread::spawn(move || -> anyhow::Result<()> {
                        for round in 0..3 {
                            let message = format!("message-{number}-{round}");
                            let body = get(port, &format!("/echo?msg={message}"))?;
                            ensure!(body.contains(&message), "{body:?}");
                        }
                        Ok(())
                    })
                })
                .collect();
            for thread in asking {
                thread
                    .join()
                    .map_err(|_| anyhow::anyhow!("a client panicked"))?
                    .with_context(|| format!("over {protocol}"))?;
            }
            drop(session);

            let (session, port) = forward(&test, websocket, "web", 7000)?;
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let long = vec![b'x'; 4 * 1024 * 1024];
            let mut sending = stream.try_clone()?;
            let writing = std::thread::spawn({
                let long = long.clone();
                move || {
                    sending.write_all(&long)?;
                    // Each direction ends on its own.
                    sending.shutdown(std::net::Shutdown::Write)
                }
            });
            let mut echoed = Vec::new();
            stream.read_to_end(&mut echoed)?;
            writing
                .join()
                .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
            ensure!(echoed == long, "{protocol}: {} bytes came back", echoed.len());
            drop(session);
        }
        Ok(())
    });
}

#[test]
fn a_port_where_nobody_listens_is_told() {
    on_cluster("a_port_where_nobody_listens_is_told", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: deaf}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: deaf, image: '@busybox', command: [sleep, '3600']}
",
        )?;
        test.ready("deaf").await?;
        for (protocol, websocket) in PROTOCOLS {
            let (session, port) = forward(&test, websocket, "deaf", 81)?;
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut nothing = Vec::new();
            // Closed, one way or the other.
            let _ = stream.read_to_end(&mut nothing);
            ensure!(nothing.is_empty(), "{protocol}: {nothing:?}");
            let (_, _, err) = session.finish()?;
            ensure!(
                err.contains("error forwarding port 81 to pod ") && err.contains("Connection refused"),
                "{protocol}: {err}"
            );
        }
        Ok(())
    });
}

#[test]
fn streams_to_what_is_not_there_are_refused() {
    on_cluster("streams_to_what_is_not_there_are_refused", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: plain, image: '@busybox', command: [sleep, '3600']}
",
        )?;
        test.ready("plain").await?;
        for (arguments, expected) in [
            (
                &["attach", "plain", "-c", "other"][..],
                "container other is not valid for pod plain",
            ),
            (&["attach", "nobody"], "pods \"nobody\" not found"),
            (&["port-forward", "nobody", "80"], "pods \"nobody\" not found"),
        ] {
            let output = kubectl(&test, "true", arguments).stdin(Stdio::null()).output()?;
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            ensure!(
                said.contains(expected),
                "kubectl {} says {said:?}",
                arguments.join(" ")
            );
        }
        let mut terminal = Session::start(on_terminal(&kubectl(&test, "true", &["attach", "-it", "plain"])))?;
        while !terminal.hear()?.contains("container plain did not allocate one") {}
        drop(terminal);
        // A container whose input is nothing is attached to all the same.
        let mut quiet = Session::start(kubectl(&test, "true", &["attach", "plain", "-q"]))?;
        std::thread::sleep(Duration::from_millis(500));
        ensure!(quiet.child.try_wait()?.is_none(), "it ended by itself");
        Ok(())
    });
}

/// The same command on a terminal, which only a program as `script` has to give.
fn on_terminal(command: &Command) -> Command {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut wrapped = Command::new("script");
    wrapped.args(["-qec", &line.join(" "), "/dev/null"]);
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap_or_default());
    }
    wrapped
}
