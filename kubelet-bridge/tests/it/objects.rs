//! Objects that pods refer to, read from an API server of the test's own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kubelet_bridge::cluster::Cluster;
use kubelet_bridge::resolve::{Held, Resolver};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use translation::References;

use crate::bridge::Home;

const PATIENCE: Duration = Duration::from_secs(30);

/// Answers for the config map `cfg`.
#[derive(Default)]
struct Script {
    /// For GETs, the last one for ever.
    gets: Vec<(StatusCode, Value)>,
    read: AtomicUsize,
    watched: AtomicUsize,
    /// Lines of the next watches.
    watches: Mutex<Vec<mpsc::UnboundedReceiver<Value>>>,
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response {
    if request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch=true"))
    {
        script.watched.fetch_add(1, Ordering::Relaxed);
        let next = script.watches.lock().expect("a lock").pop();
        let lines = next.unwrap_or_else(|| mpsc::unbounded_channel().1);
        let lines = UnboundedReceiverStream::new(lines)
            .map(|line| Ok::<_, std::convert::Infallible>(format!("{line}\n")));
        return Response::new(Body::from_stream(lines));
    }
    let count = script.read.fetch_add(1, Ordering::Relaxed);
    let (status, body) = &script.gets[count.min(script.gets.len() - 1)];
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = *status;
    response
}

fn config_map(version: u64, value: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "key": value },
        "metadata": { "name": "cfg", "namespace": "default", "uid": "u", "resourceVersion": version.to_string() } })
}

fn failure(code: StatusCode) -> (StatusCode, Value) {
    let body = json!({ "kind": "Status", "status": "Failure", "message": "no", "code": code.as_u16() });
    (code, body)
}

struct Served {
    held: Held,
    script: Arc<Script>,
    _home: Home,
}

impl Served {
    async fn value(&mut self) -> Option<String> {
        let objects = tokio::time::timeout(PATIENCE, self.held.objects())
            .await
            .expect("in time");
        let key = ("default".to_owned(), "cfg".to_owned());
        let found = objects.expect("read").config_maps.remove(&key)?;
        found.data?.remove("key")
    }

    async fn changes(&mut self) {
        tokio::time::timeout(PATIENCE, self.held.changed())
            .await
            .expect("a change in time");
    }
}

/// A pod's hold on `cfg`, with these answers; the sender writes the lines of the first watch.
async fn serve(gets: Vec<(StatusCode, Value)>) -> (Served, mpsc::UnboundedSender<Value>) {
    let (sender, lines) = mpsc::unbounded_channel();
    let script = Arc::new(Script {
        gets,
        watches: Mutex::new(vec![lines]),
        ..Script::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let home = Home::new();
    let config = fs_err::read_to_string(home.kubeconfig()).expect("read");
    let path = home.write(
        "kubeconfig",
        &config.replace("https://127.0.0.1:1", &format!("http://{address}")),
    );
    let cluster = Cluster::load(&path, "node-a").await.expect("a cluster");
    let references = References {
        config_maps: BTreeMap::from([("cfg".to_owned(), false)]),
        ..References::default()
    };
    let pod: Pod = serde_json::from_value(json!({ "metadata": { "name": "web", "namespace": "default" } }))
        .expect("a pod");
    let held = Resolver::of_cluster(cluster).hold(&pod, references);
    (
        Served {
            held,
            script,
            _home: home,
        },
        sender,
    )
}

#[tokio::test]
async fn what_is_missing_is_told_when_it_appears_and_when_it_goes() {
    let (mut served, watch) = serve(vec![failure(StatusCode::NOT_FOUND)]).await;
    assert_eq!(served.value().await, None);
    watch
        .send(json!({ "type": "ADDED", "object": config_map(7, "new") }))
        .expect("watched");
    served.changes().await;
    assert_eq!(served.value().await.as_deref(), Some("new"));
    watch
        .send(json!({ "type": "DELETED", "object": config_map(8, "new") }))
        .expect("watched");
    served.changes().await;
    assert_eq!(served.value().await, None);
}

#[tokio::test]
async fn a_node_that_may_not_read_yet_tries_again() {
    let forbidden = failure(StatusCode::FORBIDDEN);
    let gets = vec![
        forbidden.clone(),
        forbidden,
        (StatusCode::OK, config_map(5, "value")),
    ];
    let (mut served, _watch) = serve(gets).await;
    assert_eq!(served.value().await.as_deref(), Some("value"));
}

#[tokio::test]
async fn a_watch_that_lags_does_not_bring_an_old_state_back() {
    let (mut served, watch) = serve(vec![(StatusCode::OK, config_map(5, "read"))]).await;
    assert_eq!(served.value().await.as_deref(), Some("read"));
    watch
        .send(json!({ "type": "ADDED", "object": config_map(4, "old") }))
        .expect("watched");
    watch
        .send(json!({ "type": "MODIFIED", "object": config_map(6, "later") }))
        .expect("watched");
    served.changes().await;
    assert_eq!(served.value().await.as_deref(), Some("later"));
}

#[tokio::test]
async fn watches_that_fail_or_end_at_once_are_begun_anew_with_patience() {
    let (mut served, watch) = serve(vec![(StatusCode::OK, config_map(5, "read"))]).await;
    let began = Instant::now();
    let gone = json!({ "type": "ERROR", "object": failure(StatusCode::GONE).1 });
    // This watch fails, and each one after it ends at once.
    watch.send(gone).expect("watched");
    drop(watch);
    assert_eq!(served.value().await.as_deref(), Some("read"));
    let watched = || served.script.watched.load(Ordering::Relaxed);
    tokio::time::timeout(PATIENCE, async {
        while watched() < 6 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("watched again");
    // 10 ms, doubled each time, less half for jitter.
    assert!(
        began.elapsed() >= Duration::from_millis(5 + 10 + 20 + 40 + 80),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        served.script.read.load(Ordering::Relaxed),
        2,
        "read again after the failure alone"
    );
}
