//! `k8s::get`, its classes and its sentences: through the real `kube` client, on ours and on a real server.

mod against_the_model;
mod classes;
mod real;
mod sentences;
mod settings;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, api::PostParams, client::ClientBuilder};
use relent_apiserver::{ApiServer, Fault, Verb};
use relent_k8s::RetryAfterLayer;

pub const SPACE: &str = "kube-system";
pub const NAME: &str = "kube-proxy";

/// A client of the in-process server, made as `k8s::client` makes one.
pub fn client(server: &ApiServer) -> Client {
    ClientBuilder::new(server.clone(), "default").with_layer(&RetryAfterLayer::default()).build()
}

pub fn maps(server: &ApiServer) -> Api<ConfigMap> {
    Api::namespaced(client(server), SPACE)
}

pub fn map(name: &str, value: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map.data = Some(BTreeMap::from([("key".to_owned(), value.to_owned())]));
    map
}

/// A server with the map.
pub async fn server() -> ApiServer {
    let server = ApiServer::new();
    maps(&server).create(&PostParams::default(), &map(NAME, "value")).await.unwrap();
    server.clear_journal();
    server
}

pub fn on_get(fault: Fault) -> Fault {
    fault.verb(Verb::Get).path("**/configmaps/*")
}

pub fn gets(server: &ApiServer) -> usize {
    server.journal().iter().filter(|entry| entry.verb == Verb::Get && entry.path.contains("/configmaps/")).count()
}
