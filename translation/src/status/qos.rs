//! Quality of service classes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pod::{containers, requests};
use crate::quantity::Amount;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    BestEffort,
    Burstable,
    Guaranteed,
}

/// A pod's quality of service class: `Guaranteed` where every container asks for exactly what it may use, of cpu and
/// memory both; `BestEffort` where none asks for anything; else `Burstable`.
pub fn qos(pod: &Pod) -> &'static str {
    let Some(spec) = &pod.spec else {
        return "BestEffort";
    };
    let classes = containers(spec).flat_map(|(_, _, container)| of_container(container));
    match classes.reduce(both) {
        Some(Class::Guaranteed) => "Guaranteed",
        Some(Class::Burstable) => "Burstable",
        Some(Class::BestEffort) | None => "BestEffort",
    }
}

fn both(one: Class, other: Class) -> Class {
    if one == other { one } else { Class::Burstable }
}

fn of_container(container: &Container) -> [Class; 2] {
    let limits = container
        .resources
        .as_ref()
        .and_then(|resources| resources.limits.as_ref());
    let asked = requests(container);
    ["cpu", "memory"].map(|resource| {
        let asked = amount(Some(&asked), resource);
        let limit = amount(limits, resource);
        match (asked == limit, asked.is_zero()) {
            (false, _) => Class::Burstable,
            (true, true) => Class::BestEffort,
            (true, false) => Class::Guaranteed,
        }
    })
}

fn amount(list: Option<&BTreeMap<String, Quantity>>, resource: &str) -> Amount {
    list.and_then(|list| list.get(resource))
        .and_then(|quantity| Amount::of(quantity).ok())
        .unwrap_or(Amount::ZERO)
}
