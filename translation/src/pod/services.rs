//! The variables by which a pod finds services: those of its own namespace, and `kubernetes` of `default` always.

use std::collections::BTreeMap;

use auraed_api::runtime::v0::EnvironmentVariable;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

use super::Scope;
use super::env::literal;

pub(super) fn variables(scope: Scope<'_>) -> Vec<EnvironmentVariable> {
    let links = scope.spec.enable_service_links.unwrap_or(true);
    // By name, so that the same services always give the same list.
    let mut services: BTreeMap<&str, &ServiceSpec> = BTreeMap::new();
    for service in &scope.objects.services {
        let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
        let Some((name, spec)) = with_address(service) else {
            continue;
        };
        if namespace == "default" && name == "kubernetes" {
            // One of the pod's own namespace comes before it.
            services.entry(name).or_insert(spec);
        } else if links && namespace == scope.namespace() {
            services.insert(name, spec);
        }
    }
    services
        .into_iter()
        .flat_map(|(name, spec)| of_service(name, spec))
        .collect()
}

fn with_address(service: &Service) -> Option<(&str, &ServiceSpec)> {
    let spec = service.spec.as_ref()?;
    let address = spec
        .cluster_ip
        .as_deref()
        .filter(|address| !address.is_empty() && *address != "None");
    address
        .and(service.metadata.name.as_deref())
        .map(|name| (name, spec))
}

fn of_service(name: &str, spec: &ServiceSpec) -> Vec<EnvironmentVariable> {
    let address = spec.cluster_ip.as_deref().unwrap_or_default();
    let prefix = variable_name(name);
    let ports = spec.ports.as_deref().unwrap_or_default();
    let mut result = Vec::new();
    let mut add = |name: String, value: String| result.push(literal(name, value, false));
    add(format!("{prefix}_SERVICE_HOST"), address.to_owned());
    if let Some(first) = ports.first() {
        add(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        add(format!("{prefix}_PORT"), url(address, first));
    }
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            add(
                format!("{prefix}_SERVICE_PORT_{}", variable_name(name)),
                port.port.to_string(),
            );
        }
        let protocol = protocol(port);
        let link = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        add(link.clone(), url(address, port));
        add(format!("{link}_PROTO"), protocol.to_lowercase());
        add(format!("{link}_PORT"), port.port.to_string());
        add(format!("{link}_ADDR"), address.to_owned());
    }
    result
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol
        .as_deref()
        .filter(|protocol| !protocol.is_empty())
        .unwrap_or("TCP")
}

fn url(address: &str, port: &ServicePort) -> String {
    let protocol = protocol(port).to_lowercase();
    if address.contains(':') {
        format!("{protocol}://[{address}]:{}", port.port)
    } else {
        format!("{protocol}://{address}:{}", port.port)
    }
}

fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}
