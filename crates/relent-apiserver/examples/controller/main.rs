//! How a controller is tested: it reconciles, the server restarts, the owner is deleted.
//!
//! `cargo run -p relent-apiserver --example controller`: some milliseconds, for minutes of the controller's time. The
//! controller itself is in `generators.rs`, as it would be anywhere. What it does when another writes into its child:
//! `tests/controllers`. To look at such a server by `kubectl`, see `ApiServer::listen` and `Listening::kubeconfig`.
#![allow(clippy::disallowed_methods, clippy::exhaustive_structs, clippy::missing_panics_doc)]

pub mod generators;

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::{await_condition, conditions::is_deleted},
};
use relent_apiserver::ApiServer;
use serde_json::json;

use self::generators::{Generator, Spec, control, define, resource};

/// Whether the controller's ConfigMap says this.
pub fn says(wanted: &str) -> impl Fn(Option<&ConfigMap>) -> bool {
    move |map| map.and_then(|map| map.data.as_ref()?.get("content")).is_some_and(|content| content == wanted)
}

/// Plays all of it.
#[tokio::main(flavor = "current_thread", start_paused = true)]
pub async fn main() {
    let server = ApiServer::new().with_garbage_collector();
    let client = server.client();
    let generators: Api<Generator> = Api::namespaced_with(client.clone(), "default", &resource());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    define(client.clone()).await;
    let controller = tokio::spawn(control(client));

    // It reconciles.
    let hello = Spec { content: "hello".to_owned(), force: false };
    let made = generators.create(&PostParams::default(), &Generator::new("a", &resource(), hello)).await.expect("made");
    await_condition(maps.clone(), "a", says("hello")).await.expect("the child is made");

    // The server is killed and comes back after five seconds. What changes then is seen.
    server.restart(Duration::from_secs(5), Duration::from_secs(1));
    assert!(maps.get("a").await.is_err(), "connections are refused");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let bye = Patch::Merge(json!({ "spec": { "content": "bye" } }));
    generators.patch("a", &PatchParams::default(), &bye).await.expect("changed");
    await_condition(maps.clone(), "a", says("bye")).await.expect("the controller goes on");

    // The owner is deleted: the garbage collector takes the child first.
    generators.delete("a", &DeleteParams::foreground()).await.expect("deleted");
    await_condition(generators, "a", is_deleted(&made.metadata.uid.unwrap_or_default())).await.expect("the owner goes");
    assert!(maps.get_opt("a").await.expect("an answer").is_none(), "the child went before");
    controller.abort();
}
