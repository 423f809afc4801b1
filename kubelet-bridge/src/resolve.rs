//! What pods refer to: config maps, secrets, services, tokens of service accounts.
//!
//! A pod's worker asks for a [`Held`], which reads everything side by side, hands it out as [`Objects`] and tells of
//! changes as long as it is kept. Objects are shared between pods: each is read once and then watched alone
//! (`metadata.name=`), because a node may watch nothing wider; the watch ends a minute after the last pod that wants it.
//! Tokens belong to one pod and are asked for anew at 80 % of their life.
//!
//! Failures: an object that does not exist is an answer ([`object::State::Missing`]), and its appearance a change. What
//! cannot be read is an error of [`Held::objects`], which the worker tries again.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use tokio::sync::watch;
use translation::{Objects, References};

use crate::cluster::{CallError, Cluster};

mod object;
mod service;
mod token;

use object::{State, Store, Watched};
use service::Services;
use token::Tokens;

/// Where objects come from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Source>);

#[derive(Debug)]
enum Source {
    Cluster {
        cluster: Cluster,
        config_maps: Store<ConfigMap>,
        secrets: Store<Secret>,
        services: Services,
    },
    /// Manifests: what stood beside the pods.
    Local(watch::Receiver<Arc<Objects>>),
}

/// Why objects cannot be had now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// An object cannot be read.
    #[error("cannot read {kind} \"{name}\": {reason}")]
    Object {
        /// configmap or secret.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the API server said.
        reason: String,
    },
    /// No token.
    #[error("cannot get a token of service account \"{account}\"")]
    Token {
        /// Whose.
        account: String,
        /// What the API server said.
        #[source]
        source: CallError,
    },
}

/// What one pod refers to.
#[derive(Debug)]
pub struct Held {
    source: Arc<Source>,
    references: References,
    namespace: String,
    config_maps: Vec<(String, Watched<ConfigMap>)>,
    secrets: Vec<(String, Watched<Secret>)>,
    tokens: Tokens,
    local: Option<watch::Receiver<Arc<Objects>>>,
}

impl Resolver {
    /// From the API server.
    pub fn of_cluster(cluster: Cluster) -> Resolver {
        let (config_maps, secrets) = (Store::new(cluster.clone()), Store::new(cluster.clone()));
        let services = Services::new(cluster.clone());
        Resolver(Arc::new(Source::Cluster {
            cluster,
            config_maps,
            secrets,
            services,
        }))
    }

    /// From manifests.
    pub fn local(objects: watch::Receiver<Arc<Objects>>) -> Resolver {
        Resolver(Arc::new(Source::Local(objects)))
    }

    /// Begins to read what `pod` refers to.
    pub fn hold(&self, pod: &Pod, references: References) -> Held {
        let namespace = pod.metadata.namespace.clone().unwrap_or_else(|| "default".into());
        let mut held = Held {
            source: Arc::clone(&self.0),
            config_maps: Vec::new(),
            secrets: Vec::new(),
            tokens: Tokens::of(pod, &references),
            local: None,
            namespace,
            references,
        };
        let references = &held.references;
        match &*self.0 {
            Source::Cluster {
                config_maps,
                secrets,
                services,
                ..
            } => {
                let names = references.config_maps.keys();
                held.config_maps = names
                    .map(|name| (name.clone(), config_maps.watch(&held.namespace, name)))
                    .collect();
                let names: BTreeSet<&String> = references
                    .secrets
                    .keys()
                    .chain(&references.pull_secrets)
                    .collect();
                held.secrets = names
                    .into_iter()
                    .map(|name| (name.clone(), secrets.watch(&held.namespace, name)))
                    .collect();
                if references.services {
                    services.start();
                }
            }
            Source::Local(objects) => {
                let mut objects = objects.clone();
                objects.mark_unchanged();
                held.local = Some(objects);
            }
        }
        held
    }
}

impl ResolveError {
    /// True where the pod itself is what is missing: the watch will tell of that.
    pub fn is_of_no_pod(&self) -> bool {
        match self {
            ResolveError::Token { source, .. } => {
                source.is_not_found() && source.to_string().starts_with("pod ")
            }
            ResolveError::Object { .. } => false,
        }
    }
}

impl Held {
    /// True where it holds just these.
    pub fn is_of(&self, references: &References) -> bool {
        self.references == *references
    }

    /// Everything, as it is now. Waits for the first read of each object.
    ///
    /// # Errors
    /// [`ResolveError`] for the first thing that cannot be read; trying again may help.
    pub async fn objects(&mut self) -> Result<Objects, ResolveError> {
        let Source::Cluster {
            cluster, services, ..
        } = &*self.source
        else {
            let objects = self
                .local
                .as_mut()
                .map(|local| (**local.borrow_and_update()).clone());
            return Ok(objects.unwrap_or_default());
        };
        let (namespace, wanted) = (&self.namespace, self.references.services);
        let (config_maps, secrets, tokens, services) = tokio::join!(
            read("configmap", namespace, &mut self.config_maps),
            read("secret", namespace, &mut self.secrets),
            self.tokens.get(cluster, namespace),
            async {
                if wanted {
                    services.of(namespace).await
                } else {
                    Vec::new()
                }
            },
        );
        Ok(Objects {
            config_maps: config_maps?,
            secrets: secrets?,
            services,
            tokens: tokens?,
        })
    }

    /// Returns when an object changed since it was handed out, or a token is old.
    pub async fn changed(&mut self) {
        let config_maps = any(&mut self.config_maps);
        let secrets = any(&mut self.secrets);
        let local = async {
            let changed = match &mut self.local {
                Some(local) => local.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = config_maps => {}
            () = secrets => {}
            () = local => {}
            () = self.tokens.old() => {}
        }
    }
}

type Named<K> = std::collections::BTreeMap<(String, String), K>;

async fn read<K: Clone>(
    kind: &'static str,
    namespace: &str,
    objects: &mut [(String, Watched<K>)],
) -> Result<Named<K>, ResolveError> {
    let mut found = Named::new();
    for (name, watched) in objects {
        match watched.known().await {
            State::Present(object) => {
                found.insert((namespace.to_owned(), name.clone()), K::clone(&object));
            }
            State::Missing | State::Unknown => {}
            State::Failed(reason) => {
                return Err(ResolveError::Object {
                    kind,
                    name: name.clone(),
                    reason: reason.to_string(),
                });
            }
        }
    }
    Ok(found)
}

/// Returns when one of them changes; never for none.
async fn any<K>(objects: &mut [(String, Watched<K>)]) {
    if objects.is_empty() {
        return std::future::pending().await;
    }
    let changes = objects.iter_mut().map(|(_, watched)| Box::pin(watched.changed()));
    futures_util::future::select_all(changes).await;
}
