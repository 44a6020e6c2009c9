//! Secrets that copies name: copied before them, owned by them, and gone with the last who names them.

use super::converge::{Error, api};
use super::{Copies, Kind};
use crate::sync::data::{Existing, discard, write};
use crate::uses::Key;
use crate::watch::Name;
use crate::world::lock;
use futures::future::join_all;
use k3k_translate::Origin;
use k3k_translate::data::DataKind;
use k3k_translate::ingress::host_secrets;
use serde_json::{Value, json};

fn keys(name: &Name, secrets: &[String]) -> Vec<Key> {
    let key = |secret: &String| {
        (DataKind::Secret, Name { namespace: name.namespace.clone(), name: secret.clone() })
    };
    secrets.iter().map(key).collect()
}

fn uid(host: &Value) -> &str {
    host["metadata"]["uid"].as_str().unwrap_or_default()
}

impl<K: Kind> Copies<K> {
    /// Copies those that nothing in the host uses yet: a name that is another's must stop us first.
    pub(super) async fn copy_secrets(&self, name: &Name, secrets: &[String]) -> Result<(), Error> {
        let missing: Vec<Key> = {
            let uses = lock(&self.world.uses);
            keys(name, secrets).into_iter().filter(|key| !uses.is_written(key)).collect()
        };
        let written = join_all(missing.iter().map(|key| write(&self.world, key, Existing::Awaited))).await;
        Ok(written.into_iter().collect::<Result<(), _>>()?)
    }

    /// Makes `host` an owner of every Secret that it names.
    pub(super) async fn own_secrets(
        &self,
        name: &Name,
        host: &Value,
        secrets: &[String],
    ) -> Result<(), Error> {
        let resource = self.kind.resource();
        let copy = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "name": host["metadata"]["name"], "uid": host["metadata"]["uid"],
        });
        let news: Vec<Key> = {
            let mut uses = lock(&self.world.uses);
            keys(name, secrets).into_iter().filter(|key| uses.must_own(key, &copy)).collect()
        };
        let written = join_all(news.iter().map(|key| write(&self.world, key, Existing::Unknown))).await;
        Ok(written.into_iter().collect::<Result<(), _>>()?)
    }

    /// Lets go of the Secrets that the host's object named `before` and does not name `now`. The object says it, not our memory, as we may
    /// have been started since.
    pub(super) async fn drop_secrets(&self, before: &Value, now: &Value) -> Result<(), Error> {
        let owner = &self.world.context.owner;
        for dropped in host_secrets(before).difference(&host_secrets(now)) {
            let there = self.world.host_api("Secret").get_metadata_opt(dropped).await;
            let there = there.map_err(api("look at a Secret that is not named any more"))?;
            let metadata = there.and_then(|there| serde_json::to_value(there.metadata).ok());
            let Some(origin) = metadata.and_then(|metadata| Origin::of_host(owner, &metadata)) else {
                continue;
            };
            let key = (DataKind::Secret, Name::from(origin));
            lock(&self.world.uses).drop_use(&key, uid(before));
            if lock(&self.world.uses).contains(&key) {
                write(&self.world, &key, Existing::Ours).await?;
            } else {
                discard(&self.world, &key).await;
            }
        }
        Ok(())
    }

    /// Forgets what the copy of `name` used: the host removes what it owned alone.
    pub(super) fn disown_secrets(&self, name: &Name) {
        let host_name = self.world.context.owner.host_name(&name.namespace, &name.name);
        lock(&self.world.uses).remove_named(&self.kind.resource().kind, &host_name);
    }
}
