//! critest's own benchmarks: containers and sandboxes, one at a time, as its authors measure them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::home;
use crate::network::NetworkNamespace;
use crate::process::Launch;
use crate::registry::Registry;
use crate::scratch::Scratch;

/// Lives of each kind.
const NUMBER: usize = 20;
const LIMIT: Duration = Duration::from_secs(300);
/// What is measured, and the file that critest writes.
const KINDS: [(&str, &str); 2] = [
    ("container", "container_benchmark_data.json"),
    ("pod", "pod_benchmark_data.json"),
];

/// What critest writes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Results {
    operations_names: Vec<String>,
    datapoints: Vec<Datapoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Datapoint {
    operations_durations_ns: Vec<u64>,
}

/// Operations and their microseconds at the median.
pub(super) fn run(
    scratch: &Scratch,
    network: &NetworkNamespace,
    socket: &Path,
    name: &str,
) -> anyhow::Result<Vec<(String, u64)>> {
    let word: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let place = scratch.path().join(format!("critest-{word}"));
    fs_err::create_dir_all(place.join("out"))?;
    fs_err::write(
        place.join("parameters.yaml"),
        format!(
            "containersNumber: {NUMBER}
containersNumberParallel: 1
containerBenchmarkTimeoutSeconds: 60
podsNumber: {NUMBER}
podsNumberParallel: 1
podBenchmarkTimeoutSeconds: 60
"
        ),
    )?;
    let busybox = Registry::reference("busybox");
    fs_err::write(
        place.join("images.yaml"),
        format!("defaultTestContainerImage: {busybox}\nwebServerTestImage: {busybox}\n"),
    )?;
    let launch = Launch::new("critest", home::built("critest")?)
        // It does not remove all that it makes there.
        .env("TMPDIR", &place)
        .arg("--benchmark")
        .arg("--runtime-endpoint")
        .arg(format!("unix://{}", socket.display()))
        .arg("--benchmarking-output-dir")
        .arg(place.join("out"))
        .arg("--benchmarking-params-file")
        .arg(place.join("parameters.yaml"))
        .arg("--test-images-file")
        .arg(place.join("images.yaml"))
        .arg("--ginkgo.focus=benchmark about operations on (Container|PodSandbox)");
    let program = network
        .spawner()
        .launch(&launch, &scratch.log(&format!("critest-{word}")))?;
    if program.wait(LIMIT).is_none() {
        bail!(
            "critest does not end; the end of its output:\n{}",
            program.tail(20)
        );
    }
    let mut operations = Vec::new();
    for (kind, file) in KINDS {
        let text = fs_err::read(place.join("out").join(file))
            .with_context(|| format!("critest has measured no {kind}:\n{}", program.tail(20)))?;
        operations.extend(medians(&serde_json::from_slice(&text)?));
    }
    Ok(operations)
}

fn medians(results: &Results) -> Vec<(String, u64)> {
    let names = results.operations_names.iter().enumerate();
    let median = |index: usize| {
        let points = results.datapoints.iter();
        let mut all: Vec<u64> = points
            .filter_map(|point| point.operations_durations_ns.get(index).copied())
            .collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default() / 1000
    };
    names.map(|(index, name)| (name.clone(), median(index))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_each_operation_is_taken() {
        let text = r#"{"operationsNames": ["Create", "Run"], "numParallel": 1, "datapoints": [
            {"sampleIndex": 0, "operationsDurationsNs": [1000, 9000]},
            {"sampleIndex": 1, "operationsDurationsNs": [3000, 7000]},
            {"sampleIndex": 2, "operationsDurationsNs": [2000, 8000]}]}"#;
        let results: Results = serde_json::from_str(text).unwrap();
        assert_eq!(
            medians(&results),
            [("Create".to_owned(), 2), ("Run".to_owned(), 8)]
        );
    }
}
