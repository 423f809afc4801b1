//! Wrong input and a wrong environment end with a message that says what is wrong, and a non-zero exit: never a panic,
//! never silence, never a daemon that half works.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::node::{Node, Options};
use e2e::process::MARK;
use e2e::suite::{Ground, PATIENCE, ground, on_cluster, on_ground};
use e2e::{home, wait};

/// Runs a command that has to fail, and gives what it said.
fn refused(command: &mut Command, words: &[&str]) -> anyhow::Result<String> {
    let output = ended(command)?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(!output.status.success(), "{command:?} succeeded: {said}");
    ensure!(
        output.status.code().is_some_and(|code| code != 101),
        "{command:?} panicked ({}): {said}",
        output.status
    );
    for word in words {
        ensure!(said.contains(word), "{command:?} does not say {word:?}: {said}");
    }
    Ok(said)
}

/// Runs a command that has to end by itself. It says little: nobody reads before its end.
fn ended(command: &mut Command) -> anyhow::Result<std::process::Output> {
    let mut child = command
        .env(MARK, ground().scratch.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            let output = child.wait_with_output()?;
            anyhow::bail!(
                "{command:?} still ran after {PATIENCE:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(child.wait_with_output()?)
}

/// auraed in the run's namespace, with everything of its own below `directory`.
fn auraed(ground: &Ground, directory: &Path) -> anyhow::Result<Command> {
    let mut command = ground.network.command(home::product("auraed")?);
    for (flag, below) in [
        ("--state-dir", "state"),
        ("--run-dir", "run"),
        ("--log-dir", "log"),
    ] {
        command.arg(flag).arg(directory.join(below));
    }
    command.args([
        "--cgroup-root",
        &format!("{}-bad", ground.scratch.name()),
        "--bridge",
        "bad0",
        "--table",
        "bad",
        "--pod-subnet",
        "10.89.0.0/24",
    ]);
    Ok(command)
}

fn directory(ground: &Ground, name: &str) -> anyhow::Result<std::path::PathBuf> {
    let path = ground.scratch.path().join(name);
    fs_err::create_dir_all(&path)?;
    Ok(path)
}

#[test]
fn auraed_says_what_is_wrong_with_its_configuration() {
    on_ground(
        "auraed_says_what_is_wrong_with_its_configuration",
        async |ground| {
            let place = directory(ground, "bad-config")?;
            let config = place.join("auraed.toml");
            let with = |content: &str, words: &[&str]| -> anyhow::Result<String> {
                fs_err::write(&config, content)?;
                refused(auraed(ground, &place)?.arg("--config").arg(&config), words)
            };
            with("[network]\nbrigde = \"x\"\n", &["brigde", "auraed.toml"])?;
            with("state_dir = 7\n", &["state_dir"])?;
            with("[network\n", &["auraed.toml"])?;
            refused(
                auraed(ground, &place)?.args(["--config", "/nonexistent/auraed.toml"]),
                &["/nonexistent/auraed.toml"],
            )?;
            refused(
                auraed(ground, &place)?.args(["--log-level", "lots=of=nonsense"]),
                &["lots=of=nonsense"],
            )?;
            Ok(())
        },
    );
}

#[test]
fn auraed_needs_root_and_cgroups() {
    on_ground("auraed_needs_root_and_cgroups", async |ground| {
        let place = directory(ground, "bad-rights")?;
        let program = ground.scratch.path().join("bin/auraed-for-nobody");
        fs_err::create_dir_all(ground.scratch.path().join("bin"))?;
        e2e::process::place_program(&home::product("auraed")?, &program)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&program)
            .arg("--state-dir")
            .arg(place.join("state"));
        refused(&mut command, &["root"])?;
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--",
            "sh",
            "-c",
            "umount -R -l /sys/fs/cgroup && exec \"$@\"",
            "sh",
        ]);
        let inner = auraed(ground, &place)?;
        command.arg(inner.get_program()).args(inner.get_args());
        refused(&mut command, &["cgroup"])?;
        Ok(())
    });
}

#[test]
fn a_second_daemon_is_refused() {
    on_ground("a_second_daemon_is_refused", async |ground| {
        let node = Node::start(&ground.scratch, &ground.network, Options::new("twice"))?;
        let again = || -> anyhow::Result<Command> { Ok(ground.network.command(home::product("auraed")?)) };
        let state = node.directory().join("state");
        refused(again()?.arg("--config").arg(node.config()), &[])?;
        // The same state from another run directory, and the same socket with another state.
        let place = directory(ground, "bad-second")?;
        refused(
            again()?
                .arg("--config")
                .arg(node.config())
                .arg("--run-dir")
                .arg(place.join("run")),
            &[&state.display().to_string()],
        )?;
        refused(
            auraed(ground, &place)?.arg("--socket").arg(node.socket()),
            &[&node.socket().display().to_string()],
        )?;
        node.aurae(["ps"]).context("the first daemon is disturbed")?;
        node.stop()
    });
}

#[test]
fn a_damaged_state_file_is_named_and_an_interrupted_write_is_recovered() {
    on_ground(
        "a_damaged_state_file_is_named_and_an_interrupted_write_is_recovered",
        async |ground| {
            let node = Node::start(&ground.scratch, &ground.network, Options::new("torn"))?;
            node.aurae(["pull", &e2e::registry::Registry::reference("nonroot")])?;
            node.kill_auraed();
            let state = node.directory().join("state");
            let log = state.join("aurae.db-wal");
            let content = fs_err::read(&log)?;
            // The last frame has half arrived.
            fs_err::write(&log, &content[..content.len().saturating_sub(1000)])?;
            node.start_auraed()?;
            node.aurae(["ps"])?;
            node.stop()?;
            fs_err::write(
                state.join("aurae.db"),
                "this is no database, whatever its name says".repeat(200),
            )?;
            let mut command = ground.network.command(home::product("auraed")?);
            refused(command.arg("--config").arg(node.config()), &["aurae.db"])?;
            Ok(())
        },
    );
}

#[test]
fn the_command_line_says_what_is_wrong() {
    on_ground("the_command_line_says_what_is_wrong", async |ground| {
        let node = Node::start(&ground.scratch, &ground.network, Options::new("wrong"))?;
        let file = node.directory().join("manifest.yaml");
        let file = file.to_str().context("a path")?;
        let with = |content: &str, words: &[&str]| -> anyhow::Result<String> {
            fs_err::write(file, content)?;
            refused(&mut node.aurae_command(["run", "-f", file])?, words)
        };
        with(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a\n",
            &["manifest.yaml"],
        )?;
        with(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b, commnad: [c]}]}\n",
            &["commnad"],
        )?;
        with(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n",
            &["Deployment"],
        )?;
        with(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: Not_A_Name}\nspec: {containers: [{name: a, image: b}]}\n",
            &["Not_A_Name"],
        )?;
        refused(
            &mut node.aurae_command(["run", "-f", "/nonexistent.yaml"])?,
            &["/nonexistent.yaml"],
        )?;
        refused(
            &mut node.aurae_command(["logs", "nobody-knows"])?,
            &["nobody-knows"],
        )?;
        refused(
            &mut node.aurae_command(["pull", "127.0.0.1:1/busybox:1"])?,
            &["127.0.0.1:1"],
        )?;
        refused(
            &mut node.aurae_command(["pull", "127.0.0.1:5000/none:1"])?,
            &["none"],
        )?;
        refused(
            &mut node.aurae_command(["pull", "NOT a reference"])?,
            &["NOT a reference"],
        )?;
        let broken = node.directory().join("broken.tar");
        fs_err::write(&broken, "no archive")?;
        refused(
            &mut node.aurae_command(["image", "import", broken.to_str().context("a path")?])?,
            &[],
        )?;
        node.stop()?;
        refused(&mut node.aurae_command(["ps"])?, &["aurae.sock"])?;
        Ok(())
    });
}

#[test]
fn a_full_disk_is_said_and_survived() {
    on_ground("a_full_disk_is_said_and_survived", async |ground| {
        let place = ground.scratch.path().join("full/state");
        fs_err::create_dir_all(&place)?;
        let size = "size=24m,mode=700";
        e2e::process::output(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", size, "small"])
                .arg(&place),
        )?;
        let node = Node::start(&ground.scratch, &ground.network, Options::new("full"))?;
        // 64 MB of agnhost do not fit.
        let said = refused(
            &mut node.aurae_command(["pull", &e2e::registry::Registry::reference("agnhost")])?,
            &[],
        )?;
        ensure!(
            said.contains("No space left") || said.contains("no space left") || said.contains("full"),
            "{said}"
        );
        // What did fit was given back, and the daemon works on.
        node.aurae(["pull", &e2e::registry::Registry::reference("nonroot")])?;
        let images = node.aurae(["images"])?;
        ensure!(
            images.contains("nonroot") && !images.contains("agnhost"),
            "{images}"
        );
        node.stop()
    });
}

#[test]
fn the_bridge_says_what_is_wrong() {
    on_cluster("the_bridge_says_what_is_wrong", async |test| {
        let node = &test.suite.node;
        let place = directory(ground(), "bad-bridge")?;
        let identity = node.directory().join("bridge/identity");
        let bridge = |extra: &[&str]| -> anyhow::Result<Command> {
            let mut command = node.network().command(home::product("kubelet-bridge")?);
            command
                .arg("--aurae-socket")
                .arg(node.socket())
                .arg("--aurae-identity")
                .arg(&identity)
                .arg("--cert-dir")
                .arg(&place)
                .args(extra);
            Ok(command)
        };
        refused(&mut bridge(&[])?, &["--kubeconfig", "--pod-manifest-path"])?;
        refused(&mut bridge(&["--kubeconfig", "/nonexistent"])?, &["/nonexistent"])?;
        let broken = place.join("kubeconfig");
        fs_err::write(&broken, "clusters: [{name: a, cluster: {server: ")?;
        let broken = broken.to_str().context("a path")?;
        refused(&mut bridge(&["--kubeconfig", broken])?, &[broken])?;
        refused(
            &mut bridge(&["--kubeconfig", broken, "--max-pods", "many"])?,
            &["many"],
        )?;
        // The shared node's bridge has its port.
        let kubeconfig = test.suite.cluster.kubeconfig();
        let kubeconfig = kubeconfig.to_str().context("a path")?;
        let address = node.address().to_string();
        refused(
            &mut bridge(&[
                "--kubeconfig",
                kubeconfig,
                "--hostname-override",
                "other",
                "--address",
                &address,
                "--healthz-port",
                "0",
                "--register-node=false",
            ])?,
            &["10250"],
        )?;
        Ok(())
    });
}

#[test]
fn the_bridge_waits_for_an_api_server_that_is_away() {
    on_cluster("the_bridge_waits_for_an_api_server_that_is_away", async |test| {
        let network = test.suite.node.network();
        let node = Node::start(
            test.suite.cluster.scratch(),
            network,
            Options::reserved("waiting"),
        )?;
        let kubeconfig = node.prepare_join(&test.suite.cluster)?;
        let right = fs_err::read_to_string(&kubeconfig)?;
        // Nobody listens there.
        fs_err::write(&kubeconfig, right.replace("10.99.0.10:443", "10.99.0.10:444"))?;
        node.start_bridge()?;
        let log = node.log("kubelet-bridge");
        let said = wait::blocking(PATIENCE, "it says so", || {
            Ok(fs_err::read_to_string(&log)?
                .contains("10.99.0.10:444")
                .then_some(()))
        });
        said?;
        ensure!(
            node.programs().iter().any(|(name, _)| *name == "kubelet-bridge"),
            "it gave up"
        );
        // A relay in the API server's place: now it is there.
        let relay = e2e::relay::Relay::start("10.99.0.10:444", "10.99.0.10:443").await?;
        node.ready(&test.suite.cluster).await?;
        drop(relay);
        test.kubectl.run(["delete", "node", "waiting"])?;
        node.stop()
    });
}
