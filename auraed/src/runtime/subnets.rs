//! AssignPodSubnets: the subnets that the cluster gave this node.

use super::About;
use crate::network::Assigned;
use crate::server::status::Failure;
use auraed_api::runtime::v0 as api;

/// One of each family, and a few more to tell of.
const MOST: usize = 16;

pub(super) async fn assign(
    about: &About,
    request: api::AssignPodSubnetsRequest,
) -> Result<api::AssignPodSubnetsResponse, Failure> {
    if request.subnets.len() > MOST {
        return Err(Failure::argument("subnets", "are too many"));
    }
    let assigned = about.network.assign(&request.subnets).await?;
    let mut response = api::AssignPodSubnetsResponse::default();
    let subnets = &request.subnets;
    let used = match assigned {
        Assigned::Served(unused) => {
            if !unused.is_empty() {
                tracing::warn!(
                    ?unused,
                    "pods get no addresses of these subnets: there is no IPv6 in their network"
                );
            }
            response.unused = unused;
            api::PodSubnetUse::Served
        }
        Assigned::Configured(subnet) => {
            tracing::warn!(
                ?subnets,
                configured = %subnet,
                "the cluster assigned other subnets than the one that network.subnet names, which counts"
            );
            response.configured = subnet.to_string();
            api::PodSubnetUse::Configured
        }
        Assigned::Plugins => {
            tracing::info!(
                ?subnets,
                "subnets are assigned, and network plugins decide about addresses"
            );
            api::PodSubnetUse::Plugins
        }
        Assigned::NoNetwork => {
            tracing::info!(?subnets, "subnets are assigned, and there is no pod network");
            api::PodSubnetUse::NoNetwork
        }
    };
    response.set_use(used);
    Ok(response)
}
