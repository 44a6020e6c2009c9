//! Waiting for conditions. The limits are long on purpose: a busy machine may stall for many seconds, and a test
//! that fails for that reason says nothing.

use anyhow::{Context, Result, bail};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Resource};
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(5 * 60);
const INTERVAL: Duration = Duration::from_millis(100);

/// Waits by watch until the object `name` fulfils `condition`, and returns it; none if the condition is its absence.
pub async fn wait_for<K>(api: Api<K>, name: &str, condition: impl Condition<K>) -> Result<Option<K>>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let kind = std::any::type_name::<K>().rsplit("::").next().unwrap_or("object");
    let object = timeout(LIMIT, await_condition(api, name, condition))
        .await
        .with_context(|| format!("{kind} {name} did not get there within {LIMIT:?}"))?;
    object.with_context(|| format!("watching {kind} {name}"))
}

/// Asks `check` until it has an answer, for what cannot be watched. An error ends the waiting.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = check().await? {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("waited {LIMIT:?}, and still not: {what}");
        }
        sleep(INTERVAL).await;
    }
}
