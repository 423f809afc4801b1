//! Links that appear between a look at a path and its use.
//!
//! Each race is run twice beside the same swapper: by a resolver of the test's own that looks first and then goes by the
//! path, as runtimes did before the CVEs, and which must lose; and by auraed-sandbox, which must not lose, and must come to
//! starts all the same.
#![expect(clippy::print_stdout, reason = "how close the races were")]

use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use auraed_sandbox::{ContainerSpec, Events, Mount, Sandbox, StartError};
use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, fstat, makedev, mknodat, open, renameat_with};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::thread::UnshareFlags;

use super::bind;
use crate::support::{Fixture, PATIENCE, exit_of};

/// Containers that must have started beside a swapper: some dozen times as often as who goes by the path loses.
const STARTS: usize = 60;

/// Exchanges two names of a directory as fast as the kernel does it. A container that has the directory as a volume could do
/// the same.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    fn start(directory: PathBuf, names: [&'static str; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let swap = move || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = open(directory, flags, Mode::empty()).unwrap();
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(&directory, names[0], &directory, names[1], RenameFlags::EXCHANGE).unwrap();
            }
        };
        Self {
            stop,
            thread: Some(std::thread::spawn(swap)),
        }
    }

    fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Tries until an attack has come off, which shows that the swapper is fast enough to beat somebody.
fn must_lose(mut naive: impl FnMut() -> bool) {
    let begin = Instant::now();
    let mut tries = 1;
    // Without giving way: on one processor it loses only where it is interrupted.
    while !naive() {
        tries += 1;
        assert!(
            begin.elapsed() < PATIENCE,
            "who looks first and then goes by the path did not lose: the race is none"
        );
    }
    println!("who looks first and then goes by the path lost at try {tries}");
}

/// Looks whether a path is a directory, then opens it. Whether that was the forbidden one.
fn look_and_open(path: &Path, forbidden: &Path) -> bool {
    let fine = fs_err::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let identity = |descriptor| {
        let stat = fstat(descriptor).unwrap();
        (stat.st_dev, stat.st_ino)
    };
    let opened = |path| open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    fine && opened(path).is_ok_and(|found| identity(found) == identity(opened(forbidden).unwrap()))
}

/// Looks whether a path is a directory, then mounts something there, in a mount namespace of its own: until it hits the forbidden one.
fn look_and_mount(source: PathBuf, [path, other]: [PathBuf; 2], forbidden: &Path) {
    let hit = format!(" {} ", forbidden.display());
    let mounting = move || {
        leave_mounts();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        must_lose(|| {
            let fine = fs_err::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            if !fine || mount_bind(&source, &path).is_err() {
                return false;
            }
            let mounts = fs_err::read_to_string("/proc/thread-self/mountinfo").unwrap();
            // It is where the directory is now.
            for path in [&path, &other] {
                let _ = unmount(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
            }
            mounts.contains(&hit)
        });
    };
    std::thread::spawn(mounting).join().unwrap();
}

#[expect(
    deprecated,
    reason = "of its unsafe successor's two dangers neither is about NEWNS"
)]
fn leave_mounts() {
    rustix::thread::unshare(UnshareFlags::NEWNS).unwrap();
}

/// Starts containers until enough of them have run, and hands each one's output on. Who is refused must be so for `refusal`.
async fn starts(
    fixture: &Fixture,
    (sandbox, events): (&Sandbox, &mut Events),
    refusal: &str,
    spec: impl Fn(&str) -> ContainerSpec,
    judge: impl Fn(&str),
) {
    let begin = Instant::now();
    let (mut started, mut refused) = (0, 0);
    while started < STARTS {
        assert!(
            begin.elapsed() < 3 * PATIENCE,
            "{started} containers started, {refused} were refused"
        );
        let name = format!("victim{}", started + refused);
        match sandbox.start_container(spec(&name)).await {
            Ok(_) => {
                exit_of(events, &name).await;
                judge(&fixture.output(&name, "stdout"));
                started += 1;
            }
            Err(StartError::Refused(reason)) if reason.contains(refusal) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    println!("{started} containers started, {refused} were refused");
}

#[tokio::test]
async fn a_mount_point_that_is_swapped_for_a_link_leads_nowhere() {
    // CVE-2021-30465: a mount point inside a volume that another container of the pod changes meanwhile.
    let fixture = Fixture::new();
    let (volume, secret, outside) = (
        fixture.path("volume"),
        fixture.path("secret"),
        fixture.path("outside"),
    );
    for directory in [&outside, &secret, &volume.join("x")] {
        fs_err::create_dir_all(directory).unwrap();
    }
    symlink(&outside, volume.join("link")).unwrap();
    let swapper = Swapper::start(volume.clone(), ["x", "link"]);
    look_and_mount(
        secret.clone(),
        ["x", "link"].map(|name| volume.join(name)),
        &outside,
    );

    let (sandbox, mut events) = fixture.sandbox().await;
    // Wherever in the container the directory and the link are by then: what was mounted elsewhere is not in its list.
    let own = fixture.directory.path().file_name().unwrap().display();
    let script = format!("grep -c '{own}/secret ' /proc/self/mountinfo");
    let spec = |name: &str| {
        let mut spec = fixture.script(name, &script);
        spec.mounts = vec![bind(&volume, "/data"), bind(&secret, "/data/x")];
        spec
    };
    let judge = |output: &str| assert_eq!(output, "1\n", "the mount is not in the container");
    starts(&fixture, (&sandbox, &mut events), "mount on /data/x", spec, judge).await;
    swapper.stop();
    let made = fs_err::read_dir(&outside).unwrap().count();
    assert_eq!(made, 0, "something was made outside");
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_part_of_a_volume_that_is_swapped_for_a_link_leads_nowhere() {
    // CVE-2017-1002101 and CVE-2021-25741: subPath, with a link that appears between the check and the mount.
    for part in ["x", "x/deep"] {
        let fixture = Fixture::new();
        let (volume, secret) = (fixture.path("volume"), fixture.path("secret"));
        for (directory, mark) in [(&secret, "secret\n"), (&volume.join("x"), "part\n")] {
            fs_err::create_dir_all(directory.join("deep")).unwrap();
            fs_err::write(directory.join("mark"), mark).unwrap();
            fs_err::write(directory.join("deep/mark"), mark).unwrap();
        }
        symlink("../secret", volume.join("link")).unwrap();
        let swapper = Swapper::start(volume.clone(), ["x", "link"]);
        let forbidden = secret.join(part.trim_start_matches(['x', '/']));
        must_lose(|| {
            // Each component is looked at, the one that is swapped first.
            fs_err::symlink_metadata(volume.join("x")).is_ok_and(|found| found.is_dir())
                && look_and_open(&volume.join(part), &forbidden)
        });

        let (sandbox, mut events) = fixture.sandbox().await;
        let spec = |name: &str| {
            let mut spec = fixture.script(name, "cat /part/mark");
            spec.mounts = vec![Mount {
                sub_path: part.to_owned(),
                ..bind(&volume, "/part")
            }];
            spec
        };
        let judge = |output: &str| assert_eq!(output, "part\n", "{part}");
        starts(&fixture, (&sandbox, &mut events), "/part", spec, judge).await;
        swapper.stop();
        fixture.finish(sandbox).await;
    }
}

/// Shows what of a container's /proc is not hidden or can be written.
const LOOK: &str = "
    for file in /proc/kcore /proc/keys /proc/timer_list; do
        { test -s $file || cat $file | grep -q .; } && echo $file is not masked
    done
    for file in /proc/sys/kernel/core_pattern /proc/sysrq-trigger; do
        sh -c \": > $file\" && echo $file is writable
    done
    echo end";

#[tokio::test]
async fn a_null_device_that_is_swapped_for_a_link_unmasks_nothing() {
    // CVE-2025-31133: what files are masked with is exchanged between the look at it and its mount.
    let fixture = Fixture::new();
    let devices = fixture.path("devices");
    fs_err::create_dir_all(&devices).unwrap();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(
        CWD,
        devices.join("null"),
        FileType::CharacterDevice,
        mode,
        makedev(1, 3),
    )
    .unwrap();
    let pattern = Path::new("/proc/sys/kernel/core_pattern");
    symlink(pattern, devices.join("link")).unwrap();
    let before = fs_err::read_to_string(pattern).unwrap();
    let swapper = Swapper::start(devices.clone(), ["null", "link"]);
    let null = devices.join("null");
    must_lose(|| {
        let is_device = |file: std::fs::Metadata| file.file_type().is_char_device();
        fs_err::symlink_metadata(&null).is_ok_and(is_device)
            && fs_err::metadata(&null).is_ok_and(|file| !is_device(file))
    });

    let (sandbox, mut events) = fixture.sandbox().await;
    let spec = |name: &str| {
        let mut spec = fixture.script(name, LOOK);
        spec.mounts = vec![bind(&devices, "/dev")];
        spec
    };
    let judge = |output: &str| assert_eq!(output, "end\n");
    starts(&fixture, (&sandbox, &mut events), "/dev/null", spec, judge).await;
    swapper.stop();
    assert_eq!(fs_err::read_to_string(pattern).unwrap(), before);
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn what_the_pod_brings_as_devices_unmasks_nothing() {
    // CVE-2025-31133 and CVE-2025-52881: a /dev/null that is a link to what is to be written is not mounted, but refused.
    let fixture = Fixture::new();
    let devices = fixture.path("devices");
    fs_err::create_dir_all(&devices).unwrap();
    symlink("/proc/sys/kernel/core_pattern", devices.join("null")).unwrap();
    let (sandbox, mut events) = fixture.sandbox().await;
    let spec = |name: &str| {
        let mut spec = fixture.script(name, LOOK);
        spec.mounts = vec![bind(&devices, "/dev")];
        spec
    };
    let error = sandbox.start_container(spec("linked")).await.unwrap_err();
    let StartError::Refused(reason) = &error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("open /dev/null"), "{reason}");
    // A file in the null device's place is no mask either.
    fs_err::remove_file(devices.join("null")).unwrap();
    fs_err::write(devices.join("null"), "").unwrap();
    let error = sandbox.start_container(spec("filed")).await.unwrap_err();
    assert!(
        matches!(&error, StartError::Refused(reason) if reason == "/dev/null is not the null device"),
        "{error:?}"
    );
    // With a true one the terminal's place may be a link: it is followed in the container, before the kernel's /proc is there.
    fs_err::remove_file(devices.join("null")).unwrap();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(
        CWD,
        devices.join("null"),
        FileType::CharacterDevice,
        mode,
        makedev(1, 3),
    )
    .unwrap();
    symlink("/proc/sysrq-trigger", devices.join("console")).unwrap();
    // What the script looks for it would find.
    let bare = ContainerSpec {
        masked_paths: Vec::new(),
        ..spec("bare")
    };
    sandbox.start_container(bare).await.unwrap();
    exit_of(&mut events, "bare").await;
    let output = fixture.output("bare", "stdout");
    assert!(output.contains("/proc/timer_list is not masked"), "{output}");
    let terminal = ContainerSpec {
        tty: true,
        ..spec("terminal")
    };
    sandbox.start_container(terminal).await.unwrap();
    exit_of(&mut events, "terminal").await;
    let output = fixture.output("terminal", "stdout");
    assert!(
        output.ends_with("end\n") || output.ends_with("end\r\n"),
        "{output}"
    );
    assert!(
        !output.contains("is not masked") && !output.contains("is writable"),
        "{output}"
    );
    fixture.finish(sandbox).await;
}
