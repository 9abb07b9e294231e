//! The controller of kube's own template, with status, events and a finalizer, written anew.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::api::events::v1::Event as Told;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, Object},
    runtime::{
        controller::{Action, Controller},
        events::{Event, EventType, Recorder, Reporter},
        finalizer::{Error as FinalizerError, Event as Finalizer, finalizer},
        wait::{await_condition, conditions},
        watcher,
    },
};
use relent_apiserver::{ApiServer, Fault, ResourceKind, Verb};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{sleep, timeout};

const FINALIZER: &str = "documents.example.com/cleanup";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Spec {
    title: String,
    hide: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Status {
    hidden: bool,
}

type Document = Object<Spec, Status>;

fn resource() -> ApiResource {
    ApiResource {
        group: "example.com".into(),
        version: "v1".into(),
        api_version: "example.com/v1".into(),
        kind: "Document".into(),
        plural: "documents".into(),
    }
}

struct Context {
    client: Client,
    recorder: Recorder,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("kube")]
    Kube(#[from] kube::Error),
    #[error("illegal document")]
    Illegal,
    #[error("finalizer: {0}")]
    Finalizer(String),
}

fn event(reason: &str, note: String, type_: EventType) -> Event {
    Event { type_, reason: reason.to_owned(), note: Some(note), action: "Reconciling".to_owned(), secondary: None }
}

async fn apply(document: Arc<Document>, context: &Context) -> Result<Action, Error> {
    let (name, namespace) = (document.name_any(), document.namespace().unwrap());
    let documents: Api<Document> = Api::namespaced_with(context.client.clone(), &namespace, &resource());
    if document.spec.title == "illegal" {
        return Err(Error::Illegal);
    }
    let hidden = document.status.as_ref().is_some_and(|status| status.hidden);
    if document.spec.hide && !hidden {
        let told = event("HideRequested", format!("Hiding `{name}`"), EventType::Normal);
        context.recorder.publish(&told, &document.object_ref(&resource())).await?;
    }
    let status =
        json!({ "apiVersion": "example.com/v1", "kind": "Document", "status": Status { hidden: document.spec.hide } });
    documents.patch_status(&name, &PatchParams::apply("documents").force(), &Patch::Apply(status)).await?;
    Ok(Action::requeue(Duration::from_secs(300)))
}

async fn cleanup(document: Arc<Document>, context: &Context) -> Result<Action, Error> {
    let told = event("DeleteRequested", format!("Delete `{}`", document.name_any()), EventType::Normal);
    context.recorder.publish(&told, &document.object_ref(&resource())).await?;
    Ok(Action::await_change())
}

async fn reconcile(document: Arc<Document>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = document.namespace().unwrap();
    let documents: Api<Document> = Api::namespaced_with(context.client.clone(), &namespace, &resource());
    let done = finalizer(&documents, FINALIZER, document, async |event| match event {
        Finalizer::Apply(document) => apply(document, &context).await,
        Finalizer::Cleanup(document) => cleanup(document, &context).await,
    });
    done.await.map_err(|error: FinalizerError<Error>| Error::Finalizer(error.to_string()))
}

fn begin(client: Client) -> tokio::task::JoinHandle<()> {
    let documents: Api<Document> = Api::all_with(client.clone(), &resource());
    let reporter = Reporter { controller: "documents".to_owned(), instance: None };
    let context = Arc::new(Context { client: client.clone(), recorder: Recorder::new(client, reporter) });
    let again = |_: Arc<Document>, _: &Error, _: Arc<Context>| Action::requeue(Duration::from_secs(5));
    let controller = Controller::new_with(documents, watcher::Config::default(), resource());
    tokio::spawn(controller.run(reconcile, again, context).for_each(async |_| {}))
}

fn server() -> ApiServer {
    let server = ApiServer::new();
    server.register(ResourceKind::new("example.com", "v1", "Document", "documents").with_status());
    server
}

fn document(title: &str, hide: bool) -> Document {
    Document::new("d", &resource(), Spec { title: title.to_owned(), hide })
}

fn documents(server: &ApiServer) -> Api<Document> {
    Api::namespaced_with(server.client(), "default", &resource())
}

/// The reasons of all events that were told, in order of their names.
async fn told(server: &ApiServer) -> Vec<String> {
    let events: Api<Told> = Api::namespaced(server.client(), "default");
    let all = events.list(&ListParams::default().fields("regarding.name=d")).await.unwrap();
    all.items.into_iter().filter_map(|event| event.reason).collect()
}

fn hidden(document: Option<&Document>) -> bool {
    document.and_then(|document| document.status.as_ref()).is_some_and(|status| status.hidden)
}

#[tokio::test(start_paused = true)]
async fn a_document_is_hidden_told_of_and_cleaned_up() {
    let server = server();
    let controller = begin(server.client());
    let documents = documents(&server);
    let made = documents.create(&PostParams::default(), &document("x", true)).await.unwrap();
    await_condition(documents.clone(), "d", hidden).await.unwrap();
    assert_eq!(told(&server).await, ["HideRequested"]);
    let now = documents.get("d").await.unwrap();
    assert_eq!(now.finalizers(), [FINALIZER]);
    let owners = now.managed_fields();
    assert!(
        owners.iter().any(
            |entry| entry.manager.as_deref() == Some("documents") && entry.subresource.as_deref() == Some("status")
        ),
        "{owners:?}"
    );

    documents.delete("d", &DeleteParams::default()).await.unwrap();
    await_condition(documents, "d", conditions::is_deleted(&made.uid().unwrap())).await.unwrap();
    assert_eq!(told(&server).await, ["HideRequested", "DeleteRequested"]);
    controller.abort();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_repeats_is_a_series() {
    let server = server();
    let documents = documents(&server);
    let made = documents.create(&PostParams::default(), &document("x", false)).await.unwrap();
    let recorder = Recorder::new(server.client(), Reporter { controller: "documents".to_owned(), instance: None });
    for _ in 0..3 {
        let again = event("Looked", "at it".to_owned(), EventType::Warning);
        recorder.publish(&again, &made.object_ref(&resource())).await.unwrap();
    }
    let events: Api<Told> = Api::namespaced(server.client(), "default");
    let all = events.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].series.as_ref().map(|series| series.count), Some(3));
}

#[tokio::test(start_paused = true)]
async fn an_illegal_document_is_tried_again_and_again() {
    let server = server();
    let controller = begin(server.client());
    let documents = documents(&server);
    documents.create(&PostParams::default(), &document("illegal", true)).await.unwrap();
    assert!(timeout(Duration::from_secs(60), await_condition(documents.clone(), "d", hidden)).await.is_err());
    let legal = Patch::Merge(json!({ "spec": { "title": "legal" } }));
    documents.patch("d", &PatchParams::default(), &legal).await.unwrap();
    await_condition(documents, "d", hidden).await.unwrap();
    controller.abort();
}

#[tokio::test(start_paused = true)]
async fn a_conflict_of_versions_and_a_restart_are_overcome() {
    let server = server();
    let controller = begin(server.client());
    let documents = documents(&server);
    // The helper's JSON patch of the finalizers fails once as another writer was quicker, the status is refused twice.
    server.inject(Fault::status(409).verb(Verb::Patch).path("**/documents/d").times(1));
    server.inject(Fault::status(503).verb(Verb::Patch).path("**/documents/d/status").times(2));
    documents.create(&PostParams::default(), &document("x", true)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    server.restart(Duration::from_secs(20), Duration::ZERO);
    sleep(Duration::from_secs(21)).await;
    timeout(Duration::from_secs(120), await_condition(documents.clone(), "d", hidden)).await.unwrap().unwrap();
    server.restart(Duration::from_secs(20), Duration::ZERO);
    sleep(Duration::from_secs(21)).await;
    let uid = documents.get("d").await.unwrap().uid().unwrap();
    documents.delete("d", &DeleteParams::default()).await.unwrap();
    let gone = timeout(Duration::from_secs(120), await_condition(documents, "d", conditions::is_deleted(&uid)));
    gone.await.unwrap().unwrap();
    controller.abort();
}
