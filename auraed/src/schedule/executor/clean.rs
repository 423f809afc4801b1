//! Gives back what a pod had, after its end. Each part is done again until it succeeds; a crash does it from the start.

use std::io;
use std::time::Duration;

use super::node::Task;
use super::recorder::settled;
use crate::files;
use crate::schedule::machine::Input;
use crate::schedule::places::Places;
use crate::server::chain;

/// The first delay after a failure, and the longest.
const DELAYS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

impl Task {
    /// Volumes, network, address, and what the containers wrote. Logs and records stay.
    pub(super) async fn clean_up(self) {
        // Usually there is none any more; one that died while no daemon ran left its cgroups.
        self.end_by_force().await;
        self.insist("give back the network", || self.detach()).await;
        let (places, pod) = (&self.places, &self.pod);
        self.insist("remove volumes", || {
            blocking(places.clone(), pod.clone(), remove_contents)
        })
        .await;
        self.tell(Input::CleanedUp);
    }

    /// Logs, records and the pod itself. The row in SQLite goes last: while it is there, a new daemon does this again.
    pub(super) async fn forget(self) {
        let (places, pod) = (&self.places, &self.pod);
        self.insist("remove files", || {
            blocking(places.clone(), pod.clone(), remove_all)
        })
        .await;
        self.insist("forget the pod", || async {
            match settled(self.recorder.remove(pod.id.to_string())).await {
                Some(removed) => removed.map_err(|error| chain(&error)),
                None => Err("the daemon is stopping".to_owned()),
            }
        })
        .await;
        self.tell(Input::Forgotten);
    }

    async fn insist<F: Future<Output = Result<(), String>>>(&self, what: &str, act: impl Fn() -> F) {
        let mut delay = DELAYS.0;
        while let Err(error) = act().await {
            tracing::warn!(pod = %self.pod.id, error, "cannot {what}, trying again");
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(DELAYS.1);
        }
    }

    async fn detach(&self) -> Result<(), String> {
        if self.pod.host_network {
            return Ok(());
        }
        let detached = self.node.network.detach(self.pod.id.as_str(), None).await;
        detached.map_err(|error| chain(&error))
    }
}

async fn blocking(
    places: Places,
    pod: std::sync::Arc<auraed_types::Pod>,
    act: fn(&Places, &auraed_types::Pod) -> io::Result<()>,
) -> Result<(), String> {
    let done = tokio::task::spawn_blocking(move || act(&places, &pod)).await;
    done.map_err(|panicked| panicked.to_string())?
        .map_err(|error| error.to_string())
}

fn remove_contents(places: &Places, pod: &auraed_types::Pod) -> io::Result<()> {
    files::remove_tree(&places.volumes())?;
    files::remove_tree(places.run())?;
    files::remove_tree(&places.etc())?;
    for container in pod.all_containers() {
        let runs = match fs_err::read_dir(places.runs(container.name.as_str())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            runs => runs?,
        };
        for run in runs {
            let run = run?.path();
            files::remove_tree(&run.join("upper"))?;
            files::remove_tree(&run.join("work"))?;
        }
    }
    Ok(())
}

fn remove_all(places: &Places, _pod: &auraed_types::Pod) -> io::Result<()> {
    files::remove_tree(places.logs())?;
    files::remove_tree(places.run())?;
    files::remove_tree(places.state())
}
