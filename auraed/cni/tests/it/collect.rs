//! Collecting what belongs to nobody.

use auraed_cni::{Error, Runtime};
use serde_json::Value;

use crate::place::{OK, Place, attachment, list, network};

fn plugin(place: &Place) {
    place.plugin(
        "p",
        &format!("input=$(cat); echo \"$CNI_COMMAND $CNI_CONTAINERID $input\" >> $here/calls\n{OK}"),
    );
}

fn verbs(place: &Place) -> Vec<String> {
    let calls = place.read("calls");
    let mut verbs: Vec<_> = calls
        .lines()
        .map(|line| line.split(" {").next().unwrap().trim().to_owned())
        .collect();
    verbs.retain(|verb| !verb.starts_with("ADD"));
    verbs.sort();
    verbs
}

async fn three(place: &Place, version: &str) -> Runtime {
    plugin(place);
    let runtime = place.runtime();
    for id in ["a", "b", "c"] {
        runtime
            .add(&network(version, &["p"]), &attachment(id))
            .await
            .unwrap();
    }
    runtime
}

#[tokio::test]
async fn stale_attachments_are_deleted_and_the_valid_ones_told() {
    let place = Place::new();
    three(&place, "1.1.0").await;
    let other = list(r#"{"cniVersion": "1.1.0", "name": "other", "plugins": [{"type": "p"}]}"#);
    place.runtime().add(&other, &attachment("d")).await.unwrap();
    let errors = place
        .runtime()
        .collect(Some(&network("1.1.0", &["p"])), |id| id != "b")
        .await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(verbs(&place), ["DEL b", "GC"]);
    assert_eq!(place.records(), ["a-eth0.json", "c-eth0.json", "d-eth0.json"]);
    let calls = place.read("calls");
    let input: Value =
        serde_json::from_str(calls.lines().last().unwrap().strip_prefix("GC  ").unwrap()).unwrap();
    let mut valid: Vec<_> = input["cni.dev/valid-attachments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!(
                "{} {}",
                one["containerID"].as_str().unwrap(),
                one["ifname"].as_str().unwrap()
            )
        })
        .collect();
    valid.sort();
    assert_eq!(valid, ["a eth0", "c eth0"], "those of this network");
}

#[tokio::test]
async fn plugins_that_do_not_know_it_are_not_asked() {
    for config in [
        network("1.0.0", &["p"]),
        list(r#"{"cniVersion": "1.1.0", "name": "test", "disableGC": true, "plugins": [{"type": "p"}]}"#),
    ] {
        let place = Place::new();
        let runtime = three(&place, "1.0.0").await;
        let errors = runtime.collect(Some(&config), |_| false).await;
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(verbs(&place), ["DEL a", "DEL b", "DEL c"]);
        assert!(place.records().is_empty());
    }
}

#[tokio::test]
async fn all_failures_are_told_and_the_rest_is_done() {
    let place = Place::new();
    let runtime = three(&place, "1.1.0").await;
    place.plugin(
        "p",
        &format!("[ \"$CNI_CONTAINERID\" = a ] || [ $CNI_COMMAND = GC ] && exit 1\n{OK}"),
    );
    place.plugin("q", "echo $CNI_COMMAND >> $here/after");
    let errors = runtime
        .collect(Some(&network("1.1.0", &["p", "q"])), |_| false)
        .await;
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().all(|error| matches!(error, Error::Failed { .. })));
    assert_eq!(place.records(), ["a-eth0.json"], "it is to be tried again");
    assert_eq!(place.read("after"), "GC\n");
}

#[tokio::test]
async fn what_is_added_meanwhile_stays() {
    let place = Place::new();
    let runtime = three(&place, "1.0.0").await;
    place.plugin(
        "p",
        &format!("sleep 0.05; [ $CNI_COMMAND = DEL ] && echo $CNI_CONTAINERID >> $here/deleted\n{OK}"),
    );
    // Nobody lives when it begins; while it goes on, each becomes somebody's again.
    let living = std::sync::Mutex::new(Vec::new());
    let lives = |id: &str| living.lock().unwrap().iter().any(|living| living == id);
    let config = network("1.0.0", &["p"]);
    let adding = async {
        for id in ["a", "b", "c"] {
            living.lock().unwrap().push(id.to_owned());
            runtime.add(&config, &attachment(id)).await.unwrap();
        }
    };
    let (errors, ()) = tokio::join!(runtime.collect(None, lives), adding);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(place.records(), ["a-eth0.json", "b-eth0.json", "c-eth0.json"]);
    for id in ["a", "b", "c"] {
        assert!(runtime.added(id, "eth0").await.unwrap().is_some());
    }
}
