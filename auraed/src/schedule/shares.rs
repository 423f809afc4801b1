//! The classes' shares of the processors: each class together weighs what its running pods ask for together.
//!
//! One task follows the statuses and writes the weights, off everyone's path. What cannot be written is logged, and
//! written with the next change: pods run on with the weights that were.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use auraed_sandbox::cgroup::Qos;
use auraed_types::{Pod, PodId};

use super::executor::qos;
use super::registry::Registry;
use super::spec;
use super::watch::{Change, Watch};
use crate::server::chain;

/// What a pod's group weighs that asks for nothing.
const LEAST: u64 = 2;

/// Who weighs what.
#[derive(Debug, Default)]
struct Weights {
    pods: BTreeMap<PodId, (Qos, u64)>,
    written: HashMap<Qos, u64>,
}

impl Weights {
    fn add(&mut self, pod: &Pod) {
        let shares = spec::pod_limits(pod).cpu_shares.unwrap_or(LEAST);
        self.pods.insert(pod.id.clone(), (qos(pod), shares));
    }

    /// Classes whose weight is not what it was when it was written last. Those without pods have no group to weigh.
    fn changed(&mut self) -> Vec<(Qos, u64)> {
        let mut sums: HashMap<Qos, u64> = HashMap::new();
        for (class, shares) in self.pods.values() {
            let sum = sums.entry(*class).or_default();
            *sum = match class {
                Qos::BestEffort => LEAST,
                _ => sum.saturating_add(*shares),
            };
        }
        let changed = sums
            .into_iter()
            .filter(|(class, sum)| self.written.get(class) != Some(sum));
        changed.collect()
    }
}

/// Follows the pods until the engine shuts down.
pub(super) async fn follow(registry: Arc<Registry>, mut watch: Watch) {
    let mut weights = Weights::default();
    while let Some(change) = watch.next().await {
        match change {
            // Its group is there once the sandbox is.
            Change::Status(status) if status.sandbox.ready => {
                if !weights.pods.contains_key(&status.id)
                    && let Some(entry) = registry.entry(&status.id)
                {
                    weights.add(&entry.cell.pod());
                }
            }
            Change::Status(status) if status.finished => drop(weights.pods.remove(&status.id)),
            Change::Removed(id) => drop(weights.pods.remove(&id)),
            Change::Status(_) | Change::Synced => continue,
        }
        for (class, shares) in weights.changed() {
            match registry.host().cgroups().set_qos_shares(class, shares) {
                Ok(()) => drop(weights.written.insert(class, shares)),
                Err(error) => {
                    tracing::warn!(
                        ?class,
                        shares,
                        error = chain(&error),
                        "the share of a class stays as it was"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use auraed_api::runtime::v0 as runtime;

    fn pod(id: &str, cpu_request: Option<u64>, limited: bool) -> Pod {
        let resources = runtime::Resources {
            cpu_request_millicores: cpu_request,
            cpu_limit_millicores: cpu_request.filter(|_| limited),
            memory_limit_bytes: limited.then_some(1 << 20),
            ..Default::default()
        };
        let message = auraed_api::schedule::v0::Pod {
            id: id.into(),
            name: id.into(),
            containers: vec![runtime::Container {
                name: "c".into(),
                image: "i".into(),
                resources: Some(resources),
                ..Default::default()
            }],
            ..Default::default()
        };
        message.try_into().unwrap()
    }

    #[test]
    fn a_class_weighs_what_its_pods_ask_for() {
        let mut weights = Weights::default();
        assert_eq!(weights.changed(), []);
        weights.add(&pod("a", Some(500), false));
        weights.add(&pod("b", Some(1000), false));
        weights.add(&pod("c", None, false));
        weights.add(&pod("d", None, false));
        weights.add(&pod("e", Some(2000), true));
        let mut changed = weights.changed();
        changed.sort_by_key(|(_, shares)| *shares);
        assert_eq!(
            changed,
            [
                (Qos::BestEffort, 2),
                (Qos::Burstable, 1536),
                (Qos::Guaranteed, 2048)
            ]
        );
        weights.written.extend(changed);
        assert_eq!(weights.changed(), []);
        weights.pods.remove("a");
        weights.pods.remove("e");
        assert_eq!(weights.changed(), [(Qos::Burstable, 1024)]);
    }
}
