//! Roles and bindings, read from the objects on the server. Whether a user grants more than it has is not checked.

use std::sync::Arc;

use serde_json::Value;

use super::{
    identity::{Identity, Wish},
    object,
    store::{Key, Store},
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether a role that is bound to this user allows it.
pub(super) fn allows(store: &Store, who: &Identity, wish: &Wish<'_>) -> bool {
    who.groups.iter().any(|group| group == "system:masters")
        || rules(store, who, wish.namespace).any(|rule| fits(rule, wish))
}

/// The rules that hold for a user in a namespace, or outside of all.
pub(super) fn rules<'s>(store: &'s Store, who: &'s Identity, namespace: &'s str) -> impl Iterator<Item = &'s Value> {
    let bindings = |plural: &str, namespace: &'s str| {
        let resource: Arc<str> = format!("{plural}.{GROUP}").into();
        let bound = store.list(&resource, Some(namespace)).map(|(_, binding)| &**binding).collect::<Vec<_>>();
        bound.into_iter().filter(move |binding| binds(binding, who, namespace))
    };
    let wide = bindings("clusterrolebindings", "");
    let here = if namespace.is_empty() { None } else { Some(bindings("rolebindings", namespace)) };
    wide.chain(here.into_iter().flatten()).flat_map(move |binding| {
        let (kind, name) = (text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
        let (plural, namespace) = if kind == "Role" { ("roles", namespace) } else { ("clusterroles", "") };
        let key = Key {
            resource: format!("{plural}.{GROUP}").into(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let role = store.get(&key).and_then(|role| role.get("rules")).and_then(Value::as_array);
        role.into_iter().flatten()
    })
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    object::text(value, pointer).unwrap_or("")
}

fn binds(binding: &Value, who: &Identity, home: &str) -> bool {
    let subjects = binding.get("subjects").and_then(Value::as_array).into_iter().flatten();
    subjects.into_iter().any(|subject| {
        let name = text(subject, "/name");
        match text(subject, "/kind") {
            "User" => name == who.name,
            "Group" => who.groups.iter().any(|group| group == name),
            "ServiceAccount" => {
                let namespace = Some(text(subject, "/namespace")).filter(|named| !named.is_empty()).unwrap_or(home);
                who.name == format!("system:serviceaccount:{namespace}:{name}")
            }
            _ => false,
        }
    })
}

fn fits(rule: &Value, wish: &Wish<'_>) -> bool {
    let list = |field: &str| rule.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let has = |field: &str, wanted: &str| list(field).iter().any(|it| it == "*" || it == wanted);
    if !has("verbs", wish.verb) {
        return false;
    }
    if !wish.path.is_empty() {
        let path = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => wish.path.starts_with(start),
            None => wish.path == pattern,
        };
        return list("nonResourceURLs").iter().filter_map(Value::as_str).any(path);
    }
    let resource = if wish.subresource.is_empty() {
        wish.resource.to_owned()
    } else {
        format!("{}/{}", wish.resource, wish.subresource)
    };
    let any_parent = format!("*/{}", wish.subresource);
    let names = list("resourceNames");
    has("apiGroups", wish.group)
        && (has("resources", &resource) || !wish.subresource.is_empty() && has("resources", &any_parent))
        && (names.is_empty() || names.iter().any(|it| it == wish.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_fit_what_they_say() {
        let wish =
            Wish { verb: "get", group: "apps", resource: "deployments", namespace: "a", name: "x", ..Wish::default() };
        let rule = |groups: &[&str], resources: &[&str], verbs: &[&str], names: &[&str]| json!({ "apiGroups": groups, "resources": resources, "verbs": verbs, "resourceNames": names });
        for (rule, fit) in [
            (rule(&["apps"], &["deployments"], &["get"], &[]), true),
            (rule(&["*"], &["*"], &["*"], &[]), true),
            (rule(&[""], &["deployments"], &["get"], &[]), false),
            (rule(&["apps"], &["deployments/scale"], &["get"], &[]), false),
            (rule(&["apps"], &["deployments"], &["list"], &[]), false),
            (rule(&["apps"], &["deployments"], &["get"], &["x"]), true),
            (rule(&["apps"], &["deployments"], &["get"], &["y"]), false),
        ] {
            assert_eq!(fits(&rule, &wish), fit, "{rule}");
        }
        let scale = Wish { subresource: "scale", ..wish };
        assert!(fits(&rule(&["apps"], &["*/scale"], &["get"], &[]), &scale));
        assert!(!fits(&rule(&["apps"], &["deployments"], &["get"], &[]), &scale));
        let path = Wish { verb: "get", path: "/metrics/x", ..Wish::default() };
        assert!(fits(&json!({ "nonResourceURLs": ["/metrics/*"], "verbs": ["get"] }), &path));
    }
}
