//! Putting the parts together.

use crate::acknowledge::Acknowledge;
use crate::answering::Answering;
use crate::args::Args;
use crate::lookup::Lookup;
use crate::metrics::Metrics;
use crate::registry::{self, Resolver};
use crate::server;
use crate::serving::health::Health;
use crate::serving::keeper::Keeper;
use crate::serving::{Names, watch};
use k3k_runtime::admin;
use k3k_runtime::lease::LeaseParams;
use k3k_runtime::ready::Readiness;
use k3k_runtime::tls::{self, ClientAuth, TlsListener, server_config};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Config};
use prometheus_client::registry::Registry;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long others wait for a holder of the Lease that has gone silent.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long requests that are being answered may take when we stop: longer than any API server waits for them.
const FINISH: Duration = Duration::from_secs(10);

/// Why the webhook stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server cannot be called at all.
    #[error("setting up the client of the API server: {0}")]
    Client(#[source] Box<kube::Error>),
    /// Probes and metrics cannot be served.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// The certificate or the address cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Registries cannot be asked.
    #[error("setting up the client of registries: {0}")]
    Registries(String),
    /// Serving ended by itself.
    #[error("answering admission reviews: {0}")]
    Serve(#[source] std::io::Error),
    /// A part of us ended by itself.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// Runs the webhook until `shutdown`, and then until no one should call it any more.
pub async fn run(args: Args, mut config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    // A lookup on a request's way has no time for retries, and all else retries by itself.
    config.default_retry = false;
    let client = Client::try_from(config).map_err(|error| Error::Client(Box::new(error)))?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let readiness = Readiness::default();
    let serving = readiness.latch("serving");
    let (lookup, filling) = Lookup::watch(client.clone(), readiness.latch("policies"));
    let secrets = Api::<Secret>::namespaced(client.clone(), &args.namespace);
    let validators = Api::<ValidatingWebhookConfiguration>::all(client.clone());
    let mutators = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let (secret, following_secret) = watch::follow(secrets, &args.secret);
    let (validating, following_validating) = watch::follow(validators, &args.registration);
    let (mutating, following_mutating) = watch::follow(mutators, &args.registration);
    let acknowledge = Acknowledge {
        client: client.clone(),
        namespace: args.namespace.clone(),
        identity: args.identity.clone(),
        uid: args.uid.clone(),
        lookup: lookup.clone(),
    };
    let resolver = resolver(&args, registry::Metrics::register(&mut registry))?;
    let names = Names::new(&args.service, &args.namespace, &args.serving_names);
    let keeper = Keeper {
        client,
        lease: LeaseParams {
            namespace: args.namespace.clone(),
            name: args.lease.clone(),
            identity: args.identity.clone(),
            duration: LEASE_DURATION,
            owner: None,
        },
        namespace: args.namespace.clone(),
        names: names.clone(),
        secret: secret.clone(),
        validating: validating.clone(),
        mutating: mutating.clone(),
    };
    let mut health = Health::new(&readiness, metrics.clone(), names, secret, validating, mutating);

    // Probes are answered to the very end, hence a token of their own.
    let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
    let mut parts = JoinSet::new();
    let probes = args.admin.serve(std::sync::Arc::new(registry), readiness, closed.clone());
    parts.spawn(async move { probes.await.map_err(Error::from).and(Err(Error::Ended("the admin server"))) });
    parts.spawn(endless(filling, "watching policies"));
    parts.spawn(endless(following_secret, "watching the Secret"));
    parts.spawn(endless(following_validating, "watching the registration of what validates"));
    parts.spawn(endless(following_mutating, "watching the registration of what mutates"));
    parts.spawn(endless(acknowledge.run(), "saying by which policies this replica decides"));
    let keeping = tokio::spawn(keeper.run(shutdown.clone()));

    let certificate = tokio::select! {
        certificate = health.first_certificate() => certificate.ok_or(Error::Ended("watching the Secret"))?,
        ended = ended(&mut parts) => return Err(ended),
        () = shutdown.cancelled() => {
            finish(keeping).await;
            return Ok(());
        }
    };
    // HTTP/1.1 only: it is what API servers speak to webhooks.
    let listener =
        TlsListener::bind(args.address, server_config(&certificate, ClientAuth::None, &[b"http/1.1"])?)
            .await?;
    let listening = listener.local_addr().map_err(Error::Serve)?;
    tracing::info!(%listening, "answering admission reviews");
    let answering = Answering { lookup, resolver, system_namespace: args.namespace.clone() };
    let router = server::router(answering, metrics);
    let answering = axum::serve(listener, router).with_graceful_shutdown(closing.clone().cancelled_owned());
    let mut answering = tokio::spawn(async move { answering.await });
    parts.spawn(endless(health.run(certificate, listening), "checking the certificate"));
    serving.set();

    tokio::select! {
        () = shutdown.cancelled() => {}
        ended = ended(&mut parts) => return Err(ended),
        _ = &mut answering => return Err(Error::Ended("the server")),
    }
    serving.clear();
    tracing::info!(drain = %args.drain, "not ready any more; answering on until no one asks");
    tokio::time::sleep(Duration::try_from(args.drain).unwrap_or_default()).await;
    closing.cancel();
    if tokio::time::timeout(FINISH, &mut answering).await.is_err() {
        tracing::warn!("some requests were not finished");
        answering.abort();
    }
    finish(keeping).await;
    closed.cancel();
    Ok(())
}

fn resolver(args: &Args, metrics: registry::Metrics) -> Result<Resolver, Error> {
    let mut options = registry::Options {
        metrics,
        forbidden: args.forbidden_networks.clone(),
        ..registry::Options::default()
    };
    if let Some(path) = &args.registry_ca {
        match std::fs::read_to_string(path) {
            Ok(text) => options
                .trust(&text)
                .map_err(|error| Error::Registries(format!("{}: {error}", path.display())))?,
            // An optional volume: whoever needs no authorities of their own has none.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::Registries(format!("reading {}: {error}", path.display()))),
        }
    }
    Resolver::new(options).map_err(|error| Error::Registries(error.to_string()))
}

/// Lets the Lease be given back.
async fn finish(keeping: tokio::task::JoinHandle<()>) {
    if tokio::time::timeout(FINISH, keeping).await.is_err() {
        tracing::warn!("the lease was not given back; it will expire");
    }
}

async fn endless(part: impl Future<Output = ()>, what: &'static str) -> Result<(), Error> {
    part.await;
    Err(Error::Ended(what))
}

/// The error of the part that ends first.
async fn ended(parts: &mut JoinSet<Result<(), Error>>) -> Error {
    match parts.join_next().await {
        Some(Ok(Err(error))) => error,
        Some(Ok(Ok(())) | Err(_)) | None => Error::Ended("a part of the webhook"),
    }
}
