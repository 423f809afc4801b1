//! Waiting for a condition, always with a deadline and never for a fixed time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, pin_mut};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

const PAUSE: Duration = Duration::from_millis(25);

/// Asks `condition` again and again until it gives a value.
///
/// # Errors
/// The condition fails (which ends the wait at once), or `patience` is over.
pub fn blocking<T>(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = condition().with_context(|| format!("waiting for {what}"))? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {patience:?}");
        }
        std::thread::sleep(PAUSE);
    }
}

/// As [`blocking`], for a condition that waits itself. An error of the condition counts as "not yet", and the last one
/// is in the message at the deadline.
///
/// # Errors
/// `patience` is over.
pub async fn until<T>(
    patience: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        let last = match condition().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if tokio::time::Instant::now() > deadline {
            return Err(last.unwrap_or_else(|| anyhow::anyhow!("the condition does not hold")))
                .context(format!("{what}: not within {patience:?}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Watches one object until it satisfies `condition`, which sees `None` while it does not exist.
///
/// # Errors
/// `patience` is over; with the object as it was last seen.
pub async fn object<K>(
    api: &Api<K>,
    name: &str,
    patience: Duration,
    what: &str,
    condition: impl Fn(Option<&K>) -> bool,
) -> anyhow::Result<Option<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + serde::Serialize + 'static,
{
    let mut last = None;
    let watched = tokio::time::timeout(patience, async {
        let events = watcher::watch_object(api.clone(), name).default_backoff();
        pin_mut!(events);
        while let Some(seen) = events.next().await {
            // Errors are retried by the stream: the API server may be on its way up.
            let Ok(seen) = seen else { continue };
            let holds = condition(seen.as_ref());
            last = seen;
            if holds {
                return Ok(());
            }
        }
        bail!("the watch ended")
    })
    .await;
    match watched {
        Ok(result) => result.map(|()| last),
        Err(_) => {
            let seen = last.map_or_else(
                || "absent".to_owned(),
                |object| serde_json::to_string(&object).unwrap_or_default(),
            );
            bail!("{what}: {name} not within {patience:?}; last seen: {seen}")
        }
    }
}

/// Watches the objects with a label selector until the whole set satisfies `condition`.
///
/// # Errors
/// `patience` is over; with the names last seen.
pub async fn objects<K>(
    api: &Api<K>,
    labels: &str,
    patience: Duration,
    what: &str,
    condition: impl Fn(&[K]) -> bool,
) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + serde::Serialize + 'static,
{
    let (store, writer) = kube::runtime::reflector::store();
    let mut seen: Vec<K> = Vec::new();
    let watched = tokio::time::timeout(patience, async {
        let events = kube::runtime::reflector(
            writer,
            watcher(api.clone(), watcher::Config::default().labels(labels)).default_backoff(),
        );
        pin_mut!(events);
        while let Ok(event) = events.try_next().await {
            if matches!(
                event,
                None | Some(watcher::Event::Init | watcher::Event::InitApply(_))
            ) {
                continue;
            }
            seen = store.state().iter().map(|object| K::clone(object)).collect();
            if condition(&seen) {
                return;
            }
        }
    })
    .await;
    match watched {
        Ok(()) if condition(&seen) => Ok(seen),
        _ => bail!(
            "{what}: {labels} not within {patience:?}; last seen: {}",
            serde_json::to_string(&seen).unwrap_or_default()
        ),
    }
}
