//! Pods in user namespaces: root inside is nobody outside.
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::MetadataExt;

use auraed_sandbox::network::namespace;
use auraed_sandbox::{
    Capabilities, ContainerSpec, Events, ExecSpec, IdMapping, Mount, MountKind, NetworkNamespace,
    Propagation, Sandbox, SandboxSpec, Seccomp, StartError, TerminalSize, Tmpfs, User, UserNamespace,
};

use crate::support::{Fixture, code, exit_of, read_to_end, wait_until};

const FIRST: u32 = 131_072;
const LENGTH: u32 = 65_536;

fn users() -> UserNamespace {
    let range = IdMapping {
        host_id: FIRST,
        container_id: 0,
        length: LENGTH,
    };
    UserNamespace::create(&[range], &[range]).unwrap()
}

/// For tests of other things in a user namespace.
pub(crate) fn users_if_supported() -> Option<UserNamespace> {
    fixture().map(|_| users())
}

/// None where the kernel or the file system cannot do it.
fn fixture() -> Option<Fixture> {
    let fixture = Fixture::new();
    if fixture.host.user_namespaces_supported() {
        return Some(fixture);
    }
    eprintln!("skipped: no user namespaces, or no mapped mounts, on this kernel and file system");
    None
}

fn pod(fixture: &Fixture) -> SandboxSpec {
    let users = users();
    SandboxSpec {
        network: NetworkNamespace::Namespace(namespace(Some(&users)).unwrap()),
        user_namespace: Some(users),
        ..fixture.pod()
    }
}

async fn sandbox(fixture: &Fixture) -> (Sandbox, Events) {
    Sandbox::create(&fixture.host, pod(fixture)).await.unwrap()
}

/// Runs a script in a pod of its own and returns what it printed.
async fn run(fixture: &Fixture, adjust: impl FnOnce(&mut ContainerSpec), script: &str) -> String {
    let (sandbox, mut events) = sandbox(fixture).await;
    let mut spec = fixture.script("main", script);
    adjust(&mut spec);
    sandbox.start_container(spec).await.unwrap();
    let run = exit_of(&mut events, "main").await;
    let errors = fixture.output("main", "stderr");
    assert_eq!(code(&run.state), (0, 0), "{errors}");
    fixture.finish(sandbox).await;
    fixture.output("main", "stdout")
}

fn administrator(spec: &mut ContainerSpec) {
    let add = ["SYS_ADMIN".to_owned(), "NET_ADMIN".to_owned()];
    spec.capabilities = Capabilities::default_with(&add, &[]).unwrap();
    spec.seccomp = Seccomp::Unconfined;
}

#[tokio::test]
async fn root_inside_is_a_user_of_its_own_outside() {
    let Some(fixture) = fixture() else { return };
    let (sandbox, mut events) = sandbox(&fixture).await;
    let script = "
        cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '
        id -u; stat -c '%u:%g %n' / /bin/busybox /dev /dev/null /dev/pts/ptmx /dev/shm /dev/mqueue /work
        mkdir /made && touch /made/file /dev/shm/file /dev/mqueue/queue /tmp/file && stat -c '%u:%g' /made /tmp/file
        echo again > /dev/stdout; hostname; cat /proc/1/comm; read line";
    let mut spec = fixture.script("main", script);
    (spec.stdin, spec.cwd) = (true, "/work".to_owned());
    let run = sandbox.start_container(spec).await.unwrap();
    let pid = run.pid.unwrap();
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(
        status.contains(&format!("Uid:\t{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}\n")),
        "{status}"
    );
    for kind in ["user", "mnt", "net", "ipc", "uts", "cgroup"] {
        let link = |pid: &str| fs_err::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_ne!(link(&pid.to_string()), link("self"), "{kind}");
    }
    sandbox.close_stdin("main").await.unwrap();
    exit_of(&mut events, "main").await;
    let places = [
        "/",
        "/bin/busybox",
        "/dev",
        "/dev/null",
        "/dev/pts/ptmx",
        "/dev/shm",
        "/dev/mqueue",
        "/work",
    ];
    let owned: String = places.map(|place| format!("0:0 {place}\n")).concat();
    let map = format!(" 0 {FIRST} {LENGTH}\n");
    let expected = format!("{map}{map}0\n{owned}0:0\n0:0\nagain\npod-host\nsh\n");
    let output = fixture.output("main", "stdout");
    assert_eq!(output, expected, "{}", fixture.output("main", "stderr"));
    let made = fs_err::metadata(fixture.path("state/main/0/upper/made/file")).unwrap();
    assert_eq!((made.uid(), made.gid()), (FIRST, FIRST));
    let layer = fs_err::metadata(fixture.path("root/bin/busybox")).unwrap();
    assert_eq!(layer.uid(), 0, "the layer itself has changed");
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn the_pods_namespaces_are_its_roots_to_change() {
    let Some(fixture) = fixture() else { return };
    let script = "
        hostname changed && hostname
        ip link set lo down && ip link show lo | grep -q ,UP, || echo down
        mount -t tmpfs t /tmp && mount --bind /bin /root && unshare -m -n -p true && echo mounted";
    assert_eq!(
        run(&fixture, administrator, script).await,
        "changed\ndown\nmounted\n"
    );
    let Some(fixture) = self::fixture() else { return };
    // Privileged is so inside.
    let script = "
        echo 99999 > /proc/sys/kernel/shmmax && cat /proc/sys/kernel/shmmax
        echo 81 > /proc/sys/net/ipv4/ip_unprivileged_port_start && cat /proc/sys/net/ipv4/ip_unprivileged_port_start
        { echo 1 > /proc/sys/kernel/panic; } 2>/dev/null || echo host
        { echo b > /proc/sysrq-trigger; } 2>/dev/null || echo host
        mknod /tmp/device c 1 3 2>/dev/null || echo device
        test -c /dev/null && echo x > /dev/null && head -c 1 /dev/zero | wc -c";
    let output = run(&fixture, |spec| spec.privileged = true, script).await;
    assert_eq!(output, "99999\n81\nhost\nhost\ndevice\n1\n");
}

#[tokio::test]
async fn what_is_hidden_or_read_only_cannot_be_uncovered() {
    let Some(fixture) = fixture() else { return };
    let script = "
        for place in /proc/kcore /proc/keys /proc/timer_list /proc/sys /proc/bus /sys/firmware /sys /dev/null; do
            umount $place 2>/dev/null && echo $place was uncovered
        done
        for place in /proc/sys /sys /sys/fs/cgroup; do
            mount -o remount,bind,rw $place 2>/dev/null && echo $place was made writable
        done
        umount /volume 2>/dev/null && echo the volume was uncovered
        mount -o remount,bind,rw /volume 2>/dev/null && echo the volume was made writable
        unshare -m mount -t proc proc /tmp 2>/dev/null && echo another /proc
        test -e /proc/1/root/bin/busybox || echo no root
        echo end";
    fs_err::create_dir_all(fixture.path("volume")).unwrap();
    let adjust = |spec: &mut ContainerSpec| {
        administrator(spec);
        spec.mounts = vec![Mount {
            source: fixture.path("volume"),
            target: "/volume".to_owned(),
            read_only: true,
            ..Mount::default()
        }];
    };
    assert_eq!(run(&fixture, adjust, script).await, "end\n");
}

#[tokio::test]
async fn sysctls_of_the_pods_namespaces_are_set() {
    let Some(fixture) = fixture() else { return };
    let mut pod = pod(&fixture);
    pod.sysctls = [
        ("net.ipv4.ip_unprivileged_port_start", "80"),
        ("kernel.shmmni", "77"),
        ("kernel.sem", "250\t32000\t100\t64"),
        ("fs.mqueue.msg_max", "9"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    let script =
        "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start kernel/shmmni kernel/sem fs/mqueue/msg_max";
    sandbox
        .start_container(fixture.script("main", script))
        .await
        .unwrap();
    exit_of(&mut events, "main").await;
    assert_eq!(
        fixture.output("main", "stdout"),
        "80\n77\n250\t32000\t100\t64\n9\n"
    );
    assert_ne!(fs_err::read_to_string("/proc/sys/kernel/shmmni").unwrap(), "77\n");
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn users_and_groups_must_be_in_the_range() {
    let Some(fixture) = fixture() else { return };
    let (sandbox, mut events) = sandbox(&fixture).await;
    let user = |name: &str, additional_groups: &[u32]| User {
        name: name.to_owned(),
        additional_groups: additional_groups.to_vec(),
        ..User::default()
    };
    for (number, (user, refused)) in [
        (user("65536", &[]), "user 65536"),
        (user("0:70000", &[]), "group 70000"),
        (user("web", &[100_000]), "group 100000"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut spec = fixture.container(&format!("refused{number}"), &["true"]);
        spec.user = user;
        match sandbox.start_container(spec).await {
            Err(StartError::Refused(text)) => assert!(text.starts_with(refused), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    let mut spec = fixture.script(
        "main",
        "id; grep CapEff /proc/self/status; echo again > /dev/stderr; cat /etc/secret",
    );
    spec.user = user("web", &[65_535]);
    fs_err::write(fixture.path("root/etc/secret"), "mine\n").unwrap();
    let root = fixture.path("root/etc/secret");
    std::os::unix::fs::chown(&root, Some(1000), Some(0)).unwrap();
    fs_err::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    sandbox.start_container(spec).await.unwrap();
    exit_of(&mut events, "main").await;
    let expected =
        "uid=1000(web) gid=1001(web) groups=1001(web),2000(logs),65535\nCapEff:\t0000000000000000\nmine\n";
    let (output, errors) = (fixture.output("main", "stdout"), fixture.output("main", "stderr"));
    assert_eq!((output.as_str(), errors.as_str()), (expected, "again\n"));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn programs_run_beside_and_terminals_are_the_users() {
    let Some(fixture) = fixture() else { return };
    let (sandbox, mut events) = sandbox(&fixture).await;
    let mut spec = fixture.script(
        "main",
        "stat -c '%u:%g' $(tty); cat /proc/self/uid_map | tr -s ' '; echo x > $(tty); sleep 1000",
    );
    spec.tty = true;
    spec.user.name = "web".to_owned();
    sandbox.start_container(spec).await.unwrap();
    let script = "id -u; cat /proc/self/uid_map | tr -s ' '; touch /made; kill -0 1 && echo may kill";
    let exec = sandbox.exec(
        "main",
        ExecSpec {
            args: ["sh", "-c", script].map(str::to_owned).into(),
            user: Some(User {
                name: "0".to_owned(),
                ..User::default()
            }),
            ..ExecSpec::default()
        },
    );
    let mut exec = exec.await.unwrap();
    let output = read_to_end(&exec.stdout).await;
    assert_eq!(exec.wait().await.unwrap(), 0);
    let expected = format!("0\n 0 {FIRST} {LENGTH}\nmay kill\n");
    assert_eq!(output, expected);
    let terminal = ExecSpec {
        args: ["sh", "-c", "stat -c '%u:%g' $(tty); stty size; echo x > $(tty)"]
            .map(str::to_owned)
            .into(),
        terminal: Some(TerminalSize {
            columns: 80,
            rows: 25,
        }),
        ..ExecSpec::default()
    };
    let exec = sandbox.exec("main", terminal).await.unwrap();
    assert_eq!(read_to_end(&exec.stdout).await, "1000:5\r\n25 80\r\nx\r\n");
    wait_until(|| fixture.output("main", "stdout").lines().count() == 3);
    sandbox.kill("main").await.unwrap();
    exit_of(&mut events, "main").await;
    let lines = fixture.output("main", "stdout");
    assert_eq!(lines, format!("1000:5\n 0 {FIRST} {LENGTH}\nx\n"));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn volumes_show_the_ids_of_the_disk_where_they_are_mapped() {
    let Some(fixture) = fixture() else { return };
    fs_err::create_dir_all(fixture.path("volume")).unwrap();
    fs_err::write(fixture.path("volume/file"), "").unwrap();
    std::os::unix::fs::chown(fixture.path("volume/file"), Some(1000), Some(7)).unwrap();
    let users = users();
    let mut pod = pod(&fixture);
    pod.tmpfs = vec![Tmpfs {
        name: "memory".to_owned(),
        mode: 0o755,
        ..Tmpfs::default()
    }];
    let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    let bind = |target: &str, mapped: bool| Mount {
        source: fixture.path("volume"),
        target: target.to_owned(),
        mapping: mapped.then(|| users.mappings().clone()),
        ..Mount::default()
    };
    let mut spec = fixture.script(
        "main",
        "stat -c '%u:%g' /mapped/file /plain/file; touch /mapped/made && touch /memory/file /tmpfs/file && echo made
         stat -c '%u' /memory /tmpfs; touch /plain/made 2>/dev/null || echo refused",
    );
    spec.mounts = vec![
        bind("/mapped", true),
        bind("/plain", false),
        Mount {
            source: sandbox.tmpfs_path("memory"),
            target: "/memory".to_owned(),
            ..Mount::default()
        },
        Mount {
            target: "/tmpfs".to_owned(),
            kind: MountKind::Tmpfs {
                size_bytes: None,
                mode: 0o755,
            },
            ..Mount::default()
        },
    ];
    sandbox.start_container(spec).await.unwrap();
    exit_of(&mut events, "main").await;
    let output = fixture.output("main", "stdout");
    assert_eq!(output, "1000:7\n65534:65534\nmade\n0\n0\nrefused\n");
    assert_eq!(fs_err::metadata(fixture.path("volume/made")).unwrap().uid(), 0);
    // Every mapping that the kernel can make will do.
    let mut spec = fixture.script("other", "stat -c '%u:%g' /mapped/file");
    let shifted = IdMapping {
        host_id: FIRST + 500,
        container_id: 1000,
        length: 10,
    };
    let ranges = vec![
        IdMapping {
            host_id: FIRST,
            container_id: 0,
            length: 100,
        },
        shifted,
    ];
    spec.mounts = vec![bind("/mapped", true)];
    spec.mounts[0].mapping = Some(auraed_sandbox::IdMappings {
        uids: ranges.clone(),
        gids: ranges,
    });
    sandbox.start_container(spec).await.unwrap();
    exit_of(&mut events, "other").await;
    assert_eq!(fixture.output("other", "stdout"), "500:7\n");
    // Nothing that is mounted inside may reach the host.
    let mut spec = fixture.container("both", &["true"]);
    spec.mounts = vec![bind("/both", false)];
    spec.mounts[0].propagation = Propagation::Bidirectional;
    assert!(matches!(
        sandbox.start_container(spec).await,
        Err(StartError::Refused(_))
    ));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn containers_share_pids_and_images_in_a_user_namespace() {
    let Some(fixture) = fixture() else { return };
    let layer = fixture.path("state/layer");
    fs_err::create_dir_all(layer.join("data")).unwrap();
    fs_err::write(layer.join("data/file"), "upper layer\n").unwrap();
    let mut pod = pod(&fixture);
    pod.share_pid = true;
    let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    sandbox
        .start_container(fixture.script("first", "sleep 1000"))
        .await
        .unwrap();
    let mut spec = fixture.script(
        "second",
        "cat /proc/1/comm; until grep -q sleep /proc/[0-9]*/comm; do :; done
         grep -l sleep /proc/[0-9]*/comm | wc -l; ls /proc/1/root 2>/dev/null; kill -9 1
         cat /image/data/file /part/file; stat -c '%u %n' /image/bin/busybox /part/file; touch /image/x 2>/dev/null || echo read-only",
    );
    let image = |sub_path: &str, target: &str| Mount {
        sub_path: sub_path.to_owned(),
        target: target.to_owned(),
        read_only: true,
        kind: MountKind::Image {
            lowers: vec![layer.clone(), fixture.path("state/root")],
        },
        ..Mount::default()
    };
    spec.mounts = vec![image("", "/image"), image("data", "/part")];
    sandbox.start_container(spec).await.unwrap();
    exit_of(&mut events, "second").await;
    assert_eq!(
        fixture.output("second", "stdout"),
        "pause\n1\nupper layer\nupper layer\n0 /image/bin/busybox\n0 /part/file\nread-only\n"
    );
    sandbox.kill("first").await.unwrap();
    assert_eq!(code(&exit_of(&mut events, "first").await.state), (137, 9));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_pod_in_a_user_namespace_outlives_its_daemon() {
    let Some(fixture) = fixture() else { return };
    let (first, events) = sandbox(&fixture).await;
    first
        .start_container(fixture.script("main", "sleep 1000"))
        .await
        .unwrap();
    drop((first, events));
    let host = fixture.another_host();
    let (sandbox, mut events, runs) = Sandbox::adopt(&host, &fixture.id()).await.unwrap().unwrap();
    assert!(runs[0].pid.is_some());
    let volume = fixture.path("volume");
    fs_err::create_dir_all(&volume).unwrap();
    let mut spec = fixture.script("later", "cat /proc/self/uid_map | tr -s ' '; stat -c %u /volume");
    spec.mounts = vec![Mount {
        source: volume,
        target: "/volume".to_owned(),
        mapping: Some(users().mappings().clone()),
        ..Mount::default()
    }];
    sandbox.start_container(spec).await.unwrap();
    exit_of(&mut events, "later").await;
    assert_eq!(
        fixture.output("later", "stdout"),
        format!(" 0 {FIRST} {LENGTH}\n0\n")
    );
    fixture.finish(sandbox).await;
}
