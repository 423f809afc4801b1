//! `aurae version`: this program's version and the daemon's.

use crate::failure::Failure;
use crate::printer;
use crate::session::Session;
use auraed_api::observe::v0::GetNodeRequest;

/// Prints both. A daemon that does not answer is said so on standard error, and fails the command.
pub(crate) async fn version(session: &Session) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    if !session.json() {
        printer::line(&format!("aurae {own}"))?;
    }
    let daemon = daemon_version(session).await;
    if session.json() {
        let daemon = daemon.as_ref().ok();
        printer::json(&serde_json::json!({ "aurae": own, "auraed": daemon }))?;
    }
    let daemon = daemon?;
    if !session.json() {
        printer::line(&format!("auraed {daemon}"))?;
    }
    Ok(())
}

async fn daemon_version(session: &Session) -> Result<String, Failure> {
    let client = session.connect().await?;
    Ok(client
        .observe()
        .get_node(GetNodeRequest {})
        .await?
        .into_inner()
        .version)
}
