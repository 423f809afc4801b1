//! `aurae node`: this node's facts.

use crate::failure::Failure;
use crate::message;
use crate::printer;
use crate::session::Session;
use auraed_api::observe::v0::GetNodeRequest;
use indicatif::HumanBytes;

/// Prints what the daemon knows of its machine, and what keeps it from running pods.
pub(crate) async fn node(session: &Session) -> Result<(), Failure> {
    let node = session
        .connect()
        .await?
        .observe()
        .get_node(GetNodeRequest {})
        .await?
        .into_inner();
    if session.json() {
        return Ok(printer::json(&message::to_json(
            "aurae.observe.v0.GetNodeResponse",
            &node,
        )?)?);
    }
    let ready = if node.problems.is_empty() {
        "yes".into()
    } else {
        format!("no: {}", node.problems.join("; "))
    };
    let rows = [
        ("Ready", ready),
        ("Version", node.version),
        ("Host", node.hostname),
        (
            "System",
            format!(
                "{}, Linux {}, {}",
                node.os_image, node.kernel_version, node.architecture
            ),
        ),
        ("CPUs", node.cpus.to_string()),
        (
            "Memory",
            format!(
                "{}, {} available",
                HumanBytes(node.memory_bytes),
                HumanBytes(node.memory_available_bytes)
            ),
        ),
        (
            "Storage",
            format!(
                "{}, {} available",
                HumanBytes(node.storage_bytes),
                HumanBytes(node.storage_available_bytes)
            ),
        ),
        ("Cgroups", node.cgroup_version),
        ("Pod subnet", node.pod_subnet),
        ("State", node.state_directory),
        ("Logs", node.log_directory),
        ("Process", node.pid.to_string()),
    ];
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        printer::line(&format!("{name:width$}   {value}"))?;
    }
    Ok(())
}
