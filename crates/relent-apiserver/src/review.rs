//! Reviews: posted, answered, and not kept: which user a token belongs to, what a user may do. And the tokens of
//! service accounts.

use serde_json::{Value, json};

use super::{
    failure::Failure,
    identity::{Identity, Wish},
    object, rbac,
    request::Call,
    state::State,
    tokens::{AUDIENCE, Token},
};
use crate::time;

/// The shortest time that a token can be asked for, and the time it has otherwise, in seconds.
const SHORTEST: i64 = 600;
const USUAL: i64 = 3600;

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    object::text(value, pointer).unwrap_or("")
}

fn strings(value: &Value, pointer: &str) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn user(who: &Identity) -> Value {
    let mut user = json!({ "username": who.name, "groups": who.groups });
    if !who.uid.is_empty() {
        user["uid"] = who.uid.as_str().into();
    }
    user
}

/// POST of a review: the same with its status.
pub(super) fn answer(state: &State, call: &Call, who: &Identity, mut review: Value) -> Result<Value, Failure> {
    let resource = &call.resource;
    let invalid = |field: &str, message: &str| Failure::invalid(resource, "", field, "FieldValueInvalid", message);
    let spec = review.get("spec").cloned().unwrap_or(Value::Null);
    review["kind"] = resource.kind().into();
    review["apiVersion"] = resource.api_version(&call.version).into();
    review["metadata"] = json!({});
    review["status"] = match resource.kind() {
        "TokenReview" => {
            let token = text(&spec, "/token");
            if token.is_empty() {
                let message = "Required value: token is required for TokenReview in authentication";
                return Err(Failure::invalid(resource, "", "spec.token", "FieldValueRequired", message));
            }
            token_status(state, token, &strings(&spec, "/audiences"))
        }
        "SelfSubjectReview" => json!({ "userInfo": user(who) }),
        "SelfSubjectRulesReview" => rules(state, who, text(&spec, "/namespace")),
        kind => {
            let (of_resource, of_path) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
            if of_resource.is_some() == of_path.is_some() {
                let message =
                    "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
                return Err(invalid("spec.resourceAttributes", message));
            }
            let other;
            let who = if kind == "SelfSubjectAccessReview" {
                who
            } else {
                let (name, groups) = (text(&spec, "/user"), strings(&spec, "/groups"));
                if name.is_empty() && groups.is_empty() {
                    return Err(invalid(
                        "spec.user",
                        "Invalid value: \"\": at least one of user or group must be specified",
                    ));
                }
                other = state.access.subject(name, groups);
                &other
            };
            let wish = match of_resource {
                Some(asked) => Wish {
                    verb: text(asked, "/verb"),
                    group: text(asked, "/group"),
                    resource: text(asked, "/resource"),
                    subresource: text(asked, "/subresource"),
                    namespace: text(asked, "/namespace"),
                    name: text(asked, "/name"),
                    path: "",
                },
                None => Wish {
                    verb: text(&spec, "/nonResourceAttributes/verb"),
                    path: text(&spec, "/nonResourceAttributes/path"),
                    ..Wish::default()
                },
            };
            json!({ "allowed": state.allows(who, &wish) })
        }
    };
    Ok(review)
}

fn token_status(state: &State, token: &str, wanted: &[String]) -> Value {
    let who = state.access.by_token(token).or_else(|| state.tokens.who(&state.store, token));
    let meant = state.tokens.audiences(token);
    let shared: Vec<&String> = meant.iter().filter(|is| wanted.is_empty() || wanted.contains(is)).collect();
    match who {
        Some(who) if !shared.is_empty() => json!({ "authenticated": true, "user": user(&who), "audiences": shared }),
        _ => json!({ "user": {}, "error": "invalid bearer token" }),
    }
}

fn rules(state: &State, who: &Identity, namespace: &str) -> Value {
    let (mut of_resources, mut of_paths) = (Vec::new(), Vec::new());
    if who.bound {
        for rule in rbac::rules(&state.store, who, namespace) {
            let list = if rule.get("nonResourceURLs").is_some() { &mut of_paths } else { &mut of_resources };
            list.push(rule.clone());
        }
    } else {
        of_resources.push(json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }));
        of_paths.push(json!({ "verbs": ["*"], "nonResourceURLs": ["*"] }));
    }
    json!({ "resourceRules": of_resources, "nonResourceRules": of_paths, "incomplete": false })
}

/// POST to `serviceaccounts/NAME/token`.
pub(super) fn token(state: &mut State, call: &Call, mut request: Value) -> Result<Value, Failure> {
    let account = call.key(&call.name);
    let Some(known) = state.store.get(&account).cloned() else {
        return Err(Failure::not_found(&call.resource, &call.name));
    };
    let seconds = object::number(&request, "/spec/expirationSeconds").unwrap_or(USUAL);
    if seconds < SHORTEST {
        let (field, message) = ("spec.expirationSeconds", "may not specify a duration less than 10 minutes");
        let text =
            format!("TokenRequest.authentication.k8s.io \"\" is invalid: {field}: Invalid value: {seconds}: {message}");
        return Err(Failure::new(422, "Invalid", text));
    }
    let mut audiences = strings(&request, "/spec/audiences");
    if audiences.is_empty() {
        audiences.push(AUDIENCE.to_owned());
    }
    let uid = object::meta(&known, "uid").to_owned();
    let (begins, expires) = (state.seconds(), state.stamp(seconds));
    let claims = json!({
        "iss": AUDIENCE, "aud": audiences, "iat": begins, "nbf": begins, "exp": begins + seconds,
        "sub": format!("system:serviceaccount:{}:{}", account.namespace, account.name),
        "kubernetes.io": { "namespace": account.namespace, "serviceaccount": { "name": account.name, "uid": uid } },
    });
    // In the form of a real one; what stands for the signature is random.
    let parts = [json!({ "alg": "none", "typ": "JWT" }).to_string(), claims.to_string(), state.uid()];
    let token = parts.map(|part| encoded(&part)).join(".");
    let ends = time::now().checked_add(std::time::Duration::from_secs(seconds.unsigned_abs()));
    state.tokens.0.insert(token.clone(), Token { account, uid, audiences: audiences.clone(), ends });
    let spec = json!({ "audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": request.pointer("/spec/boundObjectRef") });
    request = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": { "name": call.name, "namespace": call.namespace, "creationTimestamp": state.stamp(0) },
        "spec": spec, "status": { "token": token, "expirationTimestamp": expires },
    });
    Ok(request)
}

/// Base64 for URLs, without padding.
fn encoded(text: &str) -> String {
    let bytes = k8s_openapi::ByteString(text.as_bytes().to_vec());
    let base64 =
        serde_json::to_value(bytes).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    base64.trim_end_matches('=').replace('+', "-").replace('/', "_")
}
