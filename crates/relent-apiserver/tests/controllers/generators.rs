//! Another writes into the child of the example's controller, as `kubectl edit` does.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use relent_apiserver::ApiServer;
use serde_json::json;

use crate::example::{
    generators::{Generator, Spec, control, define, resource},
    says,
};

#[tokio::test(start_paused = true)]
async fn a_field_that_another_has_is_told_and_taken_back_by_force() {
    let server = ApiServer::new();
    let client = server.client();
    let generators: Api<Generator> = Api::namespaced_with(client.clone(), "default", &resource());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    define(client.clone()).await;
    let controller = tokio::spawn(control(client));

    let hello = Spec { content: "hello".to_owned(), force: false };
    generators.create(&PostParams::default(), &Generator::new("a", &resource(), hello)).await.unwrap();
    await_condition(maps.clone(), "a", says("hello")).await.unwrap();
    let observed = |generator: Option<&Generator>| {
        generator
            .is_some_and(|it| it.status.as_ref().map(|status| status.observed_generation) == it.metadata.generation)
    };
    await_condition(generators.clone(), "a", observed).await.unwrap();

    // The controller does not take the field by itself.
    let edit = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    let edited = Patch::Merge(json!({ "data": { "content": "mine" } }));
    maps.patch("a", &edit, &edited).await.unwrap();
    let in_the_way = |generator: Option<&Generator>| {
        let conflict = generator.and_then(|it| it.status.as_ref()?.conflict.as_ref());
        conflict.is_some_and(|text| text.contains("conflict with \"kubectl-edit\" using v1: .data.content"))
    };
    await_condition(generators.clone(), "a", in_the_way).await.unwrap();
    assert!(says("mine")(maps.get_opt("a").await.unwrap().as_ref()));
    let force = Patch::Merge(json!({ "spec": { "force": true } }));
    generators.patch("a", &PatchParams::default(), &force).await.unwrap();
    await_condition(maps.clone(), "a", says("hello")).await.unwrap();
    controller.abort();
}
