//! What a container costs through a running daemon's API: `cargo run --release -p auraed-client --example starts -- SOCKET
//! IDENTITY IMAGE LOG-DIRECTORY [ROUNDS [PAUSE]]`. IMAGE is there already and has `true`; PAUSE are milliseconds between a
//! container's creation and its start.
#![expect(clippy::print_stdout, reason = "figures")]

use auraed_api::runtime::v0 as api;
use auraed_client::{Client, ClientConfig};
use std::error::Error;
use std::time::{Duration, Instant};

const SANDBOX: &str = "starts";
/// As kubelet asks for them.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or_else(|| format!("{what} is missing"));
    let config = ClientConfig {
        socket: next("SOCKET")?.into(),
        identity: next("IDENTITY")?.into(),
    };
    let image = next("IMAGE")?;
    let log = next("LOG-DIRECTORY")?;
    let rounds: u32 = next("ROUNDS").map_or(Ok(200), |rounds| rounds.parse())?;
    let pause: u64 = next("PAUSE").map_or(Ok(0), |pause| pause.parse())?;
    let pause = Duration::from_millis(pause);
    let client = Client::connect(config).await?;
    let spec = api::SandboxSpec {
        id: SANDBOX.into(),
        name: SANDBOX.into(),
        namespace: SANDBOX.into(),
        uid: SANDBOX.into(),
        network: api::NamespaceMode::Node.into(),
        pid: api::NamespaceMode::Container.into(),
        ..api::SandboxSpec::default()
    };
    let request = api::CreateSandboxRequest { spec: Some(spec) };
    client.sandboxes().create_sandbox(request).await?;
    let mut times: [Vec<Duration>; 4] = Default::default();
    // The first is not what is measured.
    for round in 0..=rounds {
        let took = one(&client, (&image, &log), round, pause).await?;
        if round > 0 {
            times
                .iter_mut()
                .zip(took)
                .for_each(|(times, took)| times.push(took));
        }
    }
    let request = api::RemoveSandboxRequest { id: SANDBOX.into() };
    client.sandboxes().remove_sandbox(request).await?;
    for (name, mut values) in ["create", "start", "until it has ended", "remove"]
        .into_iter()
        .zip(times)
    {
        values.sort();
        let at = |percent: usize| values[(values.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        println!(
            "{name:18} least {:5.2} ms   p50 {:5.2} ms   p90 {:5.2} ms",
            at(0),
            at(50),
            at(90)
        );
    }
    Ok(())
}

/// One container's life: to its creation, from there to the answer to its start and to its end, then to its removal.
async fn one(
    client: &Client,
    (image, log): (&str, &str),
    round: u32,
    pause: Duration,
) -> Result<[Duration; 4], Box<dyn Error>> {
    let id = format!("{SANDBOX}-{round}");
    let spec = api::ContainerSpec {
        id: id.clone(),
        sandbox: SANDBOX.into(),
        name: id.clone(),
        image: image.into(),
        command: vec!["true".into()],
        log_path: format!("{log}/{id}.log"),
        security: Some(api::ProcessSecurity {
            pid: api::NamespaceMode::Container.into(),
            masked_paths: MASKED.map(str::to_owned).into(),
            read_only_paths: READ_ONLY.map(str::to_owned).into(),
            ..api::ProcessSecurity::default()
        }),
        ..api::ContainerSpec::default()
    };
    let mut events = client
        .sandboxes()
        .watch_sandboxes(api::WatchSandboxesRequest {})
        .await?
        .into_inner();
    let begun = Instant::now();
    let request = api::CreateContainerRequest { spec: Some(spec) };
    client.containers().create_container(request).await?;
    let created = begun.elapsed();
    tokio::time::sleep(pause).await;
    let begun = Instant::now();
    let request = api::StartContainerRequest { id: id.clone() };
    client.containers().start_container(request).await?;
    let started = begun.elapsed();
    loop {
        let message = events.message().await?.ok_or("the watch ends")?;
        let Some(event) = message.event else { continue };
        if event.container == id && event.kind() == api::RuntimeEventKind::Stopped {
            break;
        }
    }
    let ended = begun.elapsed();
    let request = api::GetContainerRequest { id: id.clone() };
    let status = client.containers().get_container(request).await?.into_inner();
    let code = status.container.map(|container| container.exit_code);
    if code != Some(0) {
        return Err(format!("{id} ended with {code:?}").into());
    }
    let begun = Instant::now();
    let request = api::RemoveContainerRequest { id };
    client.containers().remove_container(request).await?;
    Ok([created, started, ended, begun.elapsed()])
}
