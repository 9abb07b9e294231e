//! The controller under test: it keeps a ConfigMap for each Generator, and says in the status if another has the field.
//!
//! It knows nothing of the test: it is given a `kube::Client`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::{
    api::core::v1::ConfigMap, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::{ApiResource, Object},
    runtime::{
        controller::{Action, Controller},
        wait::{await_condition, conditions},
        watcher,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The field manager, and the label of the controller.
const NAME: &str = "generators.example.com";

/// What a Generator wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// What the map is to hold.
    pub content: String,
    /// Takes the field from others.
    #[serde(default)]
    pub force: bool,
}

/// What has become of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Which generation the map is of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is in the way.
    #[serde(default)]
    pub conflict: Option<String>,
}

/// The custom kind.
pub type Generator = Object<Spec, Status>;

/// How it is written in paths.
#[must_use]
pub fn resource() -> ApiResource {
    ApiResource {
        group: "example.com".into(),
        version: "v1".into(),
        api_version: "example.com/v1".into(),
        kind: "Generator".into(),
        plural: "generators".into(),
    }
}

async fn reconcile(generator: Arc<Generator>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let (name, namespace) = (generator.name_any(), generator.namespace().unwrap_or_default());
    let maps: Api<ConfigMap> = Api::namespaced((*client).clone(), &namespace);
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            owner_references: Some(generator.controller_owner_ref(&resource()).into_iter().collect()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("content".to_owned(), generator.spec.content.clone())])),
        ..ConfigMap::default()
    };
    let by = PatchParams { force: generator.spec.force, ..PatchParams::apply(NAME) };
    let conflict = match maps.patch(&name, &by, &Patch::Apply(&map)).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.code == 409 => Some(status.message.clone()),
        Err(error) => return Err(error),
    };
    let status = Status { observed_generation: generator.metadata.generation.unwrap_or(0), conflict };
    let status = json!({ "apiVersion": "example.com/v1", "kind": "Generator", "status": status });
    let generators: Api<Generator> = Api::namespaced_with((*client).clone(), &namespace, &resource());
    generators.patch_status(&name, &PatchParams::apply(NAME).force(), &Patch::Apply(status)).await?;
    Ok(Action::requeue(Duration::from_secs(300)))
}

/// Runs until it is dropped.
pub async fn control(client: Client) {
    let generators: Api<Generator> = Api::all_with(client.clone(), &resource());
    let controller = Controller::new_with(generators, watcher::Config::default(), resource())
        .owns(Api::<ConfigMap>::all(client.clone()), watcher::Config::default());
    let again = |_: Arc<Generator>, _: &kube::Error, _: Arc<Client>| Action::requeue(Duration::from_secs(1));
    controller.run(reconcile, again, Arc::new(client)).for_each(async |_| {}).await;
}

fn definition() -> CustomResourceDefinition {
    let spec = json!({
        "type": "object", "required": ["content"],
        "properties": { "content": { "type": "string" }, "force": { "type": "boolean" } },
    });
    let status = json!({
        "type": "object",
        "properties": { "observedGeneration": { "type": "integer" }, "conflict": { "type": "string", "nullable": true } },
    });
    let schema = json!({ "type": "object", "properties": { "spec": spec, "status": status } });
    let definition = json!({
        "metadata": { "name": "generators.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": { "kind": "Generator", "plural": "generators" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema }, "subresources": { "status": {} },
            }],
        },
    });
    serde_json::from_value(definition).expect("a definition")
}

/// Defines the kind and waits until it is served.
pub async fn define(client: Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    definitions.create(&PostParams::default(), &definition()).await.expect("the definition is taken");
    let established = await_condition(definitions, "generators.example.com", conditions::is_crd_established());
    established.await.expect("the definition is established");
}
