//! A server to put questions to: ours, or a real one. Facts are asked over plain HTTP, so that no client smooths them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::{AsyncBufReadExt, StreamExt};
use http::{Method, Request, Response, header::HeaderMap};
use http_body_util::BodyExt;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use relent_apiserver::{ApiServer, ResourceKind};
use serde_json::{Value, json};

/// What a fact needs: a server, and a namespace of its own on it.
pub struct World {
    pub client: Client,
    pub namespace: String,
    /// The in-process server, if it is that.
    pub ours: Option<ApiServer>,
    config: Option<Config>,
    pub minor: u32,
    /// `policy/v1`, or `policy/v1beta1` where that is all there is.
    pub policy: String,
    /// A controller manager is there. It writes too: service accounts, certificates, the status of budgets.
    pub managed: bool,
}

/// An answer, as it came.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Answer {
    #[track_caller]
    pub fn is(&self, code: u16) -> &Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }

    /// A `Status` with this code, reason and message.
    #[track_caller]
    pub fn fails(&self, code: u16, reason: &str, message: &str) -> &Self {
        self.is(code);
        assert_eq!(self.body["kind"], "Status", "{}", self.text);
        assert_eq!(self.body["status"], "Failure", "{}", self.text);
        assert_eq!(self.body["code"], code, "{}", self.text);
        assert_eq!(self.body["reason"].as_str().unwrap_or(""), reason, "{}", self.text);
        let text = self.body["message"].as_str().unwrap_or("");
        assert!(text.contains(message), "{text:?} does not contain {message:?}");
        self
    }

    pub fn revision(&self) -> u64 {
        revision(&self.body)
    }

    pub fn uid(&self) -> String {
        self.body["metadata"]["uid"].as_str().unwrap_or("").to_owned()
    }
}

pub fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A name that no other run has used.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{prefix}-{:x}-{:x}-{count}", std::process::id(), now.subsec_nanos())
}

/// A configuration from the text of a kubeconfig.
pub async fn configuration(text: &str) -> Result<Config, Box<dyn std::error::Error>> {
    let mut config =
        Config::from_custom_kubeconfig(Kubeconfig::from_yaml(text)?, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(config)
}

/// The real server's configuration, if there is to be one. A file that is named and cannot be used is an error.
pub async fn real() -> Option<Config> {
    let path = std::env::var_os("RELENT_KUBECONFIG").filter(|path| !path.is_empty())?;
    let file =
        Kubeconfig::read_from(&path).unwrap_or_else(|error| panic!("RELENT_KUBECONFIG {}: {error}", path.display()));
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .unwrap_or_else(|error| panic!("RELENT_KUBECONFIG {}: {error}", path.display()));
    config.default_retry = false;
    Some(config)
}

impl World {
    pub async fn ours() -> Self {
        let server = ApiServer::new();
        Self::new(server.client(), Some(server), None).await
    }

    /// The in-process server, reached through its port.
    pub async fn through(server: &ApiServer, config: &Config) -> Self {
        let client = Client::try_from(config.clone()).expect("a client for the port");
        Self::new(client, Some(server.clone()), Some(config.clone())).await
    }

    pub async fn on(config: &Config) -> Self {
        let client = Client::try_from(config.clone()).expect("a client for the real server");
        Self::new(client, None, Some(config.clone())).await
    }

    async fn new(client: Client, ours: Option<ApiServer>, config: Option<Config>) -> Self {
        let namespace = unique("relent");
        let mut world = Self {
            client,
            namespace: namespace.clone(),
            ours,
            config,
            minor: 0,
            policy: "policy/v1".to_owned(),
            managed: false,
        };
        let version = world.get("/version").await;
        let minor = version.body["minor"].as_str().unwrap_or("").trim_end_matches('+').to_owned();
        world.minor = minor.parse().unwrap_or_else(|_| panic!("no version: {}", version.text));
        let groups = world.get("/apis/policy").await;
        let offered = |wanted: &str| {
            groups.body["versions"].as_array().is_some_and(|all| all.iter().any(|one| one["version"] == wanted))
        };
        if !offered("v1") {
            assert!(offered("v1beta1"), "neither policy/v1 nor policy/v1beta1: {}", groups.text);
            "policy/v1beta1".clone_into(&mut world.policy);
        }
        world.managed = world.get("/api/v1/namespaces/kube-system/serviceaccounts/default").await.code == 200;
        world.post("/api/v1/namespaces", json!({ "metadata": { "name": namespace } })).await.is(201);
        if world.managed {
            world.settle().await;
        }
        world
    }

    /// Waits for what a controller manager puts into every new namespace, so that it disturbs no fact later.
    async fn settle(&self) {
        for path in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
            // What kube-system has not, no namespace gets: old servers publish no certificate.
            if self.get(&format!("/api/v1/namespaces/kube-system/{path}")).await.code != 200 {
                continue;
            }
            for _ in 0..300 {
                if self.get(&self.core(path)).await.code == 200 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// The in-process server, but in real time.
    pub fn is_port(&self) -> bool {
        self.ours.is_some() && self.config.is_some()
    }

    pub async fn clean_up(&self) {
        self.delete(&format!("/api/v1/namespaces/{}", self.namespace)).await.is(200);
    }

    /// The path of a resource of the core group in the namespace, or of an object there.
    pub fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    pub fn leases(&self, rest: &str) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases{rest}", self.namespace)
    }

    pub fn budgets(&self, rest: &str) -> String {
        format!("/apis/{}/namespaces/{}/poddisruptionbudgets{rest}", self.policy, self.namespace)
    }

    pub async fn raw(&self, client: &Client, method: Method, path: &str, content: &str, body: Vec<u8>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .header("accept", "application/json");
        let response = client.send(request.body(Body::from(body)).unwrap()).await.expect("an answer");
        answer(response).await
    }

    async fn json(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.raw(&self.client, method, path, "application/json", body.to_string().into_bytes()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.raw(&self.client, Method::GET, path, "application/json", Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.json(Method::POST, path, &body).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::PUT, path, body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.raw(&self.client, Method::DELETE, path, "application/json", Vec::new()).await
    }

    pub async fn delete_with(&self, path: &str, options: Value) -> Answer {
        self.json(Method::DELETE, path, &options).await
    }

    /// A patch of this kind: `merge`, `json`, `strategic-merge`.
    pub async fn patch(&self, kind: &str, path: &str, patch: Value) -> Answer {
        let content = format!("application/{kind}-patch+json");
        self.raw(&self.client, Method::PATCH, path, &content, patch.to_string().into_bytes()).await
    }

    /// Events of a watch, as they come.
    pub async fn watch(&self, path: &str) -> Events {
        let request = Request::get(path).header("accept", "application/json").body(Vec::new()).unwrap();
        let lines = self.client.request_stream(request).await.expect("a watch");
        Events { lines: Box::pin(lines.lines()) }
    }

    /// A map with one entry.
    pub async fn map(&self, name: &str) -> Answer {
        self.post(&self.core("configmaps"), json!({ "metadata": { "name": name }, "data": { "a": "1" } })).await
    }

    /// A client with a token that was never given out.
    pub fn client_of_nobody(&self) -> Client {
        if let Some(server) = &self.ours {
            server.user("known", "somebody");
        }
        self.client_with("unknown")
    }

    /// A client of a user that may do nothing here, and the user's name.
    pub async fn client_without_rights(&self) -> (Client, String) {
        let account = self.post(&self.core("serviceaccounts"), json!({ "metadata": { "name": "powerless" } })).await;
        account.is(201);
        let user = format!("system:serviceaccount:{}:powerless", self.namespace);
        let asked = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
        let token = self.post(&self.core("serviceaccounts/powerless/token"), asked).await;
        token.is(201);
        (self.client_with(token.body["status"]["token"].as_str().unwrap()), user)
    }

    /// A client with this token and nothing else.
    pub fn client_with(&self, token: &str) -> Client {
        match (&self.config, &self.ours) {
            (Some(config), _) => with_token(config, token),
            (None, Some(server)) => server.client_with_token(token),
            (None, None) => unreachable!("a world is one of both"),
        }
    }

    /// Makes a custom kind known. Returns the path of its objects in the namespace, and its apiVersion.
    pub async fn custom(&self, kind: &str, status: bool) -> (String, String) {
        let group = format!("{}.example.com", unique("relent"));
        let plural = format!("{}s", kind.to_lowercase());
        if let Some(server) = &self.ours {
            let resource = ResourceKind::new(&group, "v1", kind, &plural);
            server.register(if status { resource.with_status() } else { resource });
        } else {
            let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
            let mut version =
                json!({ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } });
            if status {
                version["subresources"] = json!({ "status": {} });
            }
            let definition = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": { "name": format!("{plural}.{group}") },
                "spec": {
                    "group": group, "scope": "Namespaced", "versions": [version],
                    "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List") },
                },
            });
            self.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await.is(201);
            let path = format!("/apis/{group}/v1/namespaces/{}/{plural}", self.namespace);
            for _ in 0..100 {
                if self.get(&path).await.code == 200 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        (format!("/apis/{group}/v1/namespaces/{}/{plural}", self.namespace), format!("{group}/v1"))
    }

    /// Takes a custom kind away again.
    pub async fn forget_custom(&self, path: &str) {
        if self.ours.is_none() {
            let parts: Vec<&str> = path.split('/').collect();
            let name = format!("{}.{}", parts[parts.len() - 1], parts[2]);
            self.delete(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")).await.is(200);
        }
    }

    /// A pod; on a node, if one is named.
    pub async fn pod(&self, name: &str, node: &str) -> Answer {
        // Pods run as a service account. Where no controller makes the default one, it is made here.
        if self.get(&self.core("serviceaccounts/default")).await.code == 404 {
            self.post(&self.core("serviceaccounts"), json!({ "metadata": { "name": "default" } })).await;
        }
        let mut spec = json!({
            "containers": [{ "name": "main", "image": "example.com/nothing" }],
            "automountServiceAccountToken": false,
            // Where there is a scheduler, it leaves the pod alone.
            "schedulerName": "nobody",
        });
        if !node.is_empty() {
            spec["nodeName"] = node.into();
        }
        let labels = json!({ "app": "contract" });
        let pod = self
            .post(&self.core("pods"), json!({ "metadata": { "name": name, "labels": labels }, "spec": spec }))
            .await;
        pod.is(201);
        pod
    }

    /// A pod that says it runs, on a node that does not exist.
    pub async fn running_pod(&self, name: &str) -> Answer {
        self.pod(name, "no-such-node").await;
        let status = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        let running = self.patch("merge", &self.core(&format!("pods/{name}/status")), status).await;
        running.is(200);
        running
    }
}

fn with_token(config: &Config, token: &str) -> Client {
    let mut config = config.clone();
    config.auth_info = kube::config::AuthInfo { token: Some(token.to_owned().into()), ..Default::default() };
    Client::try_from(config).expect("a client")
}

pub async fn answer(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a whole body").to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { code: parts.status.as_u16(), headers: parts.headers, text, body }
}

type Lines = dyn futures_util::Stream<Item = std::io::Result<String>> + Send;

/// The events of one watch.
pub struct Events {
    lines: std::pin::Pin<Box<Lines>>,
}

impl Events {
    /// The next event; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(Duration::from_secs(70), self.lines.next()).await;
        let line = line.expect("no event in 70 s")?;
        Some(serde_json::from_str(&line.expect("a line")).expect("an event"))
    }

    /// The next event that is no bookmark, as type and object.
    pub async fn change(&mut self) -> (String, Value) {
        loop {
            let mut event = self.next().await.expect("the watch goes on");
            if event["type"] != "BOOKMARK" {
                return (event["type"].as_str().unwrap_or("").to_owned(), event["object"].take());
            }
        }
    }
}
