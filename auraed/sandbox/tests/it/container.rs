//! What a container finds, and how it ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use auraed_sandbox::{
    Mount, MountKind, Propagation, RunState, Sandbox, SandboxEvent, StartError, Tmpfs, User, read_exit_record,
};

use crate::support::{Fixture, code, event, exit_of};

#[tokio::test]
async fn a_container_prints_and_exits() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let spec = fixture.script("main", "echo hello; echo oops >&2; printf end; exit 7");
    let started = sandbox.start_container(spec).await.unwrap();
    assert!(matches!(started.state, RunState::Running { .. }));
    let run = exit_of(&mut events, "main").await;
    assert_eq!(code(&run.state), (7, 0));
    assert_eq!((run.attempt, run.id.as_str()), (0, "id-of-main"));
    assert_eq!(fixture.output("main", "stdout"), "hello\nend\n");
    assert_eq!(fixture.output("main", "stderr"), "oops\n");
    let recorded = read_exit_record(&fixture.path("state/main/0/exit.json")).unwrap();
    assert_eq!(recorded, Some(run));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn signals_and_kills_are_told_apart_from_exits() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    sandbox
        .start_container(fixture.script("polite", "trap 'exit 3' TERM; while :; do sleep 0.01; done"))
        .await
        .unwrap();
    sandbox
        .start_container(fixture.script("deaf", "trap '' TERM; echo; while :; do sleep 1; done"))
        .await
        .unwrap();
    // The trap may not be set yet: only then is the signal without effect, so that it is sent again.
    let polite = exit_of(&mut events, "polite");
    let polite = tokio::select! {
        run = polite => run,
        () = async { loop { let _ = sandbox.signal("polite", libc::SIGTERM).await; } } => unreachable!(),
    };
    assert_eq!(code(&polite.state), (3, 0));
    sandbox.signal("deaf", libc::SIGTERM).await.unwrap();
    sandbox.kill("deaf").await.unwrap();
    assert_eq!(code(&exit_of(&mut events, "deaf").await.state), (137, 9));
    assert!(sandbox.signal("deaf", libc::SIGTERM).await.is_err());
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn what_cannot_start_says_why_and_leaves_nothing() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let refuse = async |args: &[&str]| match sandbox.start_container(fixture.container("main", args)).await {
        Err(StartError::Refused(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refuse(&["nope"]).await,
        r#"exec: "nope": executable file not found in $PATH"#
    );
    assert_eq!(
        refuse(&["/nope"]).await,
        r#"exec: "/nope": stat /nope: no such file or directory"#
    );
    assert_eq!(
        refuse(&["/etc/passwd"]).await,
        r#"exec: "/etc/passwd": permission denied"#
    );
    let mut spec = fixture.container("main", &["true"]);
    spec.user = User {
        name: "nobody".to_owned(),
        ..User::default()
    };
    let error = sandbox.start_container(spec).await.unwrap_err();
    assert!(
        matches!(&error, StartError::Refused(text) if text.contains("unable to find user nobody")),
        "{error}"
    );
    // The same attempt can still be made, and its overlay is not in the way.
    let spec = fixture.container("main", &["true"]);
    sandbox.start_container(spec).await.unwrap();
    assert_eq!(code(&exit_of(&mut events, "main").await.state), (0, 0));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_name_runs_once_at_a_time_and_again_after_its_end() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let first = sandbox
        .start_container(fixture.script("main", "sleep 1000"))
        .await
        .unwrap();
    // The same once more is the same.
    let mut again = fixture.script("main", "sleep 1000");
    again.attempt = 0;
    assert_eq!(sandbox.start_container(again).await.unwrap(), first);
    let mut other = fixture.script("main", "true");
    (other.attempt, other.id) = (1, "another".to_owned());
    assert!(matches!(
        sandbox.start_container(other.clone()).await,
        Err(StartError::Sandbox(_))
    ));
    sandbox.kill("main").await.unwrap();
    exit_of(&mut events, "main").await;
    other.rootfs.upper = fixture.path("state/main/1/upper");
    other.rootfs.work = fixture.path("state/main/1/work");
    sandbox.start_container(other).await.unwrap();
    let run = exit_of(&mut events, "main").await;
    assert_eq!((run.attempt, code(&run.state)), (1, (0, 0)));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn environment_directory_and_hostname_are_as_asked() {
    let fixture = Fixture::new();
    let adjust = |spec: &mut auraed_sandbox::ContainerSpec| {
        spec.cwd = "/made/for/it".to_owned();
        spec.env.extend(["A=1".to_owned(), "A=2".to_owned()]);
    };
    let script = "pwd; hostname; echo $A $HOME $HOSTNAME; cat /proc/sys/kernel/hostname; umask; cat /proc/1/comm; true";
    let (output, _) = fixture.run(adjust, script).await;
    assert_eq!(
        output,
        "/made/for/it\npod-host\n2 /root pod-host\npod-host\n0022\nsh\n"
    );
}

#[tokio::test]
async fn open_files_are_limited_softly_whatever_the_daemon_has_raised() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut raised = getrlimit(Resource::Nofile);
    raised.current = raised.maximum;
    setrlimit(Resource::Nofile, raised).unwrap();
    let (output, _) = Fixture::new().run(|_| (), "ulimit -Sn; ulimit -Hn").await;
    let hard = raised
        .maximum
        .map_or("unlimited".to_owned(), |most| most.to_string());
    assert_eq!(output, format!("1024\n{hard}\n"));
}

#[tokio::test]
async fn users_are_names_or_numbers_with_their_groups() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    for (number, (user, expected)) in [
        (
            User {
                name: "web".to_owned(),
                ..User::default()
            },
            "uid=1000(web) gid=1001(web) groups=1001(web),2000(logs)",
        ),
        (
            User {
                name: "1000:0".to_owned(),
                additional_groups: vec![5000],
                ..User::default()
            },
            "uid=1000(web) gid=0(root) groups=0(root),2000(logs),5000",
        ),
        (
            User {
                name: "77".to_owned(),
                group: Some(88),
                ..User::default()
            },
            "uid=77 gid=88 groups=88",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user{number}");
        let mut spec = fixture.script(&name, "id; echo again > /dev/stdout");
        spec.user = user;
        sandbox.start_container(spec).await.unwrap();
        exit_of(&mut events, &name).await;
        let output = fixture.output(&name, "stdout");
        assert_eq!(
            output,
            format!("{expected}\nagain\n"),
            "{}",
            fixture.output(&name, "stderr")
        );
    }
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn devices_and_trees_are_there() {
    let fixture = Fixture::new();
    let script = "
        for device in null zero full random urandom tty; do test -c /dev/$device || echo no $device; done
        for link in /dev/fd /dev/stdin /dev/ptmx; do readlink $link; done
        for type in /dev/pts /dev/shm /dev/mqueue /sys /proc /sys/fs/cgroup; do grep -q \" $type \" /proc/self/mounts || echo no $type; done
        echo x > /dev/shm/x && echo x > /dev/null && head -c 2 /dev/zero | wc -c
        ls /sys/class/net
        ls /sys/fs/cgroup/ | wc -l | grep -qv '^0$' && echo cgroup";
    let (output, _) = fixture.run(|_| (), script).await;
    assert_eq!(
        output,
        "/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n2\nlo\ncgroup\n"
    );
}

#[tokio::test]
async fn the_loopback_is_up_and_sysctls_are_set() {
    let fixture = Fixture::new();
    let mut pod = fixture.pod();
    pod.sysctls = vec![("net.ipv4.ip_unprivileged_port_start".to_owned(), "80".to_owned())];
    let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    let script = "ip link show lo | grep -o ,UP,; cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
    sandbox
        .start_container(fixture.script("main", script))
        .await
        .unwrap();
    exit_of(&mut events, "main").await;
    assert_eq!(fixture.output("main", "stdout"), ",UP,\n80\n");
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn volumes_in_memory_are_shared_by_the_pods_containers_and_by_nobody_else() {
    let fixture = Fixture::new();
    let mut pod = fixture.pod();
    pod.tmpfs = vec![Tmpfs {
        name: "shared".to_owned(),
        size_bytes: Some(1 << 20),
        mode: 0o2770,
        gid: Some(2000),
    }];
    let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    let volume = sandbox.tmpfs_path("shared");
    let mount = |sub_path: &str| Mount {
        source: volume.clone(),
        sub_path: sub_path.to_owned(),
        target: "/data".to_owned(),
        ..Mount::default()
    };
    let mut writer = fixture.script(
        "writer",
        "stat -c '%a %g' /data; mkdir /data/part; echo seen > /data/part/file",
    );
    writer.mounts = vec![mount("")];
    sandbox.start_container(writer).await.unwrap();
    exit_of(&mut events, "writer").await;
    assert_eq!(fixture.output("writer", "stdout"), "2770 2000\n");
    let mut reader = fixture.script(
        "reader",
        "cat /data/file; dd if=/dev/zero of=/data/big bs=1M count=2 2>/dev/null; echo $?",
    );
    reader.mounts = vec![mount("part")];
    sandbox.start_container(reader).await.unwrap();
    exit_of(&mut events, "reader").await;
    assert_eq!(fixture.output("reader", "stdout"), "seen\n1\n");
    assert_eq!(
        fs_err::read_dir(&volume).unwrap().count(),
        0,
        "the host sees the volume's content"
    );
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn mounts_are_as_asked() {
    let fixture = Fixture::new();
    fs_err::create_dir_all(fixture.path("volume/sub")).unwrap();
    fs_err::write(fixture.path("volume/file"), "content\n").unwrap();
    let adjust = |spec: &mut auraed_sandbox::ContainerSpec| {
        let bind = |source: &str, target: &str, read_only| Mount {
            source: fixture.path(source),
            target: target.to_owned(),
            read_only,
            ..Mount::default()
        };
        spec.mounts = vec![
            bind("volume", "/rw/deep", false),
            bind("volume", "/ro", true),
            bind("volume/file", "/etc/file", true),
            Mount {
                target: "/memory".to_owned(),
                kind: MountKind::Tmpfs {
                    size_bytes: Some(4096),
                    mode: 0o711,
                },
                ..Mount::default()
            },
        ];
    };
    let script = "
        cat /etc/file; echo new > /rw/deep/new; cat /ro/new
        touch /ro/x 2>/dev/null || echo read-only
        echo x 2>/dev/null > /etc/file || echo read-only
        stat -c %a /memory";
    let (output, _) = fixture.run(adjust, script).await;
    assert_eq!(output, "content\nnew\nread-only\nread-only\n711\n");
    assert_eq!(
        fs_err::read_to_string(fixture.path("volume/new")).unwrap(),
        "new\n"
    );
}

#[tokio::test]
async fn containers_share_pids_when_asked() {
    let fixture = Fixture::new();
    let mut pod = fixture.pod();
    pod.share_pid = true;
    let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    sandbox
        .start_container(fixture.script("first", "sleep 1000 & sleep 2000 & wait"))
        .await
        .unwrap();
    let script = "cat /proc/1/comm; until test $(cat /proc/[0-9]*/comm | grep -c sleep) = 2; do :; done; echo both; \
                  ls /proc/1/root 2>/dev/null; echo $?";
    let mut spec = fixture.script("second", script);
    spec.capabilities = auraed_sandbox::Capabilities::default_with(&["SYS_PTRACE".to_owned()], &[]).unwrap();
    sandbox.start_container(spec).await.unwrap();
    exit_of(&mut events, "second").await;
    // The first process's root is empty, so there is nothing to see of the host even for who may look.
    assert_eq!(fixture.output("second", "stdout"), "pause\nboth\n0\n");
    sandbox.kill("first").await.unwrap();
    assert_eq!(code(&exit_of(&mut events, "first").await.state), (137, 9));
    // All of the first one's processes have ended with it.
    sandbox
        .start_container(fixture.script("third", "until ! grep -q sleep /proc/[0-9]*/comm; do :; done"))
        .await
        .unwrap();
    assert_eq!(code(&exit_of(&mut events, "third").await.state), (0, 0));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn the_hosts_namespaces_can_be_used() {
    let fixture = Fixture::new();
    let mut pod = fixture.pod();
    pod.network = auraed_sandbox::NetworkNamespace::Host;
    pod.hostname = String::new();
    (pod.host_pid, pod.host_ipc) = (true, true);
    let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    let script = "for ns in net pid ipc uts mnt; do readlink /proc/self/ns/$ns; done; sleep 1000 & exit 0";
    sandbox
        .start_container(fixture.script("main", script))
        .await
        .unwrap();
    assert_eq!(code(&exit_of(&mut events, "main").await.state), (0, 0));
    let output = fixture.output("main", "stdout");
    for (kind, line) in ["net", "pid", "ipc", "uts", "mnt"]
        .into_iter()
        .zip(output.lines())
    {
        let own = fs_err::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_eq!(own.to_str() == Some(line), kind != "mnt", "{kind}");
    }
    fixture.finish(sandbox).await;
}

/// A mount that others can share, gone after the test.
struct SharedMount(std::path::PathBuf);

impl SharedMount {
    fn new(path: std::path::PathBuf) -> Self {
        fs_err::create_dir_all(&path).unwrap();
        let mount = |arguments: &[&str]| {
            assert!(
                std::process::Command::new("mount")
                    .args(arguments)
                    .arg(&path)
                    .status()
                    .unwrap()
                    .success()
            );
        };
        mount(&["-t", "tmpfs", "tmpfs"]);
        mount(&["--make-shared"]);
        Self(path)
    }
}

impl Drop for SharedMount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .args(["--recursive", "--lazy"])
            .arg(&self.0)
            .status();
    }
}

#[tokio::test]
async fn later_mounts_are_seen_as_asked() {
    let fixture = Fixture::new();
    let shared = SharedMount::new(fixture.path("shared"));
    let (sandbox, mut events) = fixture.sandbox().await;
    let bind = |propagation| Mount {
        source: shared.0.clone(),
        target: "/shared".to_owned(),
        propagation,
        ..Mount::default()
    };
    let wait = "until test -e /shared/made/file; do :; done; echo seen";
    let mut follower = fixture.script("follower", wait);
    follower.mounts = vec![bind(Propagation::HostToContainer)];
    sandbox.start_container(follower).await.unwrap();
    let mut loner = fixture.script("loner", "read line; test -e /shared/made/file || echo unseen");
    loner.stdin = true;
    loner.mounts = vec![bind(Propagation::Private)];
    sandbox.start_container(loner).await.unwrap();
    let mut maker = fixture.script(
        "maker",
        "mkdir /shared/made; mount -t tmpfs t /shared/made; touch /shared/made/file",
    );
    maker.privileged = true;
    maker.mounts = vec![bind(Propagation::Bidirectional)];
    sandbox.start_container(maker).await.unwrap();
    // In whatever order.
    let mut exits = Vec::new();
    while exits.len() < 2 {
        if let SandboxEvent::Exited(run) = event(&mut events).await {
            assert_eq!(code(&run.state), (0, 0), "{}", run.name);
            exits.push(run.name);
        }
    }
    assert!(shared.0.join("made/file").exists(), "the host does not see it");
    sandbox.close_stdin("loner").await.unwrap();
    exit_of(&mut events, "loner").await;
    assert_eq!(fixture.output("follower", "stdout"), "seen\n");
    assert_eq!(fixture.output("loner", "stdout"), "unseen\n");
    drop(shared);
    fixture.finish(sandbox).await;
}
