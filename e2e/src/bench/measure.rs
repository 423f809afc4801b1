//! Starts and stops as a client of the control plane sees them: from a create's answer to the watch event that first shows
//! the pod Ready, and from a delete's answer to the object being gone. Pods are bound to the node, so no scheduler is in the
//! way. Serial is latency, parallel is throughput.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;

use crate::pods;

const PATIENCE: Duration = Duration::from_secs(300);

/// One pod at a time, or all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The next pod when the one before is Ready.
    Serial,
    /// As fast as the API server takes them.
    Parallel,
}

/// Milliseconds at the median, the ninth tenth and the end.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Quantiles {
    /// Half of the pods took at most this.
    pub p50: u64,
    /// Nine tenths.
    pub p90: u64,
    /// All.
    pub max: u64,
}

/// What was measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Result {
    /// How many pods.
    pub pods: usize,
    /// Create to Ready.
    pub start_ms: Quantiles,
    /// From the first create to the last Ready.
    pub pods_per_s: f64,
    /// Delete to gone.
    pub stop_ms: Quantiles,
    /// From the first delete to the last pod gone.
    pub stopped_per_s: f64,
}

/// When each pod was first seen Ready, and gone.
#[derive(Debug, Default, Clone)]
struct Seen {
    ready: HashMap<String, Instant>,
    gone: HashMap<String, Instant>,
}

/// Runs `count` pods on `node` and takes them away again; `full` is called while all are Ready.
///
/// # Errors
/// A pod is refused, or not Ready or not gone in time.
pub(super) async fn run(
    client: &Client,
    node: &str,
    image: &str,
    mode: Mode,
    count: usize,
    full: &mut dyn FnMut(),
) -> anyhow::Result<Result> {
    let run = format!("{:x}", jiff::Timestamp::now().as_nanosecond() & 0xff_ffff_ffff);
    let api = Api::<Pod>::default_namespaced(client.clone());
    let mut seen = observe(api.clone(), &run).await?;
    let names: Vec<String> = (0..count)
        .map(|number| format!("podbench-{run}-{number}"))
        .collect();
    let begun = Instant::now();
    let mut created = HashMap::new();
    for name in &names {
        api.create(&PostParams::default(), &pod(name, &run, node, image)?)
            .await
            .with_context(|| format!("creating {name}"))?;
        created.insert(name.clone(), Instant::now());
        if mode == Mode::Serial {
            wait(&mut seen, std::slice::from_ref(name), |seen| &seen.ready).await?;
        }
    }
    let ready = wait(&mut seen, &names, |seen| &seen.ready).await?;
    let up = last(&ready, begun);
    full();
    let begun = Instant::now();
    let mut deleted = HashMap::new();
    for name in &names {
        api.delete(name, &DeleteParams::default())
            .await
            .with_context(|| format!("deleting {name}"))?;
        deleted.insert(name.clone(), Instant::now());
        if mode == Mode::Serial {
            wait(&mut seen, std::slice::from_ref(name), |seen| &seen.gone).await?;
        }
    }
    let gone = wait(&mut seen, &names, |seen| &seen.gone).await?;
    let down = last(&gone, begun);
    Ok(Result {
        pods: count,
        start_ms: quantiles(&names, &created, &ready),
        pods_per_s: count as f64 / up.as_secs_f64(),
        stop_ms: quantiles(&names, &deleted, &gone),
        stopped_per_s: count as f64 / down.as_secs_f64(),
    })
}

/// Watches the pods of this run from now on.
async fn observe(api: Api<Pod>, run: &str) -> anyhow::Result<watch::Receiver<Seen>> {
    let parameters = WatchParams::default()
        .labels(&format!("podbench={run}"))
        .timeout(290);
    let now = api
        .list_metadata(&kube::api::ListParams::default().limit(1))
        .await?;
    let version = now
        .metadata
        .resource_version
        .context("a list without a version")?;
    let (sender, receiver) = watch::channel(Seen::default());
    // Before the first create: its events have to be met.
    let events = api.watch(&parameters, &version).await?;
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        // The end of the stream shows as a time-out of the waiting side.
        while let Ok(Some(event)) = events.try_next().await {
            let now = Instant::now();
            sender.send_modify(|seen| match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) if pods::holds(&pod, "Ready") => {
                    seen.ready.entry(pod.name_any()).or_insert(now);
                }
                WatchEvent::Deleted(pod) => {
                    seen.gone.entry(pod.name_any()).or_insert(now);
                }
                _ => {}
            });
        }
    });
    Ok(receiver)
}

async fn wait(
    seen: &mut watch::Receiver<Seen>,
    names: &[String],
    of: impl Fn(&Seen) -> &HashMap<String, Instant>,
) -> anyhow::Result<HashMap<String, Instant>> {
    let all = seen.wait_for(|seen| names.iter().all(|name| of(seen).contains_key(name)));
    if let Ok(reached) = tokio::time::timeout(PATIENCE, all).await {
        return Ok(of(&*reached.context("the watch ended")?).clone());
    }
    let count = names
        .iter()
        .filter(|name| of(&seen.borrow()).contains_key(*name))
        .count();
    bail!("timed out: {count} of {} pods", names.len())
}

fn pod(name: &str, run: &str, node: &str, image: &str) -> anyhow::Result<Pod> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"podbench": run}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": true,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "c",
                "image": image,
                "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"],
            }],
        },
    }))?)
}

fn last(times: &HashMap<String, Instant>, begun: Instant) -> Duration {
    times
        .values()
        .max()
        .map_or(Duration::ZERO, |time| time.duration_since(begun))
}

fn quantiles(names: &[String], from: &HashMap<String, Instant>, to: &HashMap<String, Instant>) -> Quantiles {
    // An event may arrive before the answer to the request that caused it.
    let mut all: Vec<Duration> = names
        .iter()
        .filter_map(|name| Some(to.get(name)?.saturating_duration_since(*from.get(name)?)))
        .collect();
    all.sort_unstable();
    Quantiles {
        p50: quantile(&all, 0.5),
        p90: quantile(&all, 0.9),
        max: quantile(&all, 1.0),
    }
}

/// The value below which `part` (0 to 1) of the sorted values are, in whole milliseconds; 0 of none.
pub fn quantile(sorted: &[Duration], part: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a list in memory"
    )]
    let index = (part * sorted.len() as f64) as usize;
    let value = sorted.get(index.min(sorted.len().saturating_sub(1)));
    value.map_or(0, |value| (value.as_secs_f64() * 1000.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_values() {
        let values: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();
        assert_eq!(
            (
                quantile(&values, 0.5),
                quantile(&values, 0.9),
                quantile(&values, 1.0)
            ),
            (6, 10, 10)
        );
        assert_eq!(quantile(&[], 0.5), 0);
    }
}
