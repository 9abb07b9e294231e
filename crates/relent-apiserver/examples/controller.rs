//! How a controller is tested: it reconciles, another writes into its child, the server restarts, the owner is deleted.
//!
//! `cargo run -p relent-apiserver --example controller`: some milliseconds, for minutes of the controller's time. The
//! controller knows nothing of the test: it is given a `kube::Client`. To look at such a server by `kubectl`, see
//! `ApiServer::listen` and `Listening::kubeconfig`.

#![allow(clippy::disallowed_methods, clippy::exhaustive_structs, clippy::missing_panics_doc)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::{
    api::core::v1::ConfigMap, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::{ApiResource, Object},
    runtime::{
        controller::{Action, Controller},
        wait::{await_condition, conditions},
        watcher,
    },
};
use relent_apiserver::ApiServer;
use serde::{Deserialize, Serialize};
use serde_json::json;

// ===== the controller: it keeps a ConfigMap for each Generator =====

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

// ===== the test =====

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

fn content(map: Option<&ConfigMap>) -> Option<&str> {
    Some(map?.data.as_ref()?.get("content")?.as_str())
}

/// Plays all of it.
pub async fn play() {
    let server = ApiServer::new().with_garbage_collector();
    let client = server.client();
    let generators: Api<Generator> = Api::namespaced_with(client.clone(), "default", &resource());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    define(client.clone()).await;
    let controller = tokio::spawn(control(client));

    // It reconciles: a child, and a status.
    let hello = Spec { content: "hello".to_owned(), force: false };
    let made = generators.create(&PostParams::default(), &Generator::new("a", &resource(), hello)).await.expect("made");
    let is = |wanted: &'static str| move |map: Option<&ConfigMap>| content(map) == Some(wanted);
    await_condition(maps.clone(), "a", is("hello")).await.expect("the child is made");
    let observed = |generator: Option<&Generator>| {
        generator
            .is_some_and(|it| it.status.as_ref().map(|status| status.observed_generation) == it.metadata.generation)
    };
    await_condition(generators.clone(), "a", observed).await.expect("the status is told");

    // Another writes into the child, as `kubectl edit` does. The controller does not take the field by itself.
    let edit = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    let edited = Patch::Merge(json!({ "data": { "content": "mine" } }));
    maps.patch("a", &edit, &edited).await.expect("edited");
    let in_the_way = |generator: Option<&Generator>| {
        let conflict = generator.and_then(|it| it.status.as_ref()?.conflict.as_ref());
        conflict.is_some_and(|who| who.contains("conflict with \"kubectl-edit\" using v1: .data.content"))
    };
    await_condition(generators.clone(), "a", in_the_way).await.expect("the conflict is told");
    let force = Patch::Merge(json!({ "spec": { "force": true } }));
    generators.patch("a", &PatchParams::default(), &force).await.expect("changed");
    await_condition(maps.clone(), "a", is("hello")).await.expect("the field is taken back");

    // The server is killed and comes back after five seconds. What changes then is seen.
    server.restart(Duration::from_secs(5), Duration::from_secs(1));
    assert!(maps.get("a").await.is_err(), "connections are refused");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let bye = Patch::Merge(json!({ "spec": { "content": "bye" } }));
    generators.patch("a", &PatchParams::default(), &bye).await.expect("changed");
    await_condition(maps.clone(), "a", is("bye")).await.expect("the controller goes on");

    // The owner is deleted: the garbage collector takes the child first.
    generators.delete("a", &DeleteParams::foreground()).await.expect("deleted");
    let uid = made.metadata.uid.unwrap_or_default();
    await_condition(generators, "a", conditions::is_deleted(&uid)).await.expect("the owner goes");
    assert!(maps.get_opt("a").await.expect("an answer").is_none(), "the child went before");
    controller.abort();
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    play().await;
}
