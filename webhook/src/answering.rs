//! From a question to an answer: what has to be found out is found out, in parallel where it can be, and then the pure [`crate::decision`]
//! decides.

use crate::decision::{self, Decision, Objects, Phase, Resolved};
use crate::lookup::{Error, Lookup};
use crate::registry::{Credentials, Question as Tag, Resolver, Rules};
use crate::review::Request;
use futures::future::join_all;
use jiff::Timestamp;
use k3k_api::image::ImageReference;
use k3k_api::labels;
use k3k_policy::{Facts, Governing, Policy, Requester, is_private};
use kube::core::admission::Operation;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// How long registries may take, answers are believed, and serve while the registry is away, when the policy does not say.
const USUAL_TIMEOUT: u32 = 2;
const USUAL_FRESH: u32 = 60;
const USUAL_STALE: u32 = 600;
/// The most images of one pod that are asked about.
const MOST_IMAGES: usize = 16;
/// The most pull secrets of one pod that are read.
const MOST_SECRETS: usize = 8;

/// What answers.
#[derive(Clone)]
pub struct Answering {
    /// What is known of the host.
    pub lookup: Lookup,
    /// Who asks registries.
    pub resolver: Resolver,
    /// Where k3k's own parts run.
    pub system_namespace: String,
}

impl Answering {
    /// Answers before `deadline`, as far as registries are concerned.
    pub async fn decide(&self, request: &Request<'_>, phase: Phase, deadline: Instant) -> Decision {
        let _epoch = self.lookup.enter();
        match self.try_decide(request, phase, deadline).await {
            Ok(decision) => decision,
            Err(error) => Decision::undecided(error.to_string()),
        }
    }

    async fn try_decide(
        &self,
        request: &Request<'_>,
        phase: Phase,
        deadline: Instant,
    ) -> Result<Decision, Error> {
        let mut objects = match decision::read(request) {
            Ok(objects) => objects,
            Err(decision) => return Ok(decision),
        };
        let user = &request.user_info;
        let requester =
            Requester::of(&user.username, &user.groups, &request.namespace, &self.system_namespace);
        let resource = (request.resource.group.as_str(), request.resource.resource.as_str());
        let is_ungoverned = matches!(resource, ("", "namespaces") | ("k3k.io", "virtualclusterpolicies"))
            || request.operation == Operation::Connect;
        let governing = if is_ungoverned {
            Governing::Default
        } else {
            self.lookup.governing(&request.namespace).await?
        };
        let target = match (&request.operation, resource) {
            (Operation::Connect, ("", "pods")) => self.lookup.pod(&request.namespace, &request.name).await?,
            _ => None,
        };
        let may_use_policies = match resource {
            ("", "namespaces") if !requester.is_trusted() => self.may_rebind(request, &objects).await?,
            _ => false,
        };
        let clusters_in_namespace = match (&request.operation, resource) {
            (Operation::Create, ("k3k.io", "clusters")) => self.lookup.clusters(&request.namespace).await?,
            _ => 0,
        };
        let resolved = match (phase, &governing) {
            (Phase::Mutate, Governing::Named(policy)) => {
                let wanted = decision::wanted(request, &objects, &governing);
                self.resolve(request, &objects, policy, wanted, deadline).await
            }
            _ => Resolved::default(),
        };
        let host_is_taken = |host: &str| self.lookup.host_is_taken(&request.namespace, host);
        let facts = Facts {
            governing: &governing,
            now: Timestamp::now(),
            target: target.as_ref(),
            may_use_policies,
            clusters_in_namespace,
            host_is_taken: &host_is_taken,
        };
        let decision = decision::decide(request, &mut objects, &requester, &facts, phase, &resolved);
        // Asked late, as it seldom matters: who may change policies could lift the guards anyway.
        let could_be =
            matches!(requester, Requester::Other | Requester::Administrator) && decision.is_guarded();
        if could_be
            && (requester == Requester::Administrator || self.lookup.may(user, "update", None).await?)
        {
            return Ok(decision.without_guards());
        }
        Ok(decision)
    }

    /// Whether who asks may `use` the policy that a namespace is bound to, and the one that it was bound to.
    async fn may_rebind(&self, request: &Request<'_>, objects: &Objects) -> Result<bool, Error> {
        let of = |object: &Option<Value>| {
            let labels = object.as_ref()?.pointer("/metadata/labels")?;
            labels.get(labels::POLICY_NAME)?.as_str().map(str::to_owned)
        };
        let (now, before) = (of(&objects.object), of(&objects.old));
        if now == before {
            return Ok(false);
        }
        for name in [now, before].into_iter().flatten() {
            if !self.lookup.may(&request.user_info, "use", Some(&name)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn resolve(
        &self,
        request: &Request<'_>,
        objects: &Objects,
        policy: &Policy,
        wanted: Vec<(String, ImageReference)>,
        deadline: Instant,
    ) -> Resolved {
        let mut resolved = Resolved::default();
        if wanted.is_empty() {
            return resolved;
        }
        let limits =
            policy.spec.images.as_ref().and_then(|images| images.resolve.clone()).unwrap_or_default();
        let seconds = |said: Option<u32>, usual: u32| Duration::from_secs(said.unwrap_or(usual).into());
        let deadline = deadline.min(Instant::now() + seconds(limits.timeout_seconds, USUAL_TIMEOUT));
        let (fresh_for, stale_for) =
            (seconds(limits.fresh_for_seconds, USUAL_FRESH), seconds(limits.stale_for_seconds, USUAL_STALE));
        let secrets =
            tokio::time::timeout_at(deadline, self.pull_secrets(request, objects)).await.unwrap_or_default();
        let configs: Vec<&[u8]> = secrets.iter().map(Vec::as_slice).collect();
        let asked = wanted.into_iter().take(MOST_IMAGES).map(|(text, image)| {
            let configs = &configs;
            async move {
                let Some(registry) = policy.registry(&image) else {
                    return (text, Err("its registry is not listed".to_owned()));
                };
                let credentials = Credentials::for_image(configs, &image);
                let question = Tag {
                    image: &image,
                    rules: Rules {
                        host: &registry.host,
                        private_network: is_private(registry),
                        insecure_http: registry.insecure.unwrap_or(false),
                        realm_hosts: &registry.auth_realm_hosts,
                    },
                    credentials: credentials.as_ref(),
                    deadline,
                    fresh_for,
                    stale_for,
                };
                let answer = self.resolver.digest(question).await;
                (text, answer.map_err(|error| error.to_string()))
            }
        });
        for (text, answer) in join_all(asked).await {
            match answer {
                Ok(digest) => drop(resolved.digests.insert(text, digest)),
                Err(error) => drop(resolved.failures.insert(text, error)),
            }
        }
        resolved
    }

    /// Those that the pod names. One that cannot be read is as good as none: the registry decides.
    async fn pull_secrets(&self, request: &Request<'_>, objects: &Objects) -> Vec<Vec<u8>> {
        let listed = objects
            .object
            .as_ref()
            .and_then(|pod| pod.pointer("/spec/imagePullSecrets"))
            .and_then(Value::as_array);
        let secrets =
            listed.into_iter().flatten().filter_map(|one| one.get("name")?.as_str()).take(MOST_SECRETS);
        let read = secrets.map(|name| async move {
            match self.lookup.pull_secret(&request.namespace, name).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(%error, "reading a pull secret");
                    None
                }
            }
        });
        join_all(read).await.into_iter().flatten().collect()
    }
}
