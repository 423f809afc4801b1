//! One verb with all plugins of a network, in its order.

use tokio::time::Instant;

use super::{Inner, blocking};
use crate::config::{Occasion, Valid};
use crate::error::chain;
use crate::plugin::Call;
use crate::record::Record;
use crate::{Added, Attachment, Error, ErrorObject, NetworkConfig, PluginConfig, Verb, Version};

impl Inner {
    pub(super) async fn add(&self, record: &Record) -> Result<Added, Error> {
        let deadline = Instant::now() + self.patience;
        let mut added: Option<Added> = None;
        for plugin in record.config.plugins() {
            let previous = added.map(|added| serde_json::Value::Object(added.object().clone()));
            let occasion = Occasion::Attachment {
                capabilities: &record.attachment.capabilities,
                previous: previous.as_ref(),
            };
            let input = request(&record.config, plugin, record.version, &occasion)?;
            let call = Call {
                plugin: plugin.kind(),
                verb: Verb::Add,
                attachment: Some(&record.attachment),
                input: &input,
                deadline,
                mark: Some(self.store.mark(&record.attachment)),
            };
            let output = self.programs.call(call).await?;
            let parsed = Added::parse(&output, record.version);
            added = Some(parsed.map_err(|source| Error::Answer {
                plugin: plugin.kind().to_owned(),
                verb: Verb::Add,
                source,
            })?);
        }
        // A configuration has a plugin at least.
        added.ok_or_else(|| Error::Missing {
            plugin: record.config.name().to_owned(),
            searched: "its configuration".to_owned(),
        })
    }

    /// Takes back an ADD that failed. Where that fails as well, the record stays for the next who asks.
    pub(super) async fn undo(&self, record: &Record) {
        let (attachment, namespace) = (&record.attachment, &record.attachment.namespace);
        let undone = self
            .delete(&attachment.id, &attachment.interface, Some(namespace))
            .await;
        if let Err(error) = undone {
            tracing::warn!(
                id = attachment.id,
                error = chain(&error),
                "what a network left behind is kept on record"
            );
        }
    }

    pub(super) async fn delete(
        &self,
        id: &str,
        interface: &str,
        namespace: Option<&str>,
    ) -> Result<bool, Error> {
        let Some(record) = self.get(id, interface).await? else {
            return Ok(false);
        };
        let plugins = record.config.plugins().iter().rev().collect();
        self.again(&record, Verb::Delete, plugins, namespace).await?;
        let (store, id, interface) = (self.store.clone(), id.to_owned(), interface.to_owned());
        blocking(move || store.remove(&id, &interface)).await?;
        Ok(true)
    }

    /// CHECK or DEL of what is on record.
    pub(super) async fn again(
        &self,
        record: &Record,
        verb: Verb,
        plugins: Vec<&PluginConfig>,
        namespace: Option<&str>,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + self.patience;
        let added = record.added.as_ref().filter(|_| record.version.has_check());
        let previous = added.map(|added| added.seen_from(&record.attachment.namespace, namespace));
        let attachment = Attachment {
            namespace: namespace.unwrap_or_default().to_owned(),
            ..record.attachment.clone()
        };
        for plugin in plugins {
            let occasion = Occasion::Attachment {
                capabilities: &attachment.capabilities,
                previous: previous.as_ref(),
            };
            let input = request(&record.config, plugin, record.version, &occasion)?;
            let call = Call {
                plugin: plugin.kind(),
                verb,
                attachment: Some(&attachment),
                input: &input,
                deadline,
                mark: Some(self.store.mark(&attachment)),
            };
            match self.programs.call(call).await {
                Err(Error::Refused { object, .. })
                    if verb == Verb::Delete && object.code == ErrorObject::UNKNOWN_CONTAINER => {}
                result => drop(result?),
            }
        }
        Ok(())
    }

    pub(super) async fn collect(&self, config: &NetworkConfig, valid: &[Record]) -> Vec<Error> {
        let version = self.version(config).await;
        if config.disable_gc() || !version.has_status() {
            return Vec::new();
        }
        let own = valid
            .iter()
            .filter(|record| record.config.name() == config.name());
        let valid: Vec<_> = own
            .map(|record| Valid {
                id: record.attachment.id.clone(),
                interface: record.attachment.interface.clone(),
            })
            .collect();
        let deadline = Instant::now() + self.patience;
        let mut errors = Vec::new();
        for plugin in config.plugins() {
            let call = async {
                let input = request(config, plugin, version, &Occasion::Collection(&valid))?;
                let call = Call {
                    plugin: plugin.kind(),
                    verb: Verb::Collect,
                    attachment: None,
                    input: &input,
                    deadline,
                    mark: None,
                };
                self.programs.call(call).await
            };
            errors.extend(call.await.err());
        }
        errors
    }
}

pub(super) fn request(
    config: &NetworkConfig,
    plugin: &PluginConfig,
    version: Version,
    occasion: &Occasion<'_>,
) -> Result<Vec<u8>, Error> {
    let request = config.request(plugin, version, occasion);
    request.map_err(|source| Error::Request {
        plugin: plugin.kind().to_owned(),
        source,
    })
}
