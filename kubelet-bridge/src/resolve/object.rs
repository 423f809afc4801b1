//! Single objects, read at once and watched as long as somebody wants them.
//!
//! ```text
//! Unknown ──GET──► Present ──DELETED──► Missing ──ADDED──► Present
//!    │                ▲ MODIFIED
//!    └─ error ► Failed ──GET──► …       (immutable objects are read once and not watched)
//! ```
//!
//! The first read is a GET, because a watch that begins with the state of things may have to wait for the server's cache.
//! 403 is "not yet" for a while: the node authorizer learns of a pod a moment after we do.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, WatchEvent, WatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::cluster::{CallError, Cluster};

/// How long an object is watched that nobody wants any more: the next pod of a Deployment wants it again.
const LINGER: Duration = Duration::from_secs(60);
/// How often 403 is taken for "not yet".
const FORBIDDEN_TRIES: u32 = 8;
/// One watch request's length, and how long a silent one is believed.
const WATCH_SECONDS: u32 = 290;
/// A watch that the server ends sooner is begun anew with patience.
const SHORT: Duration = Duration::from_secs(1);

/// What is known of an object.
#[derive(Debug)]
pub(super) enum State<K> {
    Unknown,
    Missing,
    Present(Arc<K>),
    Failed(Arc<str>),
}

impl<K> Clone for State<K> {
    fn clone(&self) -> Self {
        match self {
            State::Unknown => State::Unknown,
            State::Missing => State::Missing,
            State::Present(object) => State::Present(Arc::clone(object)),
            State::Failed(reason) => State::Failed(Arc::clone(reason)),
        }
    }
}

/// One pod's share in a watched object.
#[derive(Debug)]
pub(super) struct Watched<K>(watch::Receiver<State<K>>);

impl<K> Watched<K> {
    /// The state, once it is known.
    pub(super) async fn known(&mut self) -> State<K> {
        loop {
            let state = self.0.borrow_and_update().clone();
            if !matches!(state, State::Unknown) {
                return state;
            }
            if self.0.changed().await.is_err() {
                return State::Failed("the bridge is going down".into());
            }
        }
    }

    /// Returns when the state is another than was last seen.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Kinds that pods refer to by name.
pub(super) trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// It will never change, so that it need not be watched.
    fn immutable(&self) -> bool;
}

impl Kind for ConfigMap {
    fn immutable(&self) -> bool {
        self.immutable == Some(true)
    }
}

impl Kind for Secret {
    fn immutable(&self) -> bool {
        self.immutable == Some(true)
    }
}

type Shared<K> = Arc<watch::Sender<State<K>>>;
type Table<K> = Arc<Mutex<HashMap<(String, String), Shared<K>>>>;

/// All watched objects of one kind.
#[derive(Debug)]
pub(super) struct Store<K> {
    cluster: Cluster,
    table: Table<K>,
}

impl<K: Kind> Store<K> {
    pub(super) fn new(cluster: Cluster) -> Store<K> {
        Store {
            cluster,
            table: Table::default(),
        }
    }

    /// Takes a share in an object; the first one starts its task.
    pub(super) fn watch(&self, namespace: &str, name: &str) -> Watched<K> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = table.get(&key) {
            return Watched(sender.subscribe());
        }
        let sender = Arc::new(watch::Sender::new(State::Unknown));
        let receiver = sender.subscribe();
        table.insert(key.clone(), Arc::clone(&sender));
        let follower = Follower {
            cluster: self.cluster.clone(),
            key: key.clone(),
            sender: Arc::clone(&sender),
        };
        tokio::spawn(keep(follower, Arc::clone(&self.table)));
        Watched(receiver)
    }
}

/// Follows an object until nobody wanted it for a while.
async fn keep<K: Kind>(follower: Follower<K>, table: Table<K>) {
    let (key, sender) = (follower.key.clone(), Arc::clone(&follower.sender));
    let following = follower.follow();
    tokio::pin!(following);
    loop {
        tokio::select! {
            () = &mut following => return,
            () = unwanted(&sender) => {}
        }
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        // Shares are taken under the same lock.
        if sender.receiver_count() == 0 {
            table.remove(&key);
            return;
        }
    }
}

/// Returns when there was no share for the whole time of grace.
async fn unwanted<K>(sender: &watch::Sender<State<K>>) {
    loop {
        sender.closed().await;
        tokio::time::sleep(LINGER).await;
        if sender.receiver_count() == 0 {
            return;
        }
    }
}

/// The task of one object.
struct Follower<K> {
    cluster: Cluster,
    key: (String, String),
    sender: Shared<K>,
}

impl<K: Kind> Follower<K> {
    async fn follow(self) {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(10));
        let mut refusals = 0;
        loop {
            let mut changed = self.cluster.changed();
            let error = tokio::select! {
                error = self.read_and_watch(&mut backoff, &mut refusals) => error,
                () = changed.wait() => continue,
            };
            self.cluster.note(&error);
            refusals += u32::from(error.is_forbidden());
            let patient = error.is_forbidden() && refusals < FORBIDDEN_TRIES;
            if !patient && error.is_answer() {
                self.fail(&error);
            }
            tokio::time::sleep(error.retry_after().unwrap_or_else(|| backoff.delay())).await;
        }
    }

    /// Reads, then watches until something breaks.
    async fn read_and_watch(&self, backoff: &mut Backoff, refusals: &mut u32) -> CallError {
        let (namespace, name) = (&self.key.0, &self.key.1);
        let api: Api<K> = self.cluster.namespaced(namespace);
        match self.cluster.call(api.get(name)).await {
            Ok(object) => {
                let immutable = object.immutable();
                self.publish(object);
                if immutable {
                    return std::future::pending().await;
                }
            }
            Err(error) if error.is_not_found() => self.missing(),
            Err(error) => return error,
        }
        *refusals = 0;
        let place = self.cluster.watch_client();
        let api: Api<K> = Api::namespaced(place.client(), namespace);
        // From any state: the object is told again as it is. Its own version may be too old to begin with.
        let mut version = "0".to_owned();
        loop {
            let began = Instant::now();
            if let Err(error) = self.watch(&api, &mut version, backoff).await {
                return error;
            }
            if began.elapsed() < SHORT {
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }

    /// One watch request, until the server ends it.
    async fn watch(
        &self,
        api: &Api<K>,
        version: &mut String,
        backoff: &mut Backoff,
    ) -> Result<(), CallError> {
        let parameters = WatchParams::default()
            .fields(&format!("metadata.name={}", self.key.1))
            .timeout(WATCH_SECONDS);
        let stream = self.cluster.call(api.watch(&parameters, version)).await?;
        let mut stream = std::pin::pin!(stream);
        let silence = Duration::from_secs(u64::from(WATCH_SECONDS) + 5);
        loop {
            let next = match tokio::time::timeout(silence, stream.next()).await {
                Ok(Some(next)) => next?,
                Ok(None) => return Ok(()),
                Err(_) => return Err(CallError::Timeout),
            };
            match next {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    *version = object.resource_version().unwrap_or_default();
                    self.publish(object);
                }
                WatchEvent::Deleted(object) => {
                    *version = object.resource_version().unwrap_or_default();
                    self.missing();
                }
                WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
                // Most often 410: the version is too old.
                WatchEvent::Error(status) => return Err(CallError::Refused(status.boxed())),
            }
            backoff.reset();
        }
    }

    /// Takes the object as it is, unless we know it as it was later.
    fn publish(&self, mut object: K) {
        object.meta_mut().managed_fields = None;
        self.sender.send_if_modified(|state| {
            let known = matches!(state, State::Present(known)
                if known.uid() == object.uid() && version(&**known) >= version(&object));
            if !known {
                *state = State::Present(Arc::new(object));
            }
            !known
        });
    }

    fn missing(&self) {
        self.sender.send_if_modified(|state| {
            let news = !matches!(state, State::Missing);
            *state = State::Missing;
            news
        });
    }

    /// An object that was read once stays as it was.
    fn fail(&self, error: &CallError) {
        self.sender.send_if_modified(|state| {
            let unread = matches!(state, State::Unknown | State::Failed(_));
            if unread {
                *state = State::Failed(error.to_string().into());
            }
            unread
        });
    }
}

/// Resource versions of one kind of object can be compared as numbers.
fn version<K: Kind>(object: &K) -> u64 {
    let version = object.meta().resource_version.as_deref();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}
