//! What the node has, and what of it pods may use.

use std::collections::BTreeMap;

use auraed_api::observe::v0::GetNodeResponse;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Registration;
use crate::quantity::{Amount, Format};

type Resources = BTreeMap<String, Quantity>;

/// What kubelet keeps back so that it can evict in time, by default. This node does not evict yet, but a scheduler should
/// find it as large as any other.
const MEMORY_KEPT: i64 = 100 * 1024 * 1024;
const STORAGE_KEPT_PERCENT: i64 = 10;

pub(super) fn capacity(registration: &Registration, facts: &GetNodeResponse) -> Resources {
    let mut capacity = Resources::from([
        (
            "cpu".to_owned(),
            Amount::whole(i64::from(facts.cpus), Format::Decimal).into(),
        ),
        ("memory".to_owned(), kibis(facts.memory_bytes)),
        ("ephemeral-storage".to_owned(), kibis(facts.storage_bytes)),
        (
            "pods".to_owned(),
            Amount::whole(i64::from(registration.max_pods), Format::Decimal).into(),
        ),
    ]);
    for pages in &facts.huge_pages {
        // Named by their size: hugepages-2Mi.
        let size = bytes(pages.page_size_bytes);
        capacity.insert(format!("hugepages-{size}"), bytes(pages.total_bytes).into());
    }
    capacity
}

pub(super) fn allocatable(capacity: &Resources, reserved: &Resources) -> Resources {
    let read = |list: &Resources, name: &str| {
        list.get(name)
            .and_then(|quantity| Amount::of(quantity).ok())
            .unwrap_or(Amount::ZERO)
    };
    let huge = capacity.keys().filter(|name| name.starts_with("hugepages-"));
    let huge = huge.fold(Amount::ZERO, |sum, name| sum.plus(read(capacity, name)));
    let of = |name: &String| {
        let left = read(capacity, name).minus(read(reserved, name));
        match name.as_str() {
            "memory" => left.minus(Amount::whole(MEMORY_KEPT, Format::Binary)).minus(huge),
            "ephemeral-storage" => {
                let kept = read(capacity, name).to_whole() / 100 * STORAGE_KEPT_PERCENT;
                // In bytes, as kubelet tells it.
                let left = left.minus(Amount::whole(kept, Format::Decimal)).to_whole();
                Amount::whole(left, Format::Decimal)
            }
            _ => left,
        }
    };
    capacity
        .keys()
        .map(|name| (name.clone(), of(name).into()))
        .collect()
}

fn bytes(value: u64) -> Amount {
    Amount::whole(i64::try_from(value).unwrap_or(i64::MAX), Format::Binary)
}

/// Whole KiB, which is how memory and storage are told.
fn kibis(value: u64) -> Quantity {
    bytes(value / 1024 * 1024).into()
}
