use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn open(directory: &Path) -> Partials {
    Partials::open(directory.join("partial"), 4 * LEAST, DAY).unwrap()
}

#[tokio::test]
async fn a_part_is_taken_up_by_one_at_a_time_and_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let partials = open(directory.path());
    assert!(partials.hold(&digest("small"), LEAST - 1).await.is_none());
    assert!(partials.hold(&digest("large"), 5 * LEAST).await.is_none());
    let mut first = partials.hold(&digest("a"), LEAST).await.unwrap();
    assert_eq!(first.known(), 0);
    first.append(b"abc").unwrap();
    // Who comes meanwhile waits for it.
    let name = digest("a");
    let mut waiting = Box::pin(partials.hold(&name, LEAST));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err());
    drop(first);
    let again = waiting.await.unwrap();
    assert_eq!(again.known(), 3);
    drop((again, partials));

    fs_err::write(directory.path().join("partial/stray"), "x").unwrap();
    let partials = open(directory.path());
    assert!(!directory.path().join("partial/stray").exists());
    assert_eq!(partials.usage().inodes, 1);
    let mut again = partials.hold(&digest("a"), LEAST).await.unwrap();
    assert_eq!(read_at(&again.reader().unwrap(), 1, 2).unwrap(), b"bc");
    again.append(b"de").unwrap();
    let path = again.path();
    assert_eq!(fs_err::read_to_string(&path).unwrap(), "abcde");
    again.remove();
    assert!(!path.exists());
    assert_eq!(partials.usage(), Usage::default());
}

#[tokio::test]
async fn the_oldest_parts_make_room() {
    let directory = tempfile::tempdir().unwrap();
    let partials = open(directory.path());
    for (text, age) in [("old", 3), ("older", 4), ("young", 2)] {
        let part = partials.hold(&digest(text), LEAST).await.unwrap();
        part.file.set_len(LEAST).unwrap();
        part.bytes.store(LEAST, Ordering::Relaxed);
        drop(part);
        let mut parts = partials.shared.parts();
        parts.get_mut(&digest(text).file_name()).unwrap().changed -= Duration::from_secs(age);
    }
    let large = partials.hold(&digest("large"), 2 * LEAST).await.unwrap();
    let here = |text| {
        directory
            .path()
            .join("partial")
            .join(digest(text).file_name())
            .exists()
    };
    assert!(here("large") && here("old") && here("young") && !here("older"));
    // What is held makes no room.
    assert!(partials.hold(&digest("another"), 3 * LEAST).await.is_none());
    assert!(!here("another"));
    drop(large);
}

#[tokio::test]
async fn old_parts_go() {
    let directory = tempfile::tempdir().unwrap();
    let partials = open(directory.path());
    drop(partials.hold(&digest("a"), LEAST).await);
    partials
        .shared
        .parts()
        .values_mut()
        .for_each(|part| part.changed -= 2 * DAY);
    drop(partials.hold(&digest("b"), LEAST).await);
    assert_eq!(partials.usage().inodes, 1);
    drop(partials);
    let none = Partials::open(directory.path().join("partial"), 4 * LEAST, Duration::ZERO).unwrap();
    assert_eq!(none.usage().inodes, 0);
    drop(partials_of_nothing(directory.path()).await);
}

async fn partials_of_nothing(directory: &Path) -> Partials {
    let partials = Partials::open(directory.join("partial"), 0, DAY).unwrap();
    assert!(partials.hold(&digest("a"), LEAST).await.is_none());
    partials
}

#[tokio::test(start_paused = true)]
async fn a_part_comes_of_age_without_anybody_asking() {
    let directory = tempfile::tempdir().unwrap();
    let partials = open(directory.path());
    partials.expire_in_time();
    drop(partials.hold(&digest("a"), LEAST).await);
    // The clock of the files does not stand still for a test.
    partials
        .shared
        .parts()
        .values_mut()
        .for_each(|part| part.changed -= DAY);
    partials.shared.left.notify_one();
    while partials.usage().inodes > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
