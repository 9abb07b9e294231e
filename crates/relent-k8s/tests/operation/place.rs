//! Where a fact is played: in the in-process API server under the paused clock, or on the real one that `RELENT_KUBECONFIG`
//! names. What is waited for is short, so that both can wait for it.

use std::time::Duration;

use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use relent_apiserver::{ApiServer, Verb};
use serde_json::{Value, json};

use super::world::{World, real};

pub const MS: fn(u64) -> Duration = Duration::from_millis;
pub const DO: &str = "example.com/do";

/// A custom kind with a status, and one object of it: `main`, with `spec.n` of 1.
pub struct Place {
    pub world: World,
    pub api: Api<DynamicObject>,
    path: String,
    api_version: String,
}

impl Place {
    pub async fn ours() -> Self {
        Self::on(World::ours().await).await
    }

    pub async fn real() -> Option<Self> {
        Some(Self::on(World::on(&real().await?).await).await)
    }

    async fn on(world: World) -> Self {
        let (path, api_version) = world.custom("Backup", true).await;
        let (group, version) = api_version.split_once('/').unwrap();
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, "Backup"));
        let api = Api::namespaced_with(world.client.clone(), &world.namespace, &kind);
        let place = Self { world, api, path, api_version };
        place.create(json!({"n": 1})).await;
        place
    }

    pub async fn clean_up(self) {
        self.world.forget_custom(&self.path).await;
        self.world.clean_up().await;
    }

    pub async fn create(&self, spec: Value) -> DynamicObject {
        let object =
            json!({"apiVersion": self.api_version, "kind": "Backup", "metadata": {"name": "main"}, "spec": spec});
        self.api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    pub async fn delete(&self) {
        self.api.delete("main", &DeleteParams::default()).await.unwrap();
    }

    pub async fn get(&self) -> DynamicObject {
        self.api.get("main").await.unwrap()
    }

    pub async fn status(&self, status: Value) {
        status_of(&self.api, status).await;
    }

    pub async fn annotate(&self, annotations: Value) {
        annotate(&self.api, annotations).await;
    }

    /// The in-process server; on a real one there is no journal.
    pub fn server(&self) -> Option<&ApiServer> {
        self.world.ours.as_ref()
    }

    /// Patches of the object itself up to now, where they can be counted.
    pub fn patches(&self) -> Option<usize> {
        let journal = self.server()?.journal();
        Some(journal.iter().filter(|entry| entry.verb == Verb::Patch && !entry.path.ends_with("/status")).count())
    }
}

pub async fn status_of(api: &Api<DynamicObject>, status: Value) {
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status("main", &PatchParams::default(), &patch).await.unwrap();
}

pub async fn annotate(api: &Api<DynamicObject>, annotations: Value) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    api.patch("main", &PatchParams::default(), &patch).await.unwrap();
}

/// Each of these on both.
macro_rules! everywhere {
    ($($fact:ident)+) => {
        mod in_process {$(
            #[tokio::test(start_paused = true)]
            async fn $fact() {
                let place = $crate::place::Place::ours().await;
                super::$fact(&place).await;
            }
        )+}
        mod on_a_real_server {$(
            #[tokio::test]
            async fn $fact() {
                let Some(place) = $crate::place::Place::real().await else { return };
                super::$fact(&place).await;
                place.clean_up().await;
            }
        )+}
    };
}
pub(crate) use everywhere;
