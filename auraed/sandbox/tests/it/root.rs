//! Roots that are made ahead of a container's start.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::{MetadataExt, symlink};

use auraed_sandbox::{ContainerSpec, Mount, MountKind};

use crate::support::{Fixture, code, exit_of};

/// A container with mounts of a file, of a directory and inside of that, which does not run yet.
fn container(fixture: &Fixture, script: &str) -> ContainerSpec {
    fs_err::write(fixture.path("file"), "a file\n").unwrap();
    fs_err::create_dir_all(fixture.path("volume/inner")).unwrap();
    let mut spec = fixture.script("main", script);
    spec.cwd = "/made/by/us".to_owned();
    for (source, target) in [
        ("file", "/etc/hosts"),
        ("volume", "/data"),
        ("volume", "/data/inner"),
    ] {
        spec.mounts.push(Mount {
            source: fixture.path(source),
            target: target.to_owned(),
            ..Mount::default()
        });
    }
    spec.mounts.push(Mount {
        target: "/memory".to_owned(),
        kind: MountKind::Tmpfs {
            size_bytes: None,
            mode: 0o755,
        },
        ..Mount::default()
    });
    spec
}

#[tokio::test]
async fn a_root_that_was_made_ahead_is_the_one_that_a_start_makes() {
    let script = "cat /etc/hosts; pwd; ls -d /data/inner /memory; stat -c %A%u%g / /made /made/by /etc; \
                  echo kept > /written";
    let mut outputs = Vec::new();
    for ahead in [true, false] {
        let fixture = Fixture::new();
        let (sandbox, mut events) = fixture.sandbox().await;
        let spec = container(&fixture, script);
        let upper = spec.rootfs.upper.clone();
        let root = ahead.then(|| sandbox.make_root(&spec).expect("this kernel can do it"));
        let made = |name: &str| upper.join(name).symlink_metadata();
        if ahead {
            assert!(made("etc/hosts").unwrap().is_file());
            assert_eq!(made("made/by/us").unwrap().mode() & 0o7777, 0o755);
            assert_eq!(made("memory").unwrap().mode() & 0o7777, 0o755);
            assert!(made("data/inner").is_err(), "it is in a volume");
        }
        sandbox.start_with_root(spec, root).await.unwrap();
        assert_eq!(code(&exit_of(&mut events, "main").await.state), (0, 0));
        assert_eq!(fs_err::read_to_string(upper.join("written")).unwrap(), "kept\n");
        fixture.finish(sandbox).await;
        outputs.push(fixture.output("main", "stdout"));
    }
    assert!(outputs[0].starts_with("a file\n/made/by/us\n"), "{}", outputs[0]);
    assert_eq!(outputs[0], outputs[1]);
}

#[tokio::test]
async fn a_root_that_nobody_uses_leaves_nothing_that_is_in_the_way() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let spec = container(&fixture, "cat /etc/hosts");
    // As a daemon that dies between the two.
    drop(sandbox.make_root(&spec).unwrap());
    let again = sandbox.make_root(&spec).expect("another attempt");
    drop(again);
    sandbox.start_container(spec).await.unwrap();
    assert_eq!(code(&exit_of(&mut events, "main").await.state), (0, 0));
    assert_eq!(fixture.output("main", "stdout"), "a file\n");
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn links_of_an_image_lead_nowhere_but_into_its_root() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = container(&fixture, "cat /hosts.d/hosts /etc/hosts");
    let outside = fixture.path("outside");
    fs_err::create_dir(&outside).unwrap();
    let layer = fixture.path("state/layer");
    fs_err::create_dir_all(layer.join("hosts.d")).unwrap();
    symlink("../../../../../../../../hosts.d", layer.join("etc")).unwrap();
    symlink(&outside, layer.join("data")).unwrap();
    symlink(outside.join("made"), layer.join("made")).unwrap();
    spec.rootfs.lowers.insert(0, layer);
    let root = sandbox.make_root(&spec).unwrap();
    assert!(spec.rootfs.upper.join("hosts.d/hosts").is_file());
    sandbox.start_with_root(spec, Some(root)).await.unwrap();
    assert_eq!(code(&exit_of(&mut events, "main").await.state), (0, 0));
    assert_eq!(fixture.output("main", "stdout"), "a file\na file\n");
    assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 0);
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn what_cannot_be_made_is_told_by_the_start() {
    let fixture = Fixture::new();
    let (sandbox, _events) = fixture.sandbox().await;
    let mut spec = container(&fixture, "true");
    spec.mounts[0].target = "/bin/sh/hosts".to_owned();
    assert!(sandbox.make_root(&spec).is_none());
    let error = sandbox.start_container(spec).await.unwrap_err().to_string();
    assert!(error.contains("/bin/sh/hosts"), "{error}");
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn there_is_room_for_so_many_roots_and_no_more() {
    let fixture = Fixture::new();
    let (sandbox, _events) = fixture.sandbox().await;
    let make = |number: u32| {
        let mut spec = container(&fixture, "true");
        let own = fixture.path("state").join(number.to_string());
        (spec.rootfs.upper, spec.rootfs.work) = (own.join("upper"), own.join("work"));
        sandbox.make_root(&spec)
    };
    let mut roots: Vec<_> = (0..64)
        .map(|number| make(number).expect("there is room"))
        .collect();
    assert!(make(64).is_none());
    roots.pop();
    assert!(make(65).is_some());
    drop(roots);
    fixture.finish(sandbox).await;
}
