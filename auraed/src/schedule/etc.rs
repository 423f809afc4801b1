//! A pod's own files below /etc: names and addresses.

use std::fmt::Write as _;
use std::net::IpAddr;

use auraed_types::Pod;
use auraed_types::pod::Dns;

/// What a resolver reads of each; more is cut off.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;

/// Where the node's own files are.
pub(crate) const NODE_HOSTS: &str = "/etc/hosts";
/// The same for name servers.
pub(crate) const NODE_RESOLV_CONF: &str = "/etc/resolv.conf";

/// The first lines that programs look for to tell whether the file is the node's to write.
const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HOST_NETWORK_HEADER: &str = "# Kubernetes-managed hosts file (host network).\n";

/// /etc/hosts (hosts(5)) of a pod with these addresses. `node` is the node's own, which a pod on the node's network has.
pub(crate) fn hosts(pod: &Pod, addresses: &[IpAddr], node: &str) -> String {
    let mut text = String::new();
    if pod.host_network {
        text.push_str(HOST_NETWORK_HEADER);
        text.push_str(node);
        if !node.ends_with('\n') {
            text.push('\n');
        }
    } else {
        text.push_str(HEADER);
        text.push_str(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        for address in addresses {
            // Writing to a String cannot fail.
            let _ = match &pod.fqdn {
                Some(fqdn) => writeln!(text, "{address}\t{fqdn}\t{}", pod.hostname),
                None => writeln!(text, "{address}\t{}", pod.hostname),
            };
        }
    }
    if !pod.host_aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in &pod.host_aliases {
            let _ = writeln!(text, "{}\t{}", alias.address, alias.names.join("\t"));
        }
    }
    text
}

/// /etc/resolv.conf (resolv.conf(5)) of a pod. `node` is the node's own, with which it begins where the pod says so; of
/// each option the pod's wins.
pub(crate) fn resolv_conf(dns: &Dns, node: &str) -> String {
    let mut servers: Vec<String> = dns.nameservers.iter().map(ToString::to_string).collect();
    let mut searches = dns.searches.clone();
    let mut options = dns.options.clone();
    if dns.include_host {
        let of_node = |keyword: &str| words(node, keyword);
        servers.splice(0..0, of_node("nameserver"));
        searches.splice(0..0, of_node("search"));
        options.splice(0..0, of_node("options"));
    }
    let servers = unique(servers, |server| server.clone());
    let searches = unique(searches, |search| search.clone());
    options.reverse();
    let mut options = unique(options, |option| {
        option.split(':').next().unwrap_or_default().to_owned()
    });
    options.reverse();
    let mut text = String::new();
    for server in servers.iter().take(MAX_NAMESERVERS) {
        let _ = writeln!(text, "nameserver {server}");
    }
    let searches = fitting(searches);
    if !searches.is_empty() {
        let _ = writeln!(text, "search {}", searches.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// The words after a keyword; of several lines with `search` the last counts, as for a resolver.
fn words(text: &str, keyword: &str) -> Vec<String> {
    let mut lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(keyword)).then(|| words.map(str::to_owned).collect::<Vec<_>>())
    });
    if keyword == "search" {
        lines.next_back().unwrap_or_default()
    } else {
        lines.flatten().collect()
    }
}

fn unique(values: Vec<String>, key: impl Fn(&String) -> String) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    values
        .into_iter()
        .filter(|value| seen.insert(key(value)))
        .collect()
}

fn fitting(searches: Vec<String>) -> Vec<String> {
    let mut room = MAX_SEARCH_CHARACTERS;
    let fits = |search: &String| {
        let fits = search.len() < room;
        room = room.saturating_sub(search.len() + 1);
        fits
    };
    searches.into_iter().take(MAX_SEARCHES).take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn the_pods_own_settings_follow_the_nodes() {
        let dns = Dns {
            nameservers: vec!["10.0.0.10".parse().unwrap()],
            searches: strings(&["svc.cluster.local", "example.com"]),
            options: strings(&["ndots:5"]),
            include_host: true,
        };
        let node =
            "# resolver\nnameserver 192.0.2.1\nsearch old\nsearch example.com\noptions ndots:1 rotate\n";
        let text = "nameserver 192.0.2.1\nnameserver 10.0.0.10\nsearch example.com svc.cluster.local\noptions rotate ndots:5\n";
        assert_eq!(resolv_conf(&dns, node), text);
    }

    #[test]
    fn more_than_a_resolver_reads_is_cut_off() {
        let servers = (1..=5).map(|last| IpAddr::from([10, 0, 0, last]));
        let dns = Dns {
            nameservers: servers.collect(),
            searches: vec!["x".repeat(3000)],
            ..Dns::default()
        };
        assert_eq!(resolv_conf(&dns, "").lines().count(), 3);
    }
}
