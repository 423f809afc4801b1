//! What containers ask for and may use at most.

use std::collections::BTreeMap;

use auraed_api::runtime::v0::Resources;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::is_sidecar;
use crate::problem::Problems;
use crate::quantity::{Amount, Format};

pub(super) fn translate(path: &str, container: &Container, problems: &mut Problems) -> Option<Resources> {
    let given = container.resources.as_ref()?;
    let limits = given.limits.as_ref();
    let asked = requests(container);
    let mut read = |list: &str, amounts: Option<&BTreeMap<String, Quantity>>, name: &str, milli: bool| {
        let quantity = amounts?.get(name)?;
        let amount = Amount::of(quantity).map(|amount| {
            if milli {
                amount.to_milli()
            } else {
                amount.to_whole()
            }
        });
        match amount.map(u64::try_from) {
            // A limit of 0 is no limit, to Kubernetes as to the kernel's interfaces.
            Ok(Ok(0)) => None,
            Ok(Ok(amount)) => Some(amount),
            Ok(Err(_)) => {
                problems.refuse(format!("{path}.resources.{list}[{name}]"), "must not be negative");
                None
            }
            Err(error) => {
                problems.refuse(format!("{path}.resources.{list}[{name}]"), error.to_string());
                None
            }
        }
    };
    Some(Resources {
        cpu_limit_millicores: read("limits", limits, "cpu", true),
        memory_limit_bytes: read("limits", limits, "memory", false),
        cpu_request_millicores: read("requests", Some(&asked), "cpu", true),
        memory_request_bytes: read("requests", Some(&asked), "memory", false),
        pids_limit: None,
    })
}

/// What a container asks for: its requests, and its limits where it makes none, as the API server fills them in.
pub(crate) fn requests(container: &Container) -> BTreeMap<String, Quantity> {
    let Some(given) = &container.resources else {
        return BTreeMap::new();
    };
    let mut asked = given.limits.clone().unwrap_or_default();
    asked.extend(given.requests.clone().unwrap_or_default());
    asked
}

/// The huge pages that a container asks for: the list and the resource of each.
pub(super) fn huge_pages(container: &Container) -> Vec<(&'static str, &str)> {
    let given = container.resources.as_ref();
    let lists = [
        ("limits", given.and_then(|given| given.limits.as_ref())),
        ("requests", given.and_then(|given| given.requests.as_ref())),
    ];
    let entries = lists
        .into_iter()
        .flat_map(|(list, amounts)| amounts.into_iter().flatten().map(move |entry| (list, entry)));
    entries
        .filter(|(_, (name, amount))| {
            name.starts_with("hugepages-") && !Amount::of(amount).is_ok_and(Amount::is_zero)
        })
        .map(|(list, (name, _))| (list, name.as_str()))
        .collect()
}

/// The memory that all containers of the pod may use together; none where one of them has no limit.
pub(super) fn memory_limit(spec: &PodSpec) -> Option<Amount> {
    let limit = |container: &Container| {
        let limits = container.resources.as_ref()?.limits.as_ref()?;
        Amount::of(limits.get("memory")?)
            .ok()
            .filter(|amount| !amount.is_zero())
    };
    let nothing = Amount::whole(0, Format::Binary);
    let (mut beside, mut most) = (nothing, nothing);
    for container in spec.init_containers.iter().flatten() {
        let own = limit(container)?;
        if is_sidecar(container) {
            beside = beside.plus(own);
            most = most.max(beside);
        } else {
            most = most.max(beside.plus(own));
        }
    }
    let together = spec
        .containers
        .iter()
        .try_fold(beside, |sum, container| limit(container).map(|own| sum.plus(own)));
    together.map(|together| together.max(most))
}
