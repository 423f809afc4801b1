//! Paths that an image or another container has prepared to lead out of the container.

use std::os::unix::fs::symlink;

use auraed_sandbox::{ContainerSpec, Mount, StartError};

use crate::support::{Fixture, exit_of};

fn bind(fixture: &Fixture, source: &str, target: &str) -> Mount {
    Mount {
        source: fixture.path(source),
        target: target.to_owned(),
        ..Mount::default()
    }
}

#[tokio::test]
async fn a_target_that_is_a_link_stays_inside() {
    let fixture = Fixture::new();
    fs_err::create_dir_all(fixture.path("volume")).unwrap();
    fs_err::write(fixture.path("volume/file"), "inside\n").unwrap();
    let outside = fixture.path("outside");
    symlink(
        format!("../../../../../../../../{}", outside.display()),
        fixture.path("root/relative"),
    )
    .unwrap();
    symlink(&outside, fixture.path("root/absolute")).unwrap();
    symlink("/run", fixture.path("root/var")).unwrap();
    let adjust = |spec: &mut ContainerSpec| {
        spec.mounts = vec![
            bind(&fixture, "volume", "/relative"),
            bind(&fixture, "volume", "/absolute/deeper"),
            bind(&fixture, "volume", "/../../../../up"),
            bind(&fixture, "volume", "/var/secrets"),
        ];
    };
    let (output, _) = fixture
        .run(
            adjust,
            "cat /relative/file /absolute/deeper/file /up/file /run/secrets/file",
        )
        .await;
    assert_eq!(output, "inside\ninside\ninside\ninside\n");
    assert!(!outside.exists());
}

#[tokio::test]
async fn a_part_of_a_volume_stays_in_the_volume() {
    let fixture = Fixture::new();
    fs_err::create_dir_all(fixture.path("volume")).unwrap();
    fs_err::create_dir_all(fixture.path("secret")).unwrap();
    symlink("../secret", fixture.path("volume/out")).unwrap();
    let (sandbox, mut events) = fixture.sandbox().await;
    for (number, part) in ["out", "../secret", "out/deeper", "a/../../secret"]
        .into_iter()
        .enumerate()
    {
        let mut spec = fixture.container(&format!("part{number}"), &["true"]);
        spec.mounts = vec![Mount {
            sub_path: part.to_owned(),
            ..bind(&fixture, "volume", "/data")
        }];
        let error = sandbox.start_container(spec).await.unwrap_err();
        assert!(matches!(error, StartError::Refused(_)), "{part}: {error}");
    }
    let mut spec = fixture.script("main", "touch /data/file");
    spec.mounts = vec![Mount {
        sub_path: "made/for/it".to_owned(),
        ..bind(&fixture, "volume", "/data")
    }];
    sandbox.start_container(spec).await.unwrap();
    exit_of(&mut events, "main").await;
    assert!(fixture.path("volume/made/for/it/file").exists());
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn the_kernels_trees_cannot_be_covered_or_moved() {
    let fixture = Fixture::new();
    let (sandbox, _) = fixture.sandbox().await;
    let mut spec = fixture.container("over", &["true"]);
    spec.mounts = vec![bind(&fixture, "root", "/proc/sys")];
    assert!(matches!(
        sandbox.start_container(spec).await.unwrap_err(),
        StartError::Refused(_)
    ));
    fixture.finish(sandbox).await;

    let fixture = Fixture::new();
    fs_err::remove_dir(fixture.path("root/proc")).unwrap();
    symlink("/tmp", fixture.path("root/proc")).unwrap();
    let (sandbox, _) = fixture.sandbox().await;
    let error = sandbox
        .start_container(fixture.container("main", &["true"]))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StartError::Refused(text) if text.contains("/proc")),
        "{error}"
    );
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn the_users_file_may_be_anything() {
    let fixture = Fixture::new();
    fs_err::remove_file(fixture.path("root/etc/passwd")).unwrap();
    symlink("/dev/zero", fixture.path("root/etc/passwd")).unwrap();
    let (sandbox, _) = fixture.sandbox().await;
    let error = sandbox
        .start_container(fixture.container("main", &["true"]))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StartError::Refused(text) if text.contains("not a regular file")),
        "{error}"
    );
    fixture.finish(sandbox).await;
}
