//! What is mounted into containers, as kubelet asks for it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use auraed_sandbox::{
    Capabilities, ContainerSpec, Error, ExecSpec, Mount, MountKind, Propagation, Sandbox, SandboxSpec,
    Seccomp, StartError, check_mounts,
};

use crate::support::{Fixture, code, exit_of, read_to_end};

/// Mounts of the host below a directory of the test, gone after it.
struct HostMounts(Vec<PathBuf>);

impl HostMounts {
    fn add(&mut self, arguments: &[&str], place: &Path) {
        fs_err::create_dir_all(place).unwrap();
        run(Command::new("mount").args(arguments).arg(place));
        self.0.push(place.to_owned());
    }

    /// As kubelet's: a directory on itself, with a propagation of its own.
    fn bind_on_itself(&mut self, place: &Path, propagation: &str) {
        fs_err::create_dir_all(place).unwrap();
        self.add(&["--bind", place.to_str().unwrap()], place);
        run(Command::new("mount").arg(propagation).arg(place));
    }
}

impl Drop for HostMounts {
    fn drop(&mut self) {
        for place in self.0.iter().rev() {
            let _ = Command::new("umount").arg("--lazy").arg(place).status();
        }
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn bind(source: &Path, target: &str) -> Mount {
    Mount {
        source: source.to_owned(),
        target: target.to_owned(),
        ..Mount::default()
    }
}

fn refusal(error: StartError) -> String {
    match error {
        StartError::Refused(text) => text,
        StartError::Sandbox(error) => panic!("{error}"),
    }
}

async fn in_container(sandbox: &Sandbox, script: &str) -> String {
    let spec = ExecSpec {
        args: ["sh", "-c", script].map(str::to_owned).into(),
        ..ExecSpec::default()
    };
    let mut exec = sandbox.exec("main", spec).await.unwrap();
    let output = read_to_end(&exec.stdout).await;
    exec.wait().await.unwrap();
    output
}

/// The sandbox is there before the mounts are made, and the root of this machine may be nobody's to share.
async fn mounts_are_seen(
    propagation: Propagation,
    adjust: impl FnOnce(&mut SandboxSpec),
) -> (String, bool, String) {
    let fixture = Fixture::new();
    let mut mounts = HostMounts(Vec::new());
    let mut pod = fixture.pod();
    adjust(&mut pod);
    let (sandbox, _events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    let source = fixture.path("mnt");
    for name in ["later", "inside", "below"] {
        fs_err::create_dir_all(source.join(name)).unwrap();
    }
    mounts.bind_on_itself(&source, "--make-rshared");
    mounts.add(&["-t", "tmpfs", "tmpfs"], &source.join("below"));
    fs_err::write(source.join("below/file"), "").unwrap();
    let mut spec = fixture.script("main", "sleep 1000");
    spec.privileged = true;
    spec.mounts = vec![Mount {
        propagation,
        ..bind(&source, "/mnt")
    }];
    sandbox.start_container(spec).await.unwrap();
    let present = in_container(&sandbox, "ls /mnt/below").await;
    assert_eq!(present, "file\n", "what was mounted before is missing");
    mounts.add(&["-t", "tmpfs", "tmpfs"], &source.join("later"));
    fs_err::write(source.join("later/file"), "").unwrap();
    mounts.add(&["-t", "tmpfs", "tmpfs"], &source.join("below"));
    fs_err::write(source.join("below/upper"), "").unwrap();
    let seen = in_container(&sandbox, "ls /mnt/later /mnt/below").await;
    in_container(
        &sandbox,
        "mount -t tmpfs tmpfs /mnt/inside && touch /mnt/inside/file",
    )
    .await;
    let from_inside = source.join("inside/file").exists();
    if from_inside {
        mounts.0.push(source.join("inside"));
    }
    let own = in_container(&sandbox, "ls /mnt/inside").await;
    drop(mounts);
    fixture.finish(sandbox).await;
    (seen.replace("/mnt/", ""), from_inside, own)
}

#[tokio::test]
async fn private_mounts_go_neither_way() {
    let seen = mounts_are_seen(Propagation::Private, |_| ()).await;
    let expected = ("below:\nfile\n\nlater:\n".to_owned(), false, "file\n".to_owned());
    assert_eq!(sorted(seen), sorted(expected));
}

#[tokio::test]
async fn the_hosts_later_mounts_are_followed() {
    let seen = mounts_are_seen(Propagation::HostToContainer, |_| ()).await;
    let expected = (
        "below:\nupper\n\nlater:\nfile\n".to_owned(),
        false,
        "file\n".to_owned(),
    );
    assert_eq!(sorted(seen), sorted(expected));
}

#[tokio::test]
async fn the_hosts_later_mounts_are_followed_into_a_user_namespace() {
    let Some(users) = crate::userns::users_if_supported() else {
        return;
    };
    let in_user_namespace = |pod: &mut SandboxSpec| pod.user_namespace = Some(users);
    let seen = mounts_are_seen(Propagation::HostToContainer, in_user_namespace).await;
    let expected = (
        "below:\nupper\n\nlater:\nfile\n".to_owned(),
        false,
        "file\n".to_owned(),
    );
    assert_eq!(sorted(seen), sorted(expected));
}

#[tokio::test]
async fn shared_mounts_go_both_ways() {
    let seen = mounts_are_seen(Propagation::Bidirectional, |_| ()).await;
    let expected = (
        "below:\nupper\n\nlater:\nfile\n".to_owned(),
        true,
        "file\n".to_owned(),
    );
    assert_eq!(sorted(seen), sorted(expected));
}

/// `ls` may name the directories in either order.
fn sorted((seen, from_inside, own): (String, bool, String)) -> (Vec<String>, bool, String) {
    let mut parts: Vec<String> = seen.split("\n\n").map(|part| part.trim().to_owned()).collect();
    parts.sort();
    (parts, from_inside, own)
}

#[tokio::test]
async fn what_nobody_shares_is_not_followed() {
    let fixture = Fixture::new();
    let mut host = HostMounts(Vec::new());
    let source = fixture.path("mnt");
    host.bind_on_itself(&source, "--make-rprivate");
    fs_err::create_dir_all(source.join("part")).unwrap();
    let (sandbox, _) = fixture.sandbox().await;
    for (propagation, wanted) in [
        (Propagation::Bidirectional, "a shared mount"),
        (Propagation::HostToContainer, "a shared or slave mount"),
    ] {
        let mount = Mount {
            propagation,
            ..bind(&source.join("part"), "/mnt")
        };
        let expected = format!(
            "path {:?} is mounted on {:?} but it is not {wanted}",
            source.join("part").display().to_string(),
            source.display().to_string()
        );
        let checked = check_mounts(std::slice::from_ref(&mount)).unwrap_err();
        assert_eq!(checked.to_string(), expected);
        let mut spec = fixture.container("main", &["true"]);
        spec.mounts = vec![mount];
        assert_eq!(
            refusal(sandbox.start_container(spec).await.unwrap_err()),
            expected
        );
    }
    drop(host);
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn read_only_goes_as_deep_as_asked() {
    let fixture = Fixture::new();
    assert!(fixture.host.recursive_read_only_supported());
    let mut host = HostMounts(Vec::new());
    let source = fixture.path("mnt");
    fs_err::create_dir_all(&source).unwrap();
    host.add(&["-t", "tmpfs", "tmpfs"], &source.join("tmpfs"));
    let read_only = |target: &str, recursive_read_only| Mount {
        read_only: true,
        recursive_read_only,
        ..bind(&source, target)
    };
    let script = "
        for place in /plain /plain/tmpfs /deep /deep/tmpfs; do
            touch $place/file 2>/dev/null && echo $place is writable
        done; true";
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", script);
    spec.mounts = vec![read_only("/plain", false), read_only("/deep", true)];
    sandbox.start_container(spec).await.unwrap();
    assert_eq!(code(&exit_of(&mut events, "main").await.state), (0, 0));
    assert_eq!(fixture.output("main", "stdout"), "/plain/tmpfs is writable\n");
    drop(host);
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn contradictions_are_refused() {
    let fixture = Fixture::new();
    let (sandbox, _) = fixture.sandbox().await;
    let (source, lowers) = (fixture.path("root"), vec![fixture.path("state/root")]);
    let image = MountKind::Image { lowers };
    for (adjust, expected) in [
        (
            Mount {
                recursive_read_only: true,
                ..bind(&source, "/mnt")
            },
            "recursive read-only mount conflicts with RW mount",
        ),
        (
            Mount {
                read_only: true,
                recursive_read_only: true,
                propagation: Propagation::Bidirectional,
                ..bind(&source, "/mnt")
            },
            "recursive read-only mount needs private propagation",
        ),
        (
            Mount {
                target: "/image".to_owned(),
                kind: image.clone(),
                ..Mount::default()
            },
            "the image on /image can only be read",
        ),
    ] {
        let checked = check_mounts(std::slice::from_ref(&adjust)).unwrap_err();
        assert!(
            matches!(&checked, Error::Refused(text) if text.contains(expected)),
            "{checked}"
        );
        let mut spec = fixture.container("main", &["true"]);
        spec.mounts = vec![adjust];
        let text = refusal(sandbox.start_container(spec).await.unwrap_err());
        assert!(text.contains(expected), "{text}");
    }
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn links_of_the_host_are_followed_and_missing_directories_made() {
    let fixture = Fixture::new();
    fs_err::create_dir_all(fixture.path("real/below")).unwrap();
    fs_err::write(fixture.path("real/below/file"), "followed\n").unwrap();
    symlink(fixture.path("real"), fixture.path("link")).unwrap();
    symlink("/etc", fixture.path("root/inside")).unwrap();
    symlink("nowhere", fixture.path("dangling")).unwrap();
    let adjust = |spec: &mut ContainerSpec| {
        spec.mounts = vec![
            bind(&fixture.path("link/below"), "/link"),
            bind(&fixture.path("made/for/it"), "/made"),
            bind(&fixture.path("link/below/file"), "/inside/hosts"),
        ];
    };
    let (output, _) = fixture
        .run(adjust, "cat /link/file /etc/hosts; touch /made/file")
        .await;
    assert_eq!(output, "followed\nfollowed\n");
    assert!(fixture.path("made/for/it/file").exists());
    let mode = std::os::unix::fs::MetadataExt::mode(&fs_err::metadata(fixture.path("made")).unwrap());
    assert_eq!(mode & 0o777, 0o755);
    let (sandbox, _) = fixture.sandbox().await;
    let mut spec = fixture.container("dangling", &["true"]);
    spec.mounts = vec![bind(&fixture.path("dangling"), "/mnt")];
    refusal(sandbox.start_container(spec).await.unwrap_err());
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn later_mounts_lie_on_earlier_ones() {
    let fixture = Fixture::new();
    for name in ["outer", "inner", "shm", "sys"] {
        fs_err::create_dir_all(fixture.path(name)).unwrap();
        fs_err::write(fixture.path(name).join(name), "").unwrap();
    }
    fs_err::write(fixture.path("message"), "").unwrap();
    let adjust = |spec: &mut ContainerSpec| {
        spec.mounts = vec![
            bind(&fixture.path("outer"), "/data"),
            bind(&fixture.path("inner"), "/data/deep/inner"),
            bind(&fixture.path("shm"), "/dev/shm"),
            bind(&fixture.path("sys"), "/sys"),
            bind(&fixture.path("message"), "/dev/termination-log"),
        ];
    };
    let script = "ls /data /data/deep/inner /dev/shm /sys; echo over > /dev/termination-log";
    let (output, _) = fixture.run(adjust, script).await;
    let lines: Vec<&str> = output.lines().filter(|line| !line.is_empty()).collect();
    let mut expected = vec![
        "/data:",
        "deep",
        "outer",
        "/data/deep/inner:",
        "inner",
        "/dev/shm:",
        "shm",
        "/sys:",
        "sys",
    ];
    let mut found = lines.clone();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(fs_err::read_to_string(fixture.path("message")).unwrap(), "over\n");
}

#[tokio::test]
async fn images_are_volumes() {
    let fixture = Fixture::new();
    let (lower, upper) = (fixture.path("state/lower"), fixture.path("state/upper"));
    for (layer, name, text) in [
        (&lower, "both", "lower\n"),
        (&lower, "one", "one\n"),
        (&upper, "both", "upper\n"),
    ] {
        fs_err::create_dir_all(layer.join("data/deep")).unwrap();
        fs_err::write(layer.join("data").join(name), text).unwrap();
    }
    symlink("/data", lower.join("link")).unwrap();
    symlink("../../../../../../etc", lower.join("out")).unwrap();
    fs_err::copy(fixture.path("root/bin/busybox"), lower.join("data/cat")).unwrap();
    let image = |lowers: &[&PathBuf], sub_path: &str, target: &str| Mount {
        sub_path: sub_path.to_owned(),
        target: target.to_owned(),
        read_only: true,
        kind: MountKind::Image {
            lowers: lowers.iter().map(|&lower| lower.clone()).collect(),
        },
        ..Mount::default()
    };
    let mounts = vec![
        image(&[&upper, &lower], "", "/two"),
        image(&[&lower], "", "/one"),
        image(&[&upper, &lower], "link", "/part"),
        image(&[&lower], "data", "/part/deep"),
        image(&[&fixture.path("state/root")], "", "/same"),
    ];
    check_mounts(&mounts).unwrap();
    let adjust = |spec: &mut ContainerSpec| {
        spec.mounts = mounts;
        spec.capabilities = Capabilities::default_with(&["SYS_ADMIN".to_owned()], &[]).unwrap();
        spec.seccomp = Seccomp::Unconfined;
    };
    let script = "
        cat /two/data/both /two/data/one /one/data/both /part/both /part/deep/both
        for place in /two /one /part /part/deep; do touch $place/x 2>/dev/null && echo $place is writable; done
        /two/data/cat /part/one; test -x /same/bin/sh && echo same; grep -c ' /part' /proc/self/mounts";
    let (output, state) = fixture.run(adjust, script).await;
    let expected = "upper\none\nlower\nupper\nlower\none\nsame\n2\n";
    assert_eq!((output.as_str(), code(&state)), (expected, (0, 0)));
    let (sandbox, _) = fixture.sandbox().await;
    for (part, several) in [
        ("nowhere", true),
        ("data/both", true),
        ("out", true),
        ("nowhere", false),
    ] {
        let lowers: &[&PathBuf] = if several { &[&upper, &lower] } else { &[&lower] };
        let mount = image(lowers, part, "/mnt");
        assert!(
            matches!(check_mounts(std::slice::from_ref(&mount)), Err(Error::Refused(_))),
            "{part}"
        );
        let mut spec = fixture.container("main", &["true"]);
        spec.mounts = vec![mount];
        refusal(sandbox.start_container(spec).await.unwrap_err());
    }
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_hundred_mounts_are_not_too_many() {
    let fixture = Fixture::new();
    fs_err::create_dir_all(fixture.path("volume")).unwrap();
    let adjust = |spec: &mut ContainerSpec| {
        spec.mounts = (0..100)
            .map(|number| bind(&fixture.path("volume"), &format!("/volumes/{number}")))
            .collect();
    };
    let (output, _) = fixture
        .run(adjust, "grep -c ' /volumes/' /proc/self/mounts")
        .await;
    assert_eq!(output, "100\n");
}

#[tokio::test]
async fn of_the_kernels_files_about_the_machine_some_can_be_covered() {
    let fixture = Fixture::new();
    fs_err::write(fixture.path("uptime"), "1.00 2.00\n").unwrap();
    fs_err::write(fixture.path("status"), "").unwrap();
    for share_pid in [false, true] {
        let mut pod = fixture.pod();
        pod.share_pid = share_pid;
        let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
        let mut spec = fixture.script("main", "cat /proc/uptime; ls /proc/self/fd | wc -l");
        spec.attempt = u32::from(share_pid);
        spec.mounts = vec![
            bind(&fixture.path("uptime"), "/proc/uptime"),
            bind(&fixture.path("uptime"), "/proc/loadavg"),
        ];
        sandbox.start_container(spec).await.unwrap();
        exit_of(&mut events, "main").await;
        let output = fixture.output("main", "stdout");
        assert!(output.ends_with("1.00 2.00\n4\n"), "{output}");
        for target in [
            "/proc/1/status",
            "/proc/self/attr",
            "/proc",
            "/proc/sys",
            "/proc/sysrq-trigger",
        ] {
            let mut spec = fixture.container("refused", &["true"]);
            spec.mounts = vec![bind(&fixture.path("status"), target)];
            let text = refusal(sandbox.start_container(spec).await.unwrap_err());
            assert!(text.contains("it is the kernel's"), "{text}");
        }
        // The host's is a /proc as well.
        let mut spec = fixture.script("host", "grep -q aurae-pod-init /proc/[0-9]*/comm && echo host");
        spec.mounts = vec![bind(Path::new("/proc"), "/proc")];
        (spec.privileged, spec.attempt) = (true, u32::from(share_pid));
        sandbox.start_container(spec).await.unwrap();
        assert_eq!(code(&exit_of(&mut events, "host").await.state), (0, 0));
        fixture.finish(sandbox).await;
    }
}
