//! What plugins are told, and in which order.

use std::collections::BTreeMap;
use std::time::Duration;

use auraed_cni::{Attachment, Error, capability};
use serde_json::{Value, json};

use crate::place::{OK, Place, attachment, list, network};

/// Writes down each call, and answers as the one before did.
fn recorder(name: &str) -> String {
    format!(
        r#"input=$(cat)
printf '{name} %s [%s] [%s] [%s] [%s] [%s] %s\n' "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_NETNS" "$CNI_IFNAME" "$CNI_ARGS" "$CNI_PATH" "$input" >> $here/calls
[ "$CNI_COMMAND" = ADD ] && echo '{{"cniVersion": "1.0.0", "interfaces": [{{"name": "eth0", "sandbox": "'$CNI_NETNS'"}}], "ips": [{{"address": "192.0.2.9/24", "interface": 0}}], "by": "{name}"}}'
exit 0"#
    )
}

fn calls(place: &Place) -> Vec<(String, Value)> {
    let text = place.read("calls");
    let calls = text.lines().map(|line| {
        let (head, input) = line.split_once(" {").unwrap();
        (
            head.to_owned(),
            serde_json::from_str(&format!("{{{input}")).unwrap(),
        )
    });
    calls.collect()
}

fn wanted() -> Attachment {
    Attachment {
        namespace: "/proc/1/fd/2".to_owned(),
        arguments: vec![
            ("IgnoreUnknown".to_owned(), "1".to_owned()),
            ("A".to_owned(), "b".to_owned()),
        ],
        capabilities: BTreeMap::from([(capability::MAC.to_owned(), json!("0a:00:00:00:00:01"))]),
        ..attachment("pod")
    }
}

#[tokio::test]
async fn a_chain_is_gone_through_forwards_and_backwards() {
    let place = Place::new();
    place.plugin("one", &recorder("one"));
    place.plugin("two", &recorder("two"));
    let config = list(
        r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [
            {"type": "one", "capabilities": {"mac": true}}, {"type": "two", "x": [1]}]}"#,
    );
    let runtime = place.runtime();
    runtime.add(&config, &wanted()).await.unwrap();
    runtime.check("pod", "eth0", "/proc/5/fd/6").await.unwrap();
    runtime.delete("pod", "eth0", None).await.unwrap();
    let bin = place.path("bin").display().to_string();
    let head = |plugin: &str, verb: &str, namespace: &str| {
        format!("{plugin} {verb} [pod] [{namespace}] [eth0] [IgnoreUnknown=1;A=b] [{bin}]")
    };
    let result = |by: &str, sandbox: &str| {
        json!({
            "cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": sandbox}],
            "ips": [{"address": "192.0.2.9/24", "interface": 0}], "by": by,
        })
    };
    let runtime_config = json!({"mac": "0a:00:00:00:00:01"});
    let one = |previous: Option<Value>| {
        let mut input =
            json!({"cniVersion": "1.0.0", "name": "net", "type": "one", "runtimeConfig": runtime_config});
        if let Some(previous) = previous {
            input["prevResult"] = previous;
        }
        input
    };
    let two = |previous| json!({"cniVersion": "1.0.0", "name": "net", "type": "two", "x": [1], "prevResult": previous});
    let (then, moved, gone) = ("/proc/1/fd/2", "/proc/5/fd/6", "/proc/0/ns/net");
    assert_eq!(
        calls(&place),
        [
            (head("one", "ADD", then), one(None)),
            (head("two", "ADD", then), two(result("one", then))),
            (head("one", "CHECK", moved), one(Some(result("two", moved)))),
            (head("two", "CHECK", moved), two(result("two", moved))),
            (head("two", "DEL", ""), two(result("two", gone))),
            (head("one", "DEL", ""), one(Some(result("two", gone)))),
        ]
    );
}

#[tokio::test]
async fn an_addition_that_fails_is_taken_back_as_a_whole() {
    let place = Place::new();
    place.plugin("one", &recorder("one"));
    place.plugin(
        "two",
        &format!("[ \"$CNI_COMMAND\" = ADD ] && exit 1\n{}", recorder("two")),
    );
    let config = network("1.0.0", &["one", "two"]);
    place.runtime().add(&config, &wanted()).await.unwrap_err();
    let verbs: Vec<_> = calls(&place)
        .into_iter()
        .map(|(head, input)| {
            (
                head.split(" [").next().unwrap().to_owned(),
                input.get("prevResult").is_some(),
            )
        })
        .collect();
    let expected = [("one ADD", false), ("two DEL", false), ("one DEL", false)];
    assert_eq!(
        verbs,
        expected.map(|(verb, previous)| (verb.to_owned(), previous))
    );
}

#[tokio::test]
async fn a_second_addition_takes_the_first_back() {
    let place = Place::new();
    place.plugin("one", &recorder("one"));
    let runtime = place.runtime();
    for _ in 0..2 {
        runtime.add(&network("1.0.0", &["one"]), &wanted()).await.unwrap();
    }
    let verbs: Vec<_> = calls(&place)
        .iter()
        .map(|(head, _)| head.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(verbs, ["ADD", "DEL", "ADD"]);
    assert_eq!(place.records(), ["pod-eth0.json"]);
}

#[tokio::test]
async fn an_unknown_container_is_deleted_already() {
    let place = Place::new();
    place.plugin("p", &format!("[ \"$CNI_COMMAND\" = DEL ] || {{ {OK}; exit 0; }}\necho '{{\"code\": 3, \"msg\": \"who?\"}}'; exit 1"));
    let runtime = place.runtime();
    runtime.add(&network("1.0.0", &["p"]), &wanted()).await.unwrap();
    assert!(runtime.delete("pod", "eth0", None).await.unwrap());
    assert!(place.records().is_empty());
}

#[tokio::test]
async fn a_deletion_that_fails_is_done_again() {
    let place = Place::new();
    let fails = format!("[ \"$CNI_COMMAND\" = DEL ] && [ ! -e $here/may ] && exit 1\n{OK}");
    place.plugin("p", &fails);
    let runtime = place.runtime();
    runtime.add(&network("1.0.0", &["p"]), &wanted()).await.unwrap();
    for _ in 0..2 {
        let error = runtime.delete("pod", "eth0", None).await.unwrap_err();
        assert!(matches!(error, Error::Failed { .. }), "{error}");
        assert_eq!(place.records(), ["pod-eth0.json"]);
    }
    fs_err::write(place.path("may"), "").unwrap();
    assert!(runtime.delete("pod", "eth0", None).await.unwrap());
}

#[tokio::test]
async fn the_version_is_the_highest_that_everybody_speaks() {
    let place = Place::new();
    for (name, versions) in [
        ("old", r#""0.4.0", "1.0.0""#),
        ("new", r#""0.4.0", "1.0.0", "1.1.0", "2.0.0""#),
    ] {
        place.plugin(
            name,
            &format!(
                r#"[ "$CNI_COMMAND" = VERSION ] && {{ echo asked >> $here/asked; echo '{{"cniVersion": "1.1.0", "supportedVersions": [{versions}]}}'; exit 0; }}
echo "{name} $(sed 's/.*"cniVersion":"\([^"]*\)".*/\1/')" >> $here/told
echo '{{}}'"#
            ),
        );
    }
    let several = |plugins: &str| {
        list(&format!(
            r#"{{"cniVersion": "0.4.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "n", "plugins": [{plugins}]}}"#
        ))
    };
    let runtime = place.runtime();
    for _ in 0..2 {
        runtime
            .add(&several(r#"{"type": "old"}, {"type": "new"}"#), &wanted())
            .await
            .unwrap();
        runtime.delete("pod", "eth0", None).await.unwrap();
    }
    assert_eq!(
        place.read("told"),
        "old 1.0.0\nnew 1.0.0\nnew 1.0.0\nold 1.0.0\n".repeat(2)
    );
    assert_eq!(place.read("asked").lines().count(), 2, "each is asked once");
    let added = runtime
        .add(&several(r#"{"type": "new"}"#), &wanted())
        .await
        .unwrap();
    assert_eq!(added.version().as_str(), "1.1.0");
}

#[tokio::test]
async fn different_containers_do_not_wait_for_each_other() {
    let place = Place::new();
    // The first waits for the second, and the other way round.
    place.plugin(
        "p",
        &format!(
            "[ \"$CNI_COMMAND\" = ADD ] || exit 0\nmkfifo $here/meet 2>/dev/null\n[ $CNI_CONTAINERID = a ] && echo > $here/meet || cat $here/meet > $here/met\n{OK}"
        ),
    );
    let (runtime, config) = (place.runtime(), network("1.0.0", &["p"]));
    let (a, b) = (attachment("a"), attachment("b"));
    let both = async { tokio::join!(runtime.add(&config, &a), runtime.add(&config, &b)) };
    let (a, b) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
}

#[tokio::test]
async fn one_container_has_one_call_at_a_time() {
    let place = Place::new();
    place.plugin(
        "p",
        &format!("mkdir $here/lock || exit 1\nsleep 0.02\nrmdir $here/lock\n{OK}"),
    );
    let (runtime, config, wanted) = (place.runtime(), network("1.0.0", &["p"]), attachment("a"));
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..12 {
        let (runtime, config, wanted) = (runtime.clone(), config.clone(), wanted.clone());
        calls.spawn(async move {
            match number % 3 {
                0 => runtime.add(&config, &wanted).await.map(drop),
                1 => runtime.check("a", "eth0", "/nowhere").await,
                _ => runtime.delete("a", "eth0", None).await.map(drop),
            }
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap().unwrap();
    }
}

#[tokio::test]
async fn status_is_asked_of_plugins_that_know_it() {
    let place = Place::new();
    let runtime = place.runtime();
    let error = runtime.status(&network("1.1.0", &["p"])).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    place.plugin(
        "p",
        &format!(
            "{}\n",
            recorder("p").replace(
                "exit 0",
                "[ -e $here/ready ] || { echo '{\"code\": 50, \"msg\": \"no agent\"}'; exit 1; }"
            )
        ),
    );
    runtime.status(&network("1.0.0", &["p"])).await.unwrap();
    assert!(calls(&place).is_empty(), "it would not know the verb");
    let error = runtime.status(&network("1.1.0", &["p"])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the network plugin "p" failed (STATUS): no agent"#
    );
    fs_err::write(place.path("ready"), "").unwrap();
    runtime.status(&network("1.1.0", &["p"])).await.unwrap();
    let (head, input) = calls(&place).pop().unwrap();
    assert_eq!(
        head,
        format!("p STATUS [] [] [] [] [{}]", place.path("bin").display())
    );
    assert_eq!(input, json!({"cniVersion": "1.1.0", "name": "test", "type": "p"}));
}

#[tokio::test]
async fn check_is_left_out_where_it_must_be() {
    let place = Place::new();
    place.plugin("p", &format!("[ \"$CNI_COMMAND\" = CHECK ] && exit 1\n{OK}"));
    let runtime = place.runtime();
    for (config, asked) in [
        (network("1.0.0", &["p"]), true),
        (network("0.3.1", &["p"]), false),
        (
            list(r#"{"cniVersion": "1.0.0", "name": "n", "disableCheck": true, "plugins": [{"type": "p"}]}"#),
            false,
        ),
    ] {
        runtime.add(&config, &wanted()).await.unwrap();
        assert_eq!(runtime.check("pod", "eth0", "/nowhere").await.is_err(), asked);
    }
}
