//! Users: roles and bindings, reviews, the tokens of service accounts, acting as another.

use std::{sync::Arc, time::Duration};

use http::Request;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::{Ran, facts};
use crate::world::{Answer, World, answer};

facts![
    a_token_of_a_service_account,
    a_short_token_is_refused,
    a_token_is_reviewed,
    a_token_ends_with_its_account,
    roles_allow_what_they_say,
    a_role_of_one_name,
    creating_by_apply_needs_both,
    access_is_reviewed,
    ones_own_access_is_reviewed,
    a_review_is_not_kept,
    somebody_else_is_acted_as,
];

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A service account and a client with its token.
async fn account(world: &World, name: &str) -> (Client, String) {
    world.post(&world.core("serviceaccounts"), json!({ "metadata": { "name": name } })).await.is(201);
    let token = token(world, name).await;
    (world.client_with(&token), token)
}

async fn token(world: &World, name: &str) -> String {
    let asked = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    let given = world.post(&world.core(&format!("serviceaccounts/{name}/token")), asked).await;
    given.is(201).body["status"]["token"].as_str().unwrap().to_owned()
}

/// A role in the namespace for a service account.
async fn allow(world: &World, account: &str, rule: Value) {
    let roles = format!("{RBAC}/namespaces/{}", world.namespace);
    world.post(&format!("{roles}/roles"), json!({ "metadata": { "name": account }, "rules": [rule] })).await.is(201);
    let binding = json!({
        "metadata": { "name": account },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": world.namespace }],
    });
    world.post(&format!("{roles}/rolebindings"), binding).await.is(201);
}

async fn send(client: &Client, method: &str, path: &str, content: &str, body: Value) -> Answer {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).header("content-type", content);
    answer(client.send(request.body(Body::from(bytes)).unwrap()).await.expect("an answer")).await
}

/// Until a real server has read the roles; at once on ours.
async fn in_time(world: &World, client: &Client, method: &str, path: &str, body: &Value) -> Answer {
    for _ in 0..100 {
        let answer = send(client, method, path, "application/json", body.clone()).await;
        if answer.code != 403 || world.ours.is_some() {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} stays forbidden");
}

async fn a_token_of_a_service_account(world: Arc<World>) -> Ran {
    let (client, _) = account(&world, "a").await;
    let refused = send(&client, "GET", &world.core("secrets"), "", Value::Null).await;
    let user = format!("system:serviceaccount:{}:a", world.namespace);
    let place = format!("in API group \"\" in the namespace \"{}\"", world.namespace);
    refused.fails(
        403,
        "Forbidden",
        &format!("secrets is forbidden: User \"{user}\" cannot list resource \"secrets\" {place}"),
    );
    let missing = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    let missing = world.post(&world.core("serviceaccounts/nobody/token"), missing).await;
    missing.fails(404, "NotFound", "serviceaccounts \"nobody\" not found");
    Ran::Yes
}

async fn a_short_token_is_refused(world: Arc<World>) -> Ran {
    world.post(&world.core("serviceaccounts"), json!({ "metadata": { "name": "a" } })).await.is(201);
    let asked = json!({ "spec": { "expirationSeconds": 5 } });
    let refused = world.post(&world.core("serviceaccounts/a/token"), asked).await;
    refused.fails(
        422,
        "Invalid",
        "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
    );
    Ran::Yes
}

async fn a_token_is_reviewed(world: Arc<World>) -> Ran {
    let (_, token) = account(&world, "a").await;
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let known = world.post(reviews, json!({ "spec": { "token": token } })).await;
    let status = &known.is(201).body["status"];
    assert_eq!(status["authenticated"], true);
    assert_eq!(status["user"]["username"], format!("system:serviceaccount:{}:a", world.namespace));
    let groups = status["user"]["groups"].as_array().unwrap();
    assert!(groups.contains(&json!(format!("system:serviceaccounts:{}", world.namespace))), "{}", known.text);
    let unknown = world.post(reviews, json!({ "spec": { "token": "nonsense" } })).await;
    assert_ne!(unknown.is(201).body["status"]["authenticated"], true);
    Ran::Yes
}

async fn a_token_ends_with_its_account(world: Arc<World>) -> Ran {
    let (client, _) = account(&world, "a").await;
    send(&client, "GET", &world.core("secrets"), "", Value::Null).await.is(403);
    world.delete(&world.core("serviceaccounts/a")).await.is(200);
    if world.ours.is_none() {
        // A real server remembers for some seconds that it knew the token.
        tokio::time::sleep(Duration::from_secs(12)).await;
    }
    send(&client, "GET", &world.core("secrets"), "", Value::Null).await.is(401);
    Ran::Yes
}

async fn roles_allow_what_they_say(world: Arc<World>) -> Ran {
    let (client, _) = account(&world, "a").await;
    let rule = json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create"] });
    allow(&world, "a", rule).await;
    let maps = world.core("configmaps");
    in_time(&world, &client, "GET", &maps, &Value::Null).await.is(200);
    let map = json!({ "metadata": { "name": "m" } });
    send(&client, "POST", &maps, "application/json", map).await.is(201);
    let user = format!("system:serviceaccount:{}:a", world.namespace);
    let refused = send(&client, "DELETE", &format!("{maps}/m"), "", Value::Null).await;
    refused.fails(403, "Forbidden", &format!("configmaps \"m\" is forbidden: User \"{user}\" cannot delete resource"));
    send(&client, "GET", "/api/v1/namespaces/default/configmaps", "", Value::Null).await.is(403);
    send(&client, "GET", &format!("{maps}?watch=true&timeoutSeconds=1"), "", Value::Null).await.is(403);
    // Every user that is known may see what there is.
    send(&client, "GET", "/apis", "", Value::Null).await.is(200);
    Ran::Yes
}

async fn a_role_of_one_name(world: Arc<World>) -> Ran {
    let (client, _) = account(&world, "a").await;
    let rule = json!({
        "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"], "resourceNames": ["mine"],
    });
    allow(&world, "a", rule).await;
    for name in ["mine", "other"] {
        world.map(name).await.is(201);
    }
    in_time(&world, &client, "GET", &world.core("configmaps/mine"), &Value::Null).await.is(200);
    send(&client, "GET", &world.core("configmaps/other"), "", Value::Null).await.is(403);
    send(&client, "GET", &world.core("configmaps"), "", Value::Null).await.is(403);
    let one = world.core("configmaps?fieldSelector=metadata.name%3Dmine");
    assert_eq!(
        send(&client, "GET", &one, "", Value::Null).await.is(200).body["items"].as_array().map(Vec::len),
        Some(1)
    );
    Ran::Yes
}

async fn creating_by_apply_needs_both(world: Arc<World>) -> Ran {
    let (client, _) = account(&world, "a").await;
    allow(&world, "a", json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"] })).await;
    world.map("there").await.is(201);
    let map = |name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "b": "1" } });
    let path = |name: &str| world.core(&format!("configmaps/{name}?fieldManager=m"));
    let apply = "application/apply-patch+yaml";
    for _ in 0..100 {
        if world.ours.is_some() || send(&client, "PATCH", &path("there"), apply, map("there")).await.code != 403 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    send(&client, "PATCH", &path("there"), apply, map("there")).await.is(200);
    let refused = send(&client, "PATCH", &path("new"), apply, map("new")).await;
    refused.fails(403, "Forbidden", "configmaps \"new\" is forbidden: ");
    Ran::Yes
}

async fn access_is_reviewed(world: Arc<World>) -> Ran {
    let (client, _) = account(&world, "a").await;
    allow(&world, "a", json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] })).await;
    in_time(&world, &client, "GET", &world.core("configmaps/x"), &Value::Null).await.is(404);
    let user = format!("system:serviceaccount:{}:a", world.namespace);
    for (verb, allowed) in [("get", true), ("delete", false)] {
        let wish = json!({ "verb": verb, "resource": "configmaps", "namespace": world.namespace });
        let review = json!({ "spec": { "user": user, "resourceAttributes": wish } });
        let reviewed = world.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review).await;
        assert_eq!(reviewed.is(201).body["status"]["allowed"], allowed, "{}", reviewed.text);
        assert_eq!(reviewed.body["spec"]["user"], user);
    }
    let nobody = json!({ "spec": { "resourceAttributes": { "verb": "get", "resource": "pods" } } });
    let refused = world.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", nobody).await;
    refused.fails(422, "Invalid", "at least one of user or group must be specified");
    Ran::Yes
}

async fn ones_own_access_is_reviewed(world: Arc<World>) -> Ran {
    let wish = json!({ "verb": "delete", "resource": "nodes" });
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": { "resourceAttributes": wish } });
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(world.post(reviews, review.clone()).await.is(201).body["status"]["allowed"], true);
    let (client, _) = account(&world, "a").await;
    // Where every user that is known may ask.
    let asked = send(&client, "POST", reviews, "application/json", review).await;
    if asked.code == 403 && world.ours.is_none() {
        return Ran::No("the roles that a server makes at its start are not there yet");
    }
    assert_eq!(asked.is(201).body["status"]["allowed"], false, "{}", asked.text);
    Ran::Yes
}

async fn a_review_is_not_kept(world: Arc<World>) -> Ran {
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    world.get(reviews).await.fails(405, "MethodNotAllowed", "");
    Ran::Yes
}

async fn somebody_else_is_acted_as(world: Arc<World>) -> Ran {
    let request = Request::get(world.core("secrets")).header("impersonate-user", "jane").body(Body::empty()).unwrap();
    if let Some(server) = &world.ours {
        server.add_user(relent_apiserver::User::new("jane").bound_by_rbac());
        if world.is_port() {
            return Ran::No("from here on no user without a name is let in");
        }
        let admin = relent_apiserver::User::new("admin");
        server.add_user(admin);
        let refused = answer(server.client_as("admin").send(request).await.unwrap()).await;
        refused.fails(403, "Forbidden", "User \"jane\" cannot list resource \"secrets\"");
        return Ran::Yes;
    }
    let refused = answer(world.client.send(request).await.unwrap()).await;
    refused.fails(403, "Forbidden", "User \"jane\" cannot list resource \"secrets\"");
    Ran::Yes
}
