//! The webhook's resolver against a real registry: what the fakes of its own tests claim about registries is true.

use anyhow::Result;
use k3k_api::image::ImageReference;
use k3k_tests::registry::{Access, PASSWORD, Registry, USER};
use k3k_webhook::registry::{Credentials, Limits, Options, Problem, Question, Resolver, Rules};
use std::time::Duration;
use tokio::time::Instant;

/// Longer than any machine stalls.
const LONG: Duration = Duration::from_secs(60);

/// Who asks the registry.
struct Asker<'a> {
    registry: &'a Registry,
    resolver: Resolver,
    pull_secret: Option<Vec<u8>>,
    fresh_for: Duration,
}

impl<'a> Asker<'a> {
    fn new(registry: &'a Registry) -> Result<Self> {
        let limits = Limits { names: LONG, connect: LONG, tls: LONG, first_byte: LONG, lookup: LONG };
        let mut options = Options { limits, ..Options::default() };
        options.trust(registry.authority_pem())?;
        Ok(Self { registry, resolver: Resolver::new(options)?, pull_secret: None, fresh_for: Duration::ZERO })
    }

    async fn ask(&self, image: &str) -> Result<String, Problem> {
        ask(&self.resolver, &self.registry.host(), image, self.pull_secret.as_deref(), self.fresh_for).await
    }
}

async fn ask(
    resolver: &Resolver,
    host: &str,
    image: &str,
    pull_secret: Option<&[u8]>,
    fresh_for: Duration,
) -> Result<String, Problem> {
    let image: ImageReference = format!("{host}/{image}").parse().expect("an image");
    let credentials = pull_secret.and_then(|secret| Credentials::for_image(&[secret], &image));
    let question = Question {
        image: &image,
        rules: Rules { host, private_network: true, insecure_http: false, realm_hosts: &[] },
        credentials: credentials.as_ref(),
        deadline: Instant::now() + LONG,
        fresh_for,
        stale_for: LONG,
    };
    resolver.digest(question).await.map_err(|error| error.problem)
}

#[tokio::test]
#[ignore = "needs a registry: make test"]
async fn a_tag_stands_for_its_index() -> Result<()> {
    let registry = Registry::start(Access::Open).await?;
    let pushed = registry.push("team/app", "1", "first").await?;
    registry.tag_platform("team/app", "single", &pushed.platforms[1]).await?;
    let asker = Asker::new(&registry)?;
    assert_eq!(asker.ask("team/app:1").await, Ok(pushed.index));
    assert_eq!(asker.ask("team/app:single").await, Ok(pushed.platforms[1].clone()));
    Ok(())
}

#[tokio::test]
#[ignore = "needs a registry: make test"]
async fn a_tag_that_moves_is_seen_when_the_old_answer_has_expired() -> Result<()> {
    let registry = Registry::start(Access::Open).await?;
    let first = registry.push("app", "latest", "first").await?.index;
    let mut asker = Asker::new(&registry)?;
    assert_eq!(asker.ask("app").await, Ok(first.clone()));
    let second = registry.push("app", "latest", "second").await?.index;
    assert_ne!(first, second);
    asker.fresh_for = LONG;
    assert_eq!(asker.ask("app").await, Ok(first.clone()));
    asker.fresh_for = Duration::ZERO;
    assert_eq!(asker.ask("app").await, Ok(second));
    assert_eq!(asker.ask(&format!("app:latest@{first}")).await, Ok(first));
    Ok(())
}

#[tokio::test]
#[ignore = "needs a registry: make test"]
async fn what_is_not_there_is_not_found() -> Result<()> {
    let registry = Registry::start(Access::Open).await?;
    registry.push("app", "1", "first").await?;
    let asker = Asker::new(&registry)?;
    for image in ["app:2", "app", "other:1"] {
        assert_eq!(asker.ask(image).await, Err(Problem::NotFound), "{image}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a registry: make test"]
async fn only_the_right_pull_secret_sees_the_image() -> Result<()> {
    let registry = Registry::start(Access::Password).await?;
    let pushed = registry.push("app", "1", "first").await?.index;
    let mut asker = Asker::new(&registry)?;
    asker.fresh_for = LONG;
    asker.pull_secret = Some(registry.pull_secret(USER, PASSWORD));
    assert_eq!(asker.ask("app:1").await, Ok(pushed.clone()));
    // Although the answer is known by now.
    for wrong in [registry.pull_secret(USER, "guess"), registry.pull_secret("jim", PASSWORD)] {
        asker.pull_secret = Some(wrong);
        assert_eq!(asker.ask("app:1").await, Err(Problem::Unauthorized { with_credentials: true }));
    }
    asker.pull_secret = None;
    assert_eq!(asker.ask("app:1").await, Err(Problem::Unauthorized { with_credentials: false }));
    asker.pull_secret = Some(registry.pull_secret(USER, PASSWORD));
    assert_eq!(asker.ask("app:1").await, Ok(pushed));
    assert_eq!(asker.ask("app:2").await, Err(Problem::NotFound));
    Ok(())
}

#[tokio::test]
#[ignore = "needs a registry: make test"]
async fn an_old_answer_serves_while_the_registry_is_down() -> Result<()> {
    let mut registry = Registry::start(Access::Open).await?;
    let pushed = registry.push("app", "1", "first").await?.index;
    let host = registry.host();
    let resolver = Asker::new(&registry)?.resolver;
    assert_eq!(ask(&resolver, &host, "app:1", None, Duration::ZERO).await, Ok(pushed.clone()));
    registry.stop();
    assert_eq!(ask(&resolver, &host, "app:1", None, Duration::ZERO).await, Ok(pushed));
    let unknown = ask(&resolver, &host, "app:2", None, Duration::ZERO).await;
    assert!(matches!(unknown, Err(Problem::Unreachable { .. })), "{unknown:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a registry: make test"]
async fn a_registry_must_prove_its_name() -> Result<()> {
    let registry = Registry::start(Access::Open).await?;
    registry.push("app", "1", "first").await?;
    let resolver = Resolver::new(Options::default())?;
    let answer = ask(&resolver, &registry.host(), "app:1", None, Duration::ZERO).await;
    assert!(matches!(&answer, Err(Problem::Unreachable { why, .. }) if why.contains("TLS")), "{answer:?}");
    Ok(())
}
