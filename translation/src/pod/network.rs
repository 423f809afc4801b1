//! Names: the pod's own, those it looks up, and where it looks.

use auraed_api::schedule::v0::{Dns, HostAlias};
use k8s_openapi::api::core::v1::{PodDNSConfigOption, PodSpec};

use super::{Scope, name};
use crate::problem::Problems;

const HOST_NAME_LENGTH: usize = 63;
/// The kernel's, one more than a label has.
const KERNEL_NAME_LENGTH: usize = 64;
const SERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_LENGTH: usize = 253;
const SEARCHES_LENGTH: usize = 2048;

/// The pod's host name, and its fully qualified name where it has one.
pub(super) fn names(scope: Scope<'_>, problems: &mut Problems) -> (String, String) {
    let spec = scope.spec;
    if let Some(given) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return (cut(given), String::new());
    }
    if scope.host_network() {
        return (as_host_name(&scope.node.hostname), String::new());
    }
    let given = spec.hostname.as_deref().filter(|name| !name.is_empty());
    let short = cut(given.unwrap_or_else(|| name(scope.pod)));
    let Some(subdomain) = spec.subdomain.as_deref().filter(|name| !name.is_empty()) else {
        return (short, String::new());
    };
    let domain = scope.node.cluster_domain.as_str();
    let full = format!("{short}.{subdomain}.{}.svc.{domain}", scope.namespace());
    if spec.set_hostname_as_fqdn != Some(true) {
        return (short, full);
    }
    if full.len() > KERNEL_NAME_LENGTH {
        let message = format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long (64 characters is \
             the max, {} characters requested)",
            full.len()
        );
        problems.wait("FailedCreatePodSandBox", "spec.setHostnameAsFQDN", message);
    }
    (full.clone(), full)
}

/// The machine's own name, which nobody checked: as it is where it is a DNS name, else as near as may be.
fn as_host_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let lower = name.to_ascii_lowercase();
    lower
        .replace(|c| !fits(c), "-")
        .trim_matches(['-', '.'])
        .to_owned()
}

fn cut(name: &str) -> String {
    if name.len() <= HOST_NAME_LENGTH {
        return name.to_owned();
    }
    // Names are ASCII; another text is cut where a character begins.
    let end = (0..=HOST_NAME_LENGTH)
        .rev()
        .find(|end| name.is_char_boundary(*end))
        .unwrap_or(0);
    name[..end].trim_end_matches(['-', '.']).to_owned()
}

pub(super) fn host_aliases(spec: &PodSpec) -> Vec<HostAlias> {
    let given = spec.host_aliases.iter().flatten();
    given
        .map(|alias| HostAlias {
            address: alias.ip.clone(),
            names: alias.hostnames.clone().unwrap_or_default(),
        })
        .collect()
}

pub(super) fn dns(scope: Scope<'_>, problems: &mut Problems) -> Dns {
    let policy = scope.spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !scope.host_network(),
        _ => false,
    };
    let mut dns = Dns::default();
    if cluster && !scope.node.cluster_dns.is_empty() {
        dns.nameservers = scope.node.cluster_dns.iter().map(ToString::to_string).collect();
        dns.searches = cluster_searches(scope);
        dns.options = vec!["ndots:5".to_owned()];
    } else if policy != "None" {
        dns.include_host = true;
        if cluster {
            let message = format!(
                "pod: {:?}. kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" \
                 policy. Falling back to \"Default\" policy.",
                format!(
                    "{}_{}({})",
                    name(scope.pod),
                    scope.namespace(),
                    scope.pod.metadata.uid.as_deref().unwrap_or("")
                )
            );
            problems.warn("MissingClusterDNS", "spec.dnsPolicy", message);
        }
    }
    if let Some(config) = &scope.spec.dns_config {
        dns.nameservers
            .extend(config.nameservers.iter().flatten().cloned());
        dns.searches.extend(config.searches.iter().flatten().cloned());
        merge_options(&mut dns.options, config.options.as_deref().unwrap_or_default());
    }
    within_limits(&mut dns, problems);
    dns
}

fn cluster_searches(scope: Scope<'_>) -> Vec<String> {
    let domain = scope.node.cluster_domain.as_str();
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches.push(format!("{}.svc.{domain}", scope.namespace()));
        searches.push(format!("svc.{domain}"));
        searches.push(domain.to_owned());
    }
    searches.extend(scope.node.host_searches.iter().cloned());
    searches
}

/// A later option takes the place of an earlier one of its name.
fn merge_options(options: &mut Vec<String>, given: &[PodDNSConfigOption]) {
    for option in given {
        let Some(name) = option.name.as_deref().filter(|name| !name.is_empty()) else {
            continue;
        };
        let text = match option.value.as_deref().filter(|value| !value.is_empty()) {
            Some(value) => format!("{name}:{value}"),
            None => name.to_owned(),
        };
        match options
            .iter_mut()
            .find(|known| known.split(':').next() == Some(name))
        {
            Some(known) => *known = text,
            None => options.push(text),
        }
    }
}

fn within_limits(dns: &mut Dns, problems: &mut Problems) {
    without_repeats(&mut dns.nameservers);
    without_repeats(&mut dns.searches);
    if dns.nameservers.len() > SERVERS {
        dns.nameservers.truncate(SERVERS);
        let message = format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            dns.nameservers.join(" ")
        );
        problems.warn("DNSConfigForming", "spec.dnsConfig.nameservers", message);
    }
    let before = dns.searches.len();
    dns.searches.truncate(SEARCHES);
    dns.searches.retain(|search| search.len() <= SEARCH_LENGTH);
    while dns.searches.join(" ").len() > SEARCHES_LENGTH {
        dns.searches.pop();
    }
    if dns.searches.len() < before {
        let message = format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            dns.searches.join(" ")
        );
        problems.warn("DNSConfigForming", "spec.dnsConfig.searches", message);
    }
}

fn without_repeats(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|entry| seen.insert(entry.clone()));
}
