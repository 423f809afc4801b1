//! A kubeconfig that changes is used from then on; one that went wrong is not.

use std::path::Path;
use std::time::Duration;

use axum::Json;
use axum::Router;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kubelet_bridge::cluster::Cluster;
use serde_json::json;
use tokio::net::TcpListener;

use crate::bridge::Home;

const PATIENCE: Duration = Duration::from_secs(30);

/// An API server whose every object says which one it is.
async fn server(name: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
    let router = Router::new().fallback(async move || Json(object));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn asked(cluster: &Cluster) -> String {
    let api = cluster.namespaced::<ConfigMap>("default");
    cluster.call(api.get("any")).await.expect("an answer").name_any()
}

fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs_err::write(&new, content).expect("written");
    fs_err::rename(&new, path).expect("renamed");
}

#[tokio::test]
async fn a_changed_kubeconfig_is_used_and_a_broken_one_is_not() {
    let home = Home::new();
    let config = fs_err::read_to_string(home.kubeconfig()).expect("read");
    let at = |server: &str| config.replace("https://127.0.0.1:1", server);
    let path = home.write("kubeconfig", &at(&server("first").await));
    let cluster = Cluster::load(&path, "node-a").await.expect("a cluster");
    assert_eq!(asked(&cluster).await, "first");
    let mut changed = cluster.changed();
    replace(&path, "neither: [here");
    replace(&path, &at(&server("second").await));
    tokio::time::timeout(PATIENCE, changed.wait())
        .await
        .expect("it is told");
    assert_eq!(asked(&cluster).await, "second");
}
