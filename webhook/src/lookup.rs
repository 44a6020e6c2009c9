//! Finding out what a decision rests on: from watched copies, or from the API server when a namespace or policy is
//! too new to be among them. Besides the registries, this is the only I/O on a request's way.

use crate::index::{GuardedPolicy, Index, compile};
use crate::review::UserInfo;
use futures::{Stream, StreamExt};
use k3k_api::labels;
use k3k_api::v1beta1::Cluster;
use k3k_policy::Governing;
use k3k_runtime::ready::Latch;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, ListParams, PartialObjectMeta, PostParams};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::watch;

/// How often requests are counted that are waited for. They last milliseconds, seldom seconds.
const DRAIN_STEP: Duration = Duration::from_millis(20);

/// Only the metadata of namespaces is read.
type NamespaceMeta = PartialObjectMeta<Namespace>;

/// Answers what governs a namespace. Cloning it is cheap; clones share the copies.
#[derive(Clone)]
pub struct Lookup {
    client: Client,
    namespaces: Store<NamespaceMeta>,
    index: Arc<RwLock<Index>>,
    generations: Arc<watch::Sender<BTreeMap<String, i64>>>,
    epoch: Arc<RwLock<Arc<()>>>,
}

/// Held by a request that may rest on what was known when it began.
#[derive(Clone, Debug)]
pub struct Epoch(#[expect(dead_code, reason = "counted, not read")] Arc<()>);

/// What could not be found out. Never to be read as "nothing speaks against it".
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be found out: {source}")]
pub struct Error {
    what: String,
    source: Box<kube::Error>,
}

impl Error {
    fn of(what: String) -> impl FnOnce(kube::Error) -> Self {
        |source| Self { what, source: Box::new(source) }
    }
}

impl Lookup {
    /// Starts with empty copies; the future that comes with it fills them for as long as it is polled, and sets
    /// `synced` once they are complete.
    pub fn watch(client: Client, synced: Latch) -> (Self, impl Future<Output = ()> + Send) {
        let (namespaces, write_namespaces) = store();
        // A smaller copy, not a rule: a namespace that is not in it is looked up.
        let ours = watcher::Config::default().labels(&format!("{}=true", labels::CLUSTER_NAMESPACE));
        let lookup = Self {
            client: client.clone(),
            namespaces,
            index: Arc::default(),
            generations: Arc::new(watch::Sender::default()),
            epoch: Arc::default(),
        };
        let follow_namespaces = watcher(Api::<NamespaceMeta>::all(client.clone()), ours)
            .default_backoff()
            .modify(|namespace| {
                namespace.metadata.managed_fields = None;
                namespace.metadata.annotations = None;
            })
            .reflect(write_namespaces);
        let policies =
            watcher(Api::<GuardedPolicy>::all(client.clone()), watcher::Config::default()).default_backoff();
        let ingresses = watcher(Api::<Ingress>::all(client), watcher::Config::default()).default_backoff();
        let filling = {
            let lookup = lookup.clone();
            async move {
                let (policies_known, mut policies_wait) = watch::channel(false);
                let (ingresses_known, mut ingresses_wait) = watch::channel(false);
                let complete = async {
                    let _ = lookup.namespaces.wait_until_ready().await;
                    let _ = policies_wait.wait_for(|known| *known).await;
                    let _ = ingresses_wait.wait_for(|known| *known).await;
                    synced.set();
                };
                futures::join!(
                    drain(follow_namespaces, "namespaces"),
                    lookup.follow_policies(policies, &policies_known),
                    lookup.follow_ingresses(ingresses, &ingresses_known),
                    complete
                );
            }
        };
        (lookup, filling)
    }

    /// Generations of policies, by name, by which this replica decides. Told whenever they change.
    pub fn generations(&self) -> watch::Receiver<BTreeMap<String, i64>> {
        self.generations.subscribe()
    }

    /// To be held while a request is answered.
    pub fn enter(&self) -> Epoch {
        Epoch(self.epoch.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Waits until no request is being answered that began before now.
    pub async fn drained(&self) {
        let before = std::mem::take(&mut *self.epoch.write().unwrap_or_else(PoisonError::into_inner));
        while Arc::strong_count(&before) > 1 {
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }

    /// What governs `namespace`. An empty name is governed by the defaults.
    pub async fn governing(&self, namespace: &str) -> Result<Governing, Error> {
        if namespace.is_empty() {
            return Ok(Governing::Default);
        }
        match self.policy_name(namespace).await? {
            Some(name) => self.policy(name).await,
            None => Ok(Governing::Default),
        }
    }

    /// The pod's labels and annotations, as an object; nothing if there is none.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<Option<Value>, Error> {
        let found = Api::<Pod>::namespaced(self.client.clone(), namespace).get_metadata_opt(name).await;
        let found = found.map_err(Error::of(format!("pod {namespace}/{name}")))?;
        Ok(found.map(|pod| json!({"metadata": {"labels": pod.labels(), "annotations": pod.annotations()}})))
    }

    /// How many Clusters `namespace` holds, up to two.
    pub async fn clusters(&self, namespace: &str) -> Result<usize, Error> {
        let some = ListParams::default().limit(2);
        let found = Api::<Cluster>::namespaced(self.client.clone(), namespace).list_metadata(&some).await;
        found
            .map(|list| list.items.len())
            .map_err(Error::of(format!("the clusters of namespace {namespace:?}")))
    }

    /// Whether an Ingress of another namespace has `host`.
    pub fn host_is_taken(&self, namespace: &str, host: &str) -> bool {
        self.read().is_taken(namespace, host)
    }

    /// Whether `user` may `verb` this policy, or all of them if none is named.
    pub async fn may(&self, user: &UserInfo, verb: &str, policy: Option<&str>) -> Result<bool, Error> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.username.clone()),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("k3k.io".to_owned()),
                    resource: Some("virtualclusterpolicies".to_owned()),
                    verb: Some(verb.to_owned()),
                    name: policy.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let asked = Api::<SubjectAccessReview>::all(self.client.clone())
            .create(&PostParams::default(), &review)
            .await;
        let asked = asked.map_err(Error::of(format!("what {:?} may do", user.username)))?;
        Ok(asked.status.is_some_and(|status| status.allowed))
    }

    /// The contents of a pull secret of `namespace`; nothing if there is none, or it is none. Namespaces whose policy has digests resolved
    /// let us read their Secrets, and no other does.
    pub async fn pull_secret(&self, namespace: &str, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let found = Api::<Secret>::namespaced(self.client.clone(), namespace).get_opt(name).await;
        let found = found.map_err(Error::of(format!("pull secret {namespace}/{name}")))?;
        Ok(found
            .filter(|secret| secret.type_.as_deref() == Some("kubernetes.io/dockerconfigjson"))
            .and_then(|secret| secret.data?.remove(".dockerconfigjson"))
            .map(|bytes| bytes.0))
    }

    async fn policy_name(&self, namespace: &str) -> Result<Option<String>, Error> {
        let label = |namespace: &NamespaceMeta| namespace.labels().get(labels::POLICY_NAME).cloned();
        if let Some(known) = self.namespaces.get(&ObjectRef::new(namespace)) {
            return Ok(label(&known));
        }
        let found = Api::<Namespace>::all(self.client.clone()).get_metadata(namespace).await;
        found.map(|found| label(&found)).map_err(Error::of(format!("the policy of namespace {namespace:?}")))
    }

    async fn policy(&self, name: String) -> Result<Governing, Error> {
        if let Some(known) = self.read().policy(&name) {
            return Ok(known);
        }
        match Api::<GuardedPolicy>::all(self.client.clone()).get_opt(&name).await {
            Ok(Some(found)) => Ok(compile(&name, &found)),
            Ok(None) => Ok(Governing::Missing { name }),
            Err(source) => Err(Error::of(format!("VirtualClusterPolicy {name:?}"))(source)),
        }
    }

    async fn follow_policies(
        &self,
        events: impl Stream<Item = Result<Event<GuardedPolicy>, watcher::Error>>,
        known: &watch::Sender<bool>,
    ) {
        let mut listed = HashSet::new();
        futures::pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(policy)) => {
                    listed.insert(policy.name_any());
                    self.write().put_policy(&policy);
                }
                Ok(Event::InitDone) => {
                    self.write().keep_policies(&|name| listed.contains(name));
                    known.send_replace(true);
                }
                Ok(Event::Apply(policy)) => drop(self.write().put_policy(&policy)),
                Ok(Event::Delete(policy)) => self.write().drop_policy(&policy.name_any()),
                Err(error) => {
                    tracing::warn!(what = "virtualclusterpolicies", %error, "watching; going on with what is known");
                }
            }
            if *known.borrow() {
                let now = self.read().generations();
                self.generations.send_if_modified(|told| std::mem::replace(told, now.clone()) != now);
            }
        }
    }

    async fn follow_ingresses(
        &self,
        events: impl Stream<Item = Result<Event<Ingress>, watcher::Error>>,
        known: &watch::Sender<bool>,
    ) {
        let put = |ingress: &Ingress| {
            let (namespace, name) = (ingress.namespace().unwrap_or_default(), ingress.name_any());
            let value = json!({"spec": ingress.spec});
            self.write().put_ingress(&namespace, &name, &value);
        };
        let mut listed: HashSet<(String, String)> = HashSet::new();
        let mut present: HashSet<(String, String)> = HashSet::new();
        let id = |ingress: &Ingress| (ingress.namespace().unwrap_or_default(), ingress.name_any());
        futures::pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(ingress)) => {
                    listed.insert(id(&ingress));
                    present.insert(id(&ingress));
                    put(&ingress);
                }
                Ok(Event::InitDone) => {
                    for (namespace, name) in present.difference(&listed) {
                        self.write().drop_ingress(namespace, name);
                    }
                    present.clone_from(&listed);
                    known.send_replace(true);
                }
                Ok(Event::Apply(ingress)) => {
                    present.insert(id(&ingress));
                    put(&ingress);
                }
                Ok(Event::Delete(ingress)) => {
                    let (namespace, name) = id(&ingress);
                    self.write().drop_ingress(&namespace, &name);
                    present.remove(&(namespace, name));
                }
                Err(error) => {
                    tracing::warn!(what = "ingresses", %error, "watching; going on with what is known");
                }
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls a watch to its end, which never comes.
async fn drain<T>(stream: impl Stream<Item = Result<T, watcher::Error>>, what: &'static str) {
    stream
        .for_each(|event| {
            if let Err(error) = event {
                tracing::warn!(what, %error, "watching; going on with what is known");
            }
            std::future::ready(())
        })
        .await;
}
