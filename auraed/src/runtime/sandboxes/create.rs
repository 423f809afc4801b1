//! Making a sandbox.

use super::entry::Entry;
use super::error::SandboxError;
use super::record::{Phase, now};
use super::registry::Claim;
use super::{Sandboxes, Shared, check, etc, spec};
use crate::network::{Dns, Request};
use crate::server::chain;
use api::RuntimeEventKind;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::{Events, NetworkNamespace, Sandbox, UserNamespace, end_sandbox};
use auraed_state::SandboxRow;
use auraed_types::Problem;
use prost::Message as _;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;

impl Sandboxes {
    /// Makes a sandbox; one with the same id and spec is answered as it is.
    ///
    /// # Errors
    /// [`SandboxError::Invalid`], [`SandboxError::Differs`], [`SandboxError::NameTaken`], or the step that failed: then
    /// nothing is left of it.
    pub(crate) async fn create(&self, spec: api::SandboxSpec) -> Result<api::SandboxStatus, SandboxError> {
        check::sandbox(&spec)?;
        if !spec.runtime_handler.is_empty() && !self.shared.node.handlers.contains(&spec.runtime_handler) {
            return Err(SandboxError::NoHandler {
                handler: spec.runtime_handler,
            });
        }
        let shared = Arc::clone(&self.shared);
        self.finish(async move { shared.create(spec).await }).await
    }
}

impl Shared {
    async fn create(self: Arc<Self>, spec: api::SandboxSpec) -> Result<api::SandboxStatus, SandboxError> {
        loop {
            match self.registry.claim_sandbox(&spec, now())? {
                Claim::New(entry, turn) => {
                    let made = self.make(&entry).await;
                    if made.is_err() {
                        self.registry.forget_sandbox(&entry);
                    }
                    drop(turn);
                    return made.map(|()| entry.status());
                }
                Claim::Known(entry) => {
                    let _turn = entry.turn.read().await;
                    if entry.is_gone() {
                        continue;
                    }
                    if entry.spec == spec {
                        return Ok(entry.status());
                    }
                    return Err(SandboxError::Differs {
                        what: "sandbox",
                        id: spec.id,
                    });
                }
            }
        }
    }

    /// Makes what was claimed, or nothing.
    async fn make(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<(), SandboxError> {
        let row = SandboxRow {
            id: entry.id().to_owned(),
            spec: entry.spec.encode_to_vec(),
            record: entry.record().encode_to_vec(),
        };
        // What a crash leaves before the end of both is nobody's, and goes with the next start.
        let (written, made) = tokio::join!(self.node.state.put_sandbox(row), self.build(entry));
        let made = written.map_err(SandboxError::from).and(made);
        let (sandbox, addresses, events) = match made {
            Ok(made) => made,
            Err(error) => {
                self.unmake(entry).await;
                return Err(error);
            }
        };
        entry.set_running(sandbox, addresses);
        if let Err(error) = entry.set_phase(&self.node.state, Phase::Ready).await {
            drop(entry.take_sandbox());
            self.unmake(entry).await;
            return Err(error.into());
        }
        self.listen(entry, events);
        self.tell(RuntimeEventKind::Created, entry, "");
        self.tell(RuntimeEventKind::Started, entry, "");
        Ok(())
    }

    async fn build(&self, entry: &Arc<Entry>) -> Result<(Sandbox, Vec<IpAddr>, Events), SandboxError> {
        let id = entry.id();
        let user_namespace = user_namespace(entry).await?;
        let (network, addresses) = self.attach(entry, user_namespace.clone()).await?;
        let made = Sandbox::create(
            &self.node.host,
            spec::sandbox(&entry.spec, network, user_namespace),
        );
        let write = {
            let (directories, entry, addresses) = (
                self.node.directories.clone(),
                Arc::clone(entry),
                addresses.clone(),
            );
            tokio::task::spawn_blocking(move || etc::write(&directories, &entry.spec, &addresses))
        };
        let (made, written) = tokio::join!(made, write);
        let (sandbox, events) = made.map_err(|source| SandboxError::Sandbox {
            action: "make sandbox",
            id: id.to_owned(),
            source: Box::new(source),
        })?;
        let written = written.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)));
        written.map_err(|source| SandboxError::Files {
            action: "make the files of sandbox",
            id: id.to_owned(),
            source,
        })?;
        Ok((sandbox, addresses, events))
    }

    async fn attach(
        &self,
        entry: &Entry,
        user_namespace: Option<UserNamespace>,
    ) -> Result<(NetworkNamespace, Vec<IpAddr>), SandboxError> {
        if !entry.own_network() {
            return Ok((NetworkNamespace::Host, Vec::new()));
        }
        let spec = &entry.spec;
        let dns = spec.dns.clone().unwrap_or_default();
        let request = Request {
            id: spec.id.clone(),
            name: spec.name.clone(),
            namespace: spec.namespace.clone(),
            uid: spec.uid.clone(),
            arguments: spec.network_arguments.clone().into_iter().collect(),
            ports: spec::ports(spec),
            ingress_bits: spec.ingress_bandwidth,
            egress_bits: spec.egress_bandwidth,
            dns: Dns {
                servers: dns.servers,
                searches: dns.searches,
                options: dns.options,
            },
            user_namespace,
        };
        let attached = self
            .node
            .network
            .attach(&request)
            .await
            .map_err(|source| SandboxError::Network {
                action: "set up",
                id: spec.id.clone(),
                source: Box::new(source),
            })?;
        Ok((
            NetworkNamespace::Namespace(attached.namespace),
            attached.addresses,
        ))
    }

    /// Takes away whatever there is of one that did not come to be. What does not go is found by the next daemon, for
    /// then its row stays.
    async fn unmake(&self, entry: &Entry) {
        let id = entry.id();
        let mut clean = true;
        if let Err(error) = end_sandbox(&self.node.host, id).await {
            tracing::warn!(
                sandbox = id,
                error = chain(&error),
                "a half-made sandbox does not end"
            );
            clean = false;
        }
        if entry.own_network()
            && let Err(error) = self.node.network.detach(id, None).await
        {
            tracing::warn!(
                sandbox = id,
                error = chain(&error),
                "the network of a half-made sandbox is left"
            );
            clean = false;
        }
        if let Err(error) = self.remove_memory(id).await {
            tracing::warn!(sandbox = id, %error, "files of a half-made sandbox are left");
        }
        if clean && let Err(error) = self.node.state.remove_sandbox(id).await {
            tracing::warn!(
                sandbox = id,
                error = chain(&error),
                "a half-made sandbox is still written down"
            );
        }
    }
}

async fn user_namespace(entry: &Arc<Entry>) -> Result<Option<UserNamespace>, SandboxError> {
    let Some(wanted) = &entry.spec.user_namespace else {
        return Ok(None);
    };
    let mappings = spec::mappings(wanted);
    let making = tokio::task::spawn_blocking(move || UserNamespace::create(&mappings.uids, &mappings.gids));
    let made = making
        .await
        .unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)));
    made.map(Some).map_err(|error| match error.kind() {
        // The kernel, or what it is asked through, does not take these ranges.
        ErrorKind::InvalidInput => SandboxError::Invalid {
            what: "sandbox",
            problems: vec![Problem {
                field: "user_namespace".to_owned(),
                reason: error.to_string(),
            }],
        },
        _ => SandboxError::Files {
            action: "make a user namespace for sandbox",
            id: entry.id().to_owned(),
            source: error,
        },
    })
}
