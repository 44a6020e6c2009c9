//! Volumes, by type. A type that is not in the table is refused: an unknown source could name anything in the host.

use super::{Token, Visit, array, field, object, only, pod_secret, text};
use crate::Refusal;
use crate::data::DataKind;
use serde_json::{Map, Value, json};

/// Lifetime of a token when the pod names none (KEP-1205: one hour, and some seconds that tell it from a wish).
const DEFAULT_TOKEN_SECONDS: i64 = 3607;

impl Visit<'_> {
    pub(super) fn volumes(&mut self, list: &Value, path: &str) -> Result<Value, Refusal> {
        let mut volumes = Vec::new();
        for (index, volume) in array(list, path)?.iter().enumerate() {
            let path = format!("{path}[{index}]");
            volumes.push(self.volume(object(Some(volume), &path)?, &path)?.into());
        }
        Ok(Value::Array(volumes))
    }

    fn volume(&mut self, volume: &Map<String, Value>, parent: &str) -> Result<Map<String, Value>, Refusal> {
        let mut host = Map::new();
        for (kind, source) in volume {
            let path = format!("{parent}.{kind}");
            let rewritten = match kind.as_str() {
                // `hostPath` is for the host's admission to judge, as it knows the policy.
                "name" | "emptyDir" | "hostPath" | "image" => source.clone(),
                "configMap" => {
                    let map = object(Some(source), &path)?;
                    only(map, &["defaultMode", "items", "name", "optional"], &path)?;
                    self.named(DataKind::ConfigMap, map, &path, "name")?
                }
                "secret" => {
                    let map = object(Some(source), &path)?;
                    only(map, &["defaultMode", "items", "optional", "secretName"], &path)?;
                    self.named(DataKind::Secret, map, &path, "secretName")?
                }
                "downwardAPI" => {
                    let map = object(Some(source), &path)?;
                    only(map, &["defaultMode", "items"], &path)?;
                    let (name, volume) = self.downward_volume(map, &path)?;
                    host.insert(name.into(), volume);
                    continue;
                }
                "projected" => self.projected(object(Some(source), &path)?, &path)?,
                "persistentVolumeClaim" => {
                    let map = object(Some(source), &path)?;
                    only(map, &["claimName", "readOnly"], &path)?;
                    let mut claim = map.clone();
                    claim.insert("claimName".into(), self.claim(text(map, "claimName", &path)?).into());
                    claim.into()
                }
                // The nested controllers make the claim, owned by the pod, under this name (KEP-1698).
                "ephemeral" => {
                    let name = format!("{}-{}", self.origin.name, text(volume, "name", parent)?);
                    host.insert("persistentVolumeClaim".into(), json!({"claimName": self.claim(&name)}));
                    continue;
                }
                "awsElasticBlockStore"
                | "azureDisk"
                | "azureFile"
                | "cephfs"
                | "cinder"
                | "csi"
                | "fc"
                | "flexVolume"
                | "flocker"
                | "gcePersistentDisk"
                | "gitRepo"
                | "glusterfs"
                | "iscsi"
                | "nfs"
                | "photonPersistentDisk"
                | "portworxVolume"
                | "quobyte"
                | "rbd"
                | "scaleIO"
                | "storageos"
                | "vsphereVolume" => return Err(Refusal::unsupported(path)),
                _ => return Err(Refusal::unknown(path)),
            };
            host.insert(kind.clone(), rewritten);
        }
        Ok(host)
    }

    /// The host's name of a claim of the pod's namespace.
    fn claim(&self, name: &str) -> String {
        self.context.owner.host_name(&self.origin.namespace, name)
    }

    /// A volume of pod fields. Where some come from the pod's Secret it becomes a projection of both sources.
    fn downward_volume(
        &mut self,
        map: &Map<String, Value>,
        path: &str,
    ) -> Result<(&'static str, Value), Refusal> {
        let items =
            field::in_volume(self, map.get("items").unwrap_or(&Value::Null), &format!("{path}.items"))?;
        let mut host = map.clone();
        if items.secret.is_empty() {
            host.insert("items".into(), items.downward.into());
            return Ok(("downwardAPI", host.into()));
        }
        host.remove("items");
        host.insert("sources".into(), self.downward_sources(items).into());
        Ok(("projected", host.into()))
    }

    fn downward_sources(&self, items: field::Items) -> Vec<Value> {
        let field::Items { downward, secret } = items;
        let fields = (!downward.is_empty()).then(|| json!({"downwardAPI": {"items": downward}}));
        let name = pod_secret(&self.origin.uid);
        let files = (!secret.is_empty()).then(|| json!({"secret": {"name": name, "items": secret}}));
        fields.into_iter().chain(files).collect()
    }

    fn projected(&mut self, map: &Map<String, Value>, path: &str) -> Result<Value, Refusal> {
        only(map, &["defaultMode", "sources"], path)?;
        let mut sources = Vec::new();
        let list = map.get("sources").unwrap_or(&Value::Null);
        for (index, source) in array(list, &format!("{path}.sources"))?.iter().enumerate() {
            let path = format!("{path}.sources[{index}]");
            let mut host = Map::new();
            let mut fields = Vec::new();
            for (kind, value) in object(Some(source), &path)? {
                let path = format!("{path}.{kind}");
                let map = object(Some(value), &path)?;
                let data = match kind.as_str() {
                    "configMap" => DataKind::ConfigMap,
                    "secret" => DataKind::Secret,
                    "downwardAPI" => {
                        only(map, &["items"], &path)?;
                        let items = map.get("items").unwrap_or(&Value::Null);
                        let items = field::in_volume(self, items, &format!("{path}.items"))?;
                        fields = self.downward_sources(items);
                        continue;
                    }
                    "serviceAccountToken" => {
                        host.insert("secret".into(), self.token(map, &path)?);
                        continue;
                    }
                    "clusterTrustBundle" | "podCertificate" => return Err(Refusal::unsupported(path)),
                    _ => return Err(Refusal::unknown(path)),
                };
                only(map, &["items", "name", "optional"], &path)?;
                host.insert(kind.clone(), self.named(data, map, &path, "name")?);
            }
            if !host.is_empty() || fields.is_empty() {
                sources.push(host.into());
            }
            sources.extend(fields);
        }
        let mut host = map.clone();
        host.insert("sources".into(), Value::Array(sources));
        Ok(host.into())
    }

    /// A token of the nested cluster, carried by a Secret of the host. Left as it is, the host's kubelet would mint a
    /// token of the *host* here.
    fn token(&mut self, map: &Map<String, Value>, path: &str) -> Result<Value, Refusal> {
        only(map, &["audience", "expirationSeconds", "path"], path)?;
        let key = format!("token-{}", self.tokens.len());
        let file = text(map, "path", path)?;
        let audience = map.get("audience").and_then(Value::as_str).filter(|audience| !audience.is_empty());
        self.tokens.push(Token {
            key: key.clone(),
            audience: audience.map(str::to_owned),
            expiration_seconds: map
                .get("expirationSeconds")
                .and_then(Value::as_i64)
                .unwrap_or(DEFAULT_TOKEN_SECONDS),
        });
        Ok(json!({"name": pod_secret(&self.origin.uid), "items": [{"key": key, "path": file}]}))
    }
}
