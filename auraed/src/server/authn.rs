//! Who calls: the client that the connection's certificate names.

use super::Peer;
use super::status::Failure;
use auraed_identity::ClientId;
use tonic::Status;
use tonic::codegen::http::Extensions;

/// The caller of a request.
///
/// # Errors
/// UNAUTHENTICATED if the certificate names nobody.
pub(crate) fn caller(extensions: &Extensions) -> Result<&ClientId, Status> {
    let peer = extensions.get::<Peer>();
    let client = peer.ok_or_else(|| Failure::NoPeer.into_status())?;
    client
        .client
        .as_ref()
        .map_err(|error| Failure::Caller(error.clone()).into_status())
}
