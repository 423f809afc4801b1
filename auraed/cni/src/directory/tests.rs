use std::io::Write as _;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn list(name: &str) -> String {
    format!(r#"{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [{{"type": "p"}}]}}"#)
}

fn name(selected: &Arc<Selected>) -> Option<&str> {
    selected.config.as_ref().map(|config| config.name())
}

async fn next(directory: &Directory, seen: &Arc<Selected>) -> Arc<Selected> {
    tokio::time::timeout(PATIENCE, directory.changed(seen))
        .await
        .unwrap()
}

fn directory() -> (TempDir, Directory) {
    let place = tempfile::tempdir().unwrap();
    let directory = Directory::watch(place.path().join("cni/net.d"));
    (place, directory)
}

#[tokio::test]
async fn the_first_usable_file_counts() {
    let (_place, directory) = directory();
    fs_err::create_dir_all(directory.path()).unwrap();
    for (file, content) in [
        ("00-readme.txt", list("text")),
        ("05-broken.conflist", "{".to_owned()),
        (
            "06-none.json",
            r#"{"name": "a", "cniVersion": "1.0.0"}"#.to_owned(),
        ),
        (
            "10-b.conf",
            r#"{"name": "b", "cniVersion": "0.3.1", "type": "p"}"#.to_owned(),
        ),
        ("20-c.conflist", list("c")),
    ] {
        fs_err::write(directory.path().join(file), content).unwrap();
    }
    fs_err::create_dir(directory.path().join("07-directory.conf")).unwrap();
    let selected = directory.current().await;
    assert_eq!(name(&selected), Some("b"));
    assert_eq!(
        selected.file.as_deref(),
        Some(&*directory.path().join("10-b.conf"))
    );
    let problems: Vec<_> = selected
        .problems
        .iter()
        .map(|problem| {
            (
                problem.file.file_name().unwrap().to_str().unwrap(),
                &*problem.reason,
            )
        })
        .collect();
    assert_eq!(problems.len(), 2);
    assert!(problems[0].0 == "05-broken.conflist" && problems[0].1.starts_with("it is not a JSON object: "));
    assert_eq!(problems[1], ("06-none.json", "type is missing"));
}

#[tokio::test]
async fn a_directory_that_comes_later_is_noticed() {
    let (place, directory) = directory();
    let none = directory.current().await;
    assert_eq!(name(&none), None);
    let waiting = next(&directory, &none);
    let making = async {
        fs_err::create_dir(place.path().join("cni")).unwrap();
        tokio::task::yield_now().await;
        fs_err::create_dir(directory.path()).unwrap();
        tokio::task::yield_now().await;
        fs_err::write(directory.path().join("1.conflist"), list("late")).unwrap();
    };
    let (found, ()) = tokio::join!(waiting, making);
    assert_eq!(name(&found), Some("late"));
}

#[tokio::test]
async fn a_file_that_is_being_written_waits_until_it_is_whole() {
    let (place, directory) = directory();
    fs_err::create_dir_all(directory.path()).unwrap();
    fs_err::write(directory.path().join("2.conflist"), list("old")).unwrap();
    assert_eq!(name(&directory.current().await), Some("old"));
    let mut new = fs_err::File::create(directory.path().join("1.conflist")).unwrap();
    let (first, second) = (list("new"), "\n");
    new.write_all(first.as_bytes()).unwrap();
    let meanwhile = directory.current().await;
    assert_eq!((name(&meanwhile), meanwhile.problems.len()), (Some("old"), 0));
    new.write_all(second.as_bytes()).unwrap();
    drop(new);
    assert_eq!(name(&directory.current().await), Some("new"));
    // What is linked to is whole from the start.
    let whole = place.path().join("whole");
    fs_err::write(&whole, list("linked")).unwrap();
    fs_err::hard_link(&whole, directory.path().join("0.conflist")).unwrap();
    assert_eq!(name(&directory.current().await), Some("linked"));
    fs_err::remove_file(directory.path().join("0.conflist")).unwrap();
    fs_err::os::unix::fs::symlink(&whole, directory.path().join("0.conflist")).unwrap();
    assert_eq!(name(&directory.current().await), Some("linked"));
}

#[tokio::test]
async fn an_answer_is_never_older_than_the_last_change() {
    let (_place, directory) = directory();
    fs_err::create_dir_all(directory.path()).unwrap();
    for number in 0..20 {
        let (wanted, file) = (format!("n{number}"), directory.path().join("1.conflist"));
        fs_err::write(&file, list(&wanted)).unwrap();
        assert_eq!(name(&directory.current().await), Some(&*wanted));
        if number % 3 == 0 {
            fs_err::remove_file(&file).unwrap();
            assert_eq!(name(&directory.current().await), None);
        }
    }
    let new = directory.path().join("new");
    fs_err::write(&new, list("moved")).unwrap();
    fs_err::rename(&new, directory.path().join("0.conflist")).unwrap();
    assert_eq!(name(&directory.current().await), Some("moved"));
    fs_err::remove_dir_all(directory.path()).unwrap();
    assert_eq!(name(&directory.current().await), None);
    fs_err::create_dir_all(directory.path()).unwrap();
    fs_err::write(directory.path().join("1.conflist"), list("again")).unwrap();
    assert_eq!(name(&directory.current().await), Some("again"));
}

#[tokio::test]
async fn what_changes_nothing_is_no_change() {
    let (_place, directory) = directory();
    fs_err::create_dir_all(directory.path()).unwrap();
    fs_err::write(directory.path().join("1.conflist"), list("a")).unwrap();
    let seen = directory.current().await;
    fs_err::write(directory.path().join("1.conflist"), list("a")).unwrap();
    fs_err::write(directory.path().join("2.conflist"), list("b")).unwrap();
    assert!(Arc::ptr_eq(&seen, &directory.current().await));
}

#[tokio::test]
async fn plugins_of_files_beside_it_are_added() {
    let (_place, directory) = directory();
    let beside = directory.path().join("a");
    fs_err::create_dir_all(directory.path()).unwrap();
    fs_err::write(
        directory.path().join("1.conflist"),
        r#"{"cniVersion": "1.1.0", "name": "a"}"#,
    )
    .unwrap();
    let none = directory.current().await;
    assert_eq!(
        (name(&none), none.problems.len()),
        (None, 1),
        "it has no plugin yet"
    );
    fs_err::create_dir(&beside).unwrap();
    fs_err::write(beside.join("20-y.conf"), r#"{"type": "y"}"#).unwrap();
    fs_err::write(beside.join("10-x.conf"), r#"{"type": "x"}"#).unwrap();
    let kinds = |selected: &Arc<Selected>| {
        let config = selected.config.as_ref().unwrap();
        config
            .plugins()
            .iter()
            .map(|plugin| plugin.kind().to_owned())
            .collect::<Vec<_>>()
    };
    let seen = directory.current().await;
    assert_eq!(kinds(&seen), ["x", "y"]);
    fs_err::remove_file(beside.join("10-x.conf")).unwrap();
    assert_eq!(kinds(&next(&directory, &seen).await), ["y"]);
    fs_err::write(
        directory.path().join("1.conflist"),
        r#"{"cniVersion": "1.1.0", "name": "a", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "own"}]}"#,
    )
    .unwrap();
    assert_eq!(kinds(&directory.current().await), ["own"]);
}

#[tokio::test]
async fn what_is_no_file_is_told() {
    let (_place, directory) = directory();
    fs_err::create_dir_all(directory.path()).unwrap();
    let pipe = directory.path().join("1.conflist");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    fs_err::os::unix::fs::symlink("nowhere", directory.path().join("2.conflist")).unwrap();
    let selected = directory.current().await;
    assert_eq!(selected.problems[0].reason, "it is no file");
    assert_eq!(selected.problems.len(), 2);
}
