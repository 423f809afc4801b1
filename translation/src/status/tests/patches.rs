use super::*;

#[test]
fn the_same_status_needs_no_patch() {
    let pod = pod(one(), json!({}));
    let seen = seen(Phase::Running, vec![running("main")]);
    let first = to_kubernetes(&seen, &pod, &node(), now());
    let mut later = pod.clone();
    later.status = Some(first.clone());
    let second = to_kubernetes(&seen, &later, &node(), "2026-01-02T04:00:00Z".parse().unwrap());
    assert_eq!(patch(&first, &second, "u-1"), None);
}

#[test]
fn a_change_is_sent_with_the_uid_and_nothing_else() {
    let pod = pod(one(), json!({}));
    let first = to_kubernetes(&seen(Phase::Running, vec![running("main")]), &pod, &node(), now());
    let mut later = pod.clone();
    later.status = Some(first.clone());
    let mut main = running("main");
    main.ready = false;
    let second = to_kubernetes(
        &seen(Phase::Running, vec![main]),
        &later,
        &node(),
        "2026-01-02T04:00:00Z".parse().unwrap(),
    );
    let patch = patch(&first, &second, "u-1").unwrap();
    assert_eq!(patch["metadata"], json!({ "uid": "u-1" }));
    let status = patch["status"].as_object().unwrap();
    let fields: Vec<_> = status.keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        ["$setElementOrder/conditions", "conditions", "containerStatuses"]
    );
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "False", "reason": "ContainersNotReady",
            "message": "containers with unready status: [main]", "lastTransitionTime": "2026-01-02T04:00:00Z",
        })
    };
    assert_eq!(
        status["conditions"],
        json!([condition("Ready"), condition("ContainersReady")])
    );
    assert_eq!(status["containerStatuses"].as_array().unwrap().len(), 1);
}

#[test]
fn what_others_wrote_is_left_alone() {
    let before = json!({
        "nominatedNodeName": "n",
        "resourceClaimStatuses": [{ "name": "c" }],
        "conditions": [{ "type": "a.example/x", "status": "True" }],
        "volumeHealth": [{ "name": "v" }],
    });
    let pod = pod(one(), before);
    let new = to_kubernetes(&seen(Phase::Running, vec![running("main")]), &pod, &node(), now());
    let patch = patch(pod.status.as_ref().unwrap(), &new, "u-1").unwrap();
    let status = patch["status"].as_object().unwrap();
    for field in ["nominatedNodeName", "resourceClaimStatuses", "volumeHealth"] {
        assert!(!status.contains_key(field), "{field}");
    }
    assert!(
        status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .all(|condition| condition["type"] != "a.example/x")
    );
}
