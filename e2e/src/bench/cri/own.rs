//! What a container costs by itself: one that runs `true` in a sandbox that is there, and beside it what an OCI runtime
//! needs for the same without anybody above it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cri_api::v1::ContainerEventType;
use serde::Serialize;

use super::client::Client;
use super::lives::quantiles;
use crate::containerd::Oci;
use crate::home;
use crate::network::NetworkNamespace;
use crate::process::output;
use crate::scratch::Scratch;

/// Containers, one after the other.
const NUMBER: usize = 40;

/// Microseconds at the median and the ninth tenth.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Own {
    /// From StartContainer until the event that tells that `true` has ended.
    pub through_cri_us: (u64, u64),
    /// The runtime alone: for auraed the same, as nothing smaller runs a container there; `runc run` or `crun run` else.
    pub alone_us: (u64, u64),
}

/// Containers of one sandbox; `alone` tells what the runtime below needs, if there is one below.
pub(super) async fn run(client: &Client, alone: Option<(u64, u64)>) -> anyhow::Result<Own> {
    let sandbox = client.run_sandbox("own").await?;
    let mut events = client.events().await?;
    let mut took = Vec::new();
    // The first is not what is measured.
    for number in 0..=NUMBER {
        let container = client
            .create_container(&sandbox, &format!("true-{number}"), &["true"])
            .await?;
        let begun = Instant::now();
        let start = client.start_container(&container);
        let ended = async {
            loop {
                let event = events.message().await?.context("the stream of events ends")?;
                if event.container_id == container
                    && event.container_event_type() == ContainerEventType::ContainerStoppedEvent
                {
                    return anyhow::Ok(begun.elapsed());
                }
            }
        };
        let ((), elapsed) = tokio::try_join!(start, ended)?;
        if number > 0 {
            took.push(elapsed);
        }
        client.remove_container(&container).await?;
    }
    client.stop_sandbox(&sandbox).await?;
    client.remove_sandbox(&sandbox).await?;
    let through_cri_us = quantiles(took);
    Ok(Own {
        through_cri_us,
        alone_us: alone.unwrap_or(through_cri_us),
    })
}

/// `true` by an OCI runtime of `tree` alone: with the namespaces, mounts and filters of its own example configuration, and a
/// root that is there already.
///
/// # Errors
/// It does not run.
pub(super) fn alone(
    scratch: &Scratch,
    network: &NetworkNamespace,
    tree: &Path,
    oci: Oci,
) -> anyhow::Result<(u64, u64)> {
    let bundle = scratch.path().join(format!("bundle-{}", oci.name()));
    let programs = bundle.join("rootfs/bin");
    fs_err::create_dir_all(&programs)?;
    let busybox = home::built("busybox")?;
    fs_err::copy(busybox, programs.join("true"))?;
    // The shell's clock has microseconds; a program that is started for each reading would be measured along.
    let script = format!(
        "set -e
umount /sys/fs/cgroup/unified 2> /dev/null || true
cd {bundle}
{oci} spec
sed -i -e 's/\"terminal\": true/\"terminal\": false/' -e 's/\"sh\"/\"true\"/' config.json
for number in $(seq 0 {NUMBER}); do
  begun=$EPOCHREALTIME
  {oci} --root {bundle}/state run own-$number < /dev/null
  ended=$EPOCHREALTIME
  echo $((${{ended/./}} - ${{begun/./}}))
done",
        bundle = bundle.display(),
        oci = oci.program(tree).display(),
    );
    let mut command = network.command("unshare");
    command
        .args(["--mount", "--propagation", "private", "--", "bash", "-c"])
        .arg(script)
        .env("LD_LIBRARY_PATH", tree.join("usr/lib/x86_64-linux-gnu"));
    let printed = output(&mut command).with_context(|| format!("running {} alone", oci.name()))?;
    let took: Result<Vec<Duration>, _> = printed
        .lines()
        .skip(1)
        .map(|line| line.parse().map(Duration::from_micros))
        .collect();
    let took = took.with_context(|| format!("{} printed {printed:?}", oci.name()))?;
    ensure!(took.len() == NUMBER, "{} ran {} times", oci.name(), took.len());
    Ok(quantiles(took))
}
