//! What is away may come: the program waits, says so, and ends well when it is told to.

use crate::bridge::{Home, Running};

#[test]
fn it_waits_for_the_api_server_and_for_auraed() {
    let home = Home::new();
    home.identity();
    let running = Running::start(home.bridge().arg("--kubeconfig").arg(home.kubeconfig()));
    let line = running.says("auraed is away");
    assert!(line.contains("is auraed running"), "{line}");
    running.says("the API server is away, retrying");
    assert!(running.end());
}

#[test]
fn it_waits_for_auraed_without_a_cluster() {
    let home = Home::new();
    home.identity();
    home.write(
        "manifests/pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: { name: a }\nspec: { containers: [] }\n",
    );
    home.write("manifests/slip.yaml", "kind: [");
    let running = Running::start(
        home.bridge()
            .arg("--pod-manifest-path")
            .arg(home.path("manifests")),
    );
    running.says("auraed is away");
    let line = running.says("slip.yaml");
    assert!(line.contains("is not used"), "{line}");
    assert!(running.end());
}
