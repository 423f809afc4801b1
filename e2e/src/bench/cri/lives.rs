//! Pods from the first call to the last: one after the other for latency, many at once for throughput.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use super::client::{Client, Sandbox};
use crate::memory::Weight;

/// The calls of a pod's life, in their order.
pub(super) const CALLS: [&str; 7] = [
    "RunPodSandbox",
    "CreateContainer",
    "StartContainer",
    "ExecSync",
    "StopContainer",
    "StopPodSandbox",
    "RemovePodSandbox",
];
/// How many of them make a pod run.
const START: usize = 3;
/// A workload that ends when it is told to.
const COMMAND: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"];
/// From where on they end it.
const STOP: usize = 4;

/// What pods took.
#[derive(Debug, Clone, Serialize)]
pub struct Lives {
    /// How many.
    pub pods: usize,
    /// Each call's microseconds at the median and the ninth tenth.
    pub calls: Vec<(String, u64, u64)>,
    /// Until a pod's container runs.
    pub start_us: (u64, u64),
    /// Until nothing of it is left.
    pub stop_us: (u64, u64),
    /// Both together.
    pub start_and_stop_us: (u64, u64),
    /// Whole lives, by the clock.
    pub pods_per_s: f64,
}

type Life = [Duration; CALLS.len()];

/// A running pod, and what its calls took so far.
struct Running {
    sandbox: Sandbox,
    container: String,
    life: Life,
}

/// Whole lives, the next when the one before is over.
pub(super) async fn one_after_the_other(client: &Client, count: usize) -> anyhow::Result<Lives> {
    let begun = Instant::now();
    let mut lives = Vec::new();
    for number in 0..count {
        let running = start(client.clone(), format!("serial-{number}")).await?;
        lives.push(end(client.clone(), running).await?);
    }
    Ok(summary(&lives, begun.elapsed()))
}

/// All start at once; when all run they are weighed, and end at once.
pub(super) async fn at_once(
    client: &Client,
    count: usize,
    weigh: &dyn Fn() -> Vec<Weight>,
) -> anyhow::Result<(Lives, Vec<Weight>)> {
    let begun = Instant::now();
    let mut starts = JoinSet::new();
    for number in 0..count {
        starts.spawn(start(client.clone(), format!("parallel-{number}")));
    }
    let running = all(starts).await?;
    let up = begun.elapsed();
    let full = weigh();
    let begun = Instant::now();
    let mut ends = JoinSet::new();
    for pod in running {
        ends.spawn(end(client.clone(), pod));
    }
    let lives = all(ends).await?;
    Ok((summary(&lives, up + begun.elapsed()), full))
}

async fn all<T: 'static>(mut tasks: JoinSet<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let mut values = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        values.push(joined??);
    }
    Ok(values)
}

async fn start(client: Client, name: String) -> anyhow::Result<Running> {
    let mut life = Life::default();
    let sandbox = timed(&mut life[0], client.run_sandbox(&name)).await?;
    let container = timed(&mut life[1], client.create_container(&sandbox, "c", &COMMAND)).await?;
    timed(&mut life[2], client.start_container(&container)).await?;
    Ok(Running {
        sandbox,
        container,
        life,
    })
}

async fn end(client: Client, running: Running) -> anyhow::Result<Life> {
    let Running {
        sandbox,
        container,
        mut life,
    } = running;
    timed(&mut life[3], client.exec_true(&container)).await?;
    timed(&mut life[4], client.stop_container(&container)).await?;
    timed(&mut life[5], client.stop_sandbox(&sandbox)).await?;
    timed(&mut life[6], client.remove_sandbox(&sandbox)).await?;
    Ok(life)
}

async fn timed<T>(took: &mut Duration, call: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let begun = Instant::now();
    let result = call.await;
    *took = begun.elapsed();
    result
}

fn summary(lives: &[Life], took: Duration) -> Lives {
    let of = |range: std::ops::Range<usize>| {
        let sums = lives.iter().map(|life| life[range.clone()].iter().sum());
        quantiles(sums.collect())
    };
    let calls = CALLS.iter().enumerate().map(|(index, name)| {
        let (p50, p90) = of(index..index + 1);
        ((*name).to_owned(), p50, p90)
    });
    let start_and_stop = lives.iter().map(|life| {
        let start: Duration = life[..START].iter().sum();
        let stop: Duration = life[STOP..].iter().sum();
        start + stop
    });
    Lives {
        pods: lives.len(),
        calls: calls.collect(),
        start_us: of(0..START),
        stop_us: of(STOP..CALLS.len()),
        start_and_stop_us: quantiles(start_and_stop.collect()),
        pods_per_s: lives.len() as f64 / took.as_secs_f64(),
    }
}

/// Microseconds at the median and the ninth tenth.
pub(super) fn quantiles(mut all: Vec<Duration>) -> (u64, u64) {
    all.sort_unstable();
    let at = |tenths: usize| {
        let value = all.get((all.len() * tenths / 10).min(all.len().saturating_sub(1)));
        value.map_or(0, |value| u64::try_from(value.as_micros()).unwrap_or(u64::MAX))
    };
    (at(5), at(9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_add_up_to_starts_and_stops() {
        let life: Life = std::array::from_fn(|index| Duration::from_micros(1 << index));
        let lives = summary(&[life], Duration::from_secs(1));
        assert_eq!((lives.start_us.0, lives.stop_us.0), (7, 16 + 32 + 64));
        assert_eq!(lives.start_and_stop_us.0, 7 + 112);
        assert_eq!(lives.calls[3], ("ExecSync".to_owned(), 8, 8));
    }
}
