//! Finding out what governs a namespace: from watched copies, or from the API server when a namespace or policy is
//! too new to be among them. This is the only I/O on a request's way.

use crate::snapshot::{Governing, Policy, Snapshot};
use futures::{Stream, StreamExt};
use k3k_api::{labels, v1beta1::VirtualClusterPolicy};
use k3k_runtime::ready::Latch;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use std::future::Future;

/// Only the metadata of namespaces is read.
type NamespaceMeta = PartialObjectMeta<Namespace>;
/// One policy that cannot be understood must not hide the others.
type GuardedPolicy = DeserializeGuard<VirtualClusterPolicy>;

/// Answers what governs a namespace. Cloning it is cheap; clones share the copies.
#[derive(Clone)]
pub struct Lookup {
    client: Client,
    namespaces: Store<NamespaceMeta>,
    policies: Store<GuardedPolicy>,
}

/// Why it cannot be said what governs a namespace. Never to be read as "nothing does".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace cannot be read.
    #[error("the policy of namespace {namespace:?} cannot be found out: {source}")]
    Namespace {
        /// Which one.
        namespace: String,
        /// What the API server says.
        source: kube::Error,
    },
    /// The policy cannot be read.
    #[error("VirtualClusterPolicy {name:?} cannot be read: {source}")]
    Policy {
        /// Which one.
        name: String,
        /// What the API server says.
        source: kube::Error,
    },
}

impl Lookup {
    /// Starts with empty copies; the future that comes with it fills them for as long as it is polled, and sets
    /// `synced` once they are complete.
    pub fn watch(client: Client, synced: Latch) -> (Self, impl Future<Output = ()> + Send) {
        let (namespaces, write_namespaces) = store();
        let (policies, write_policies) = store();
        // A smaller copy, not a rule: a namespace that is not in it is looked up.
        let ours = watcher::Config::default().labels(&format!("{}=true", labels::CLUSTER_NAMESPACE));
        let lookup = Self { client: client.clone(), namespaces, policies };
        let follow_namespaces = watcher(Api::<NamespaceMeta>::all(client.clone()), ours)
            .default_backoff()
            .modify(|namespace| {
                namespace.metadata.managed_fields = None;
                namespace.metadata.annotations = None;
            })
            .reflect(write_namespaces);
        let follow_policies = watcher(Api::<GuardedPolicy>::all(client), watcher::Config::default())
            .default_backoff()
            .modify(|policy| policy.managed_fields_mut().clear())
            .reflect(write_policies);
        let complete = {
            let lookup = lookup.clone();
            async move {
                let both = (lookup.namespaces.wait_until_ready(), lookup.policies.wait_until_ready());
                if let (Ok(()), Ok(())) = futures::future::join(both.0, both.1).await {
                    synced.set();
                }
            }
        };
        let filling = async move {
            futures::join!(
                drain(follow_namespaces, "namespaces"),
                drain(follow_policies, "virtualclusterpolicies"),
                complete
            );
        };
        (lookup, filling)
    }

    /// What governs `namespace`. An empty name is governed by the defaults.
    pub async fn snapshot(&self, namespace: &str) -> Result<Snapshot, Error> {
        if namespace.is_empty() {
            return Ok(Snapshot::default());
        }
        let policy = match self.policy_name(namespace).await? {
            Some(name) => self.policy(name).await?,
            None => Governing::Default,
        };
        Ok(Snapshot { policy })
    }

    async fn policy_name(&self, namespace: &str) -> Result<Option<String>, Error> {
        let label = |namespace: &NamespaceMeta| namespace.labels().get(labels::POLICY_NAME).cloned();
        if let Some(known) = self.namespaces.get(&ObjectRef::new(namespace)) {
            return Ok(label(&known));
        }
        let api = Api::<Namespace>::all(self.client.clone());
        let found = api.get_metadata(namespace).await;
        found
            .map(|found| label(&found))
            .map_err(|source| Error::Namespace { namespace: namespace.to_owned(), source })
    }

    async fn policy(&self, name: String) -> Result<Governing, Error> {
        if let Some(known) = self.policies.get(&ObjectRef::new(&name)) {
            return Ok(governing(name, &known));
        }
        match Api::<GuardedPolicy>::all(self.client.clone()).get_opt(&name).await {
            Ok(Some(found)) => Ok(governing(name, &found)),
            Ok(None) => Ok(Governing::Missing { name }),
            Err(source) => Err(Error::Policy { name, source }),
        }
    }
}

fn governing(name: String, policy: &GuardedPolicy) -> Governing {
    match &policy.0 {
        Ok(policy) => {
            Governing::Named(Policy { name, pod_security: policy.spec.pod_security_admission_level })
        }
        Err(error) => Governing::Unreadable { name, error: error.error.clone() },
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
