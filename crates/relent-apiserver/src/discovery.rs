//! The documents about the server: what it serves, its version, its health.

use serde_json::{Value, json};

use super::{described, failure::Failure, resource::ResourceKind, resources::Resources};

/// The version that it says it is.
const VERSION: (&str, &str, &str) = ("1", "33", "v1.33.0+in-process");

/// A document: JSON, or a word.
pub(super) enum Document {
    Json(Value),
    /// All groups at once.
    Aggregated(Value),
    Word(&'static str),
}

/// Documents that need no token.
pub(super) fn is_open(path: &str) -> bool {
    matches!(path, "/healthz" | "/livez" | "/readyz" | "/version")
}

pub(super) fn document(resources: &Resources, path: &str, aggregated: bool) -> Result<Document, Failure> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if aggregated && matches!(parts.as_slice(), ["api" | "apis"]) {
        let groups = if parts == ["api"] { vec![String::new()] } else { groups(resources) };
        let items: Vec<Value> = groups.iter().map(|group| aggregate(resources, group)).collect();
        let list = json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items });
        return Ok(Document::Aggregated(list));
    }
    let json = match parts.as_slice() {
        ["healthz" | "livez" | "readyz"] => return Ok(Document::Word("ok")),
        ["version"] => {
            let (major, minor, git) = VERSION;
            json!({ "major": major, "minor": minor, "gitVersion": git, "platform": "in-process" })
        }
        ["api"] => json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }),
        ["api", "v1"] => resource_list(resources, "", "v1")?,
        ["apis"] => {
            let groups: Vec<Value> = groups(resources).into_iter().map(|group| describe(resources, &group)).collect();
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
        }
        ["apis", group] if groups(resources).iter().any(|known| known == group) => {
            let mut described = describe(resources, group);
            described["kind"] = "APIGroup".into();
            described["apiVersion"] = "v1".into();
            described
        }
        ["apis", group, version] => resource_list(resources, group, version)?,
        ["openapi", "v3"] => described::index(resources),
        ["openapi", "v3", "api", version] => {
            described::document(resources, "", version).ok_or_else(Failure::no_such_place)?
        }
        ["openapi", "v3", "apis", group, version] => {
            described::document(resources, group, version).ok_or_else(Failure::no_such_place)?
        }
        _ => return Err(Failure::no_such_place()),
    };
    Ok(Document::Json(json))
}

/// The named groups, in order, each once.
fn groups(resources: &Resources) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for resource in resources.all().filter(|resource| !resource.group().is_empty()) {
        if !groups.iter().any(|known| known == resource.group()) {
            groups.push(resource.group().to_owned());
        }
    }
    groups
}

fn describe(resources: &Resources, group: &str) -> Value {
    let versions = versions(resources, group);
    let versions: Vec<Value> = versions
        .into_iter()
        .map(|version| json!({ "groupVersion": format!("{group}/{version}"), "version": version }))
        .collect();
    json!({ "name": group, "preferredVersion": versions.first(), "versions": versions })
}

/// A group with all that it serves.
fn aggregate(resources: &Resources, group: &str) -> Value {
    let versions: Vec<Value> = versions(resources, group)
        .into_iter()
        .map(|version| {
            let served = resources.all().filter(|resource| resource.group() == group && resource.serves(version));
            let resources: Vec<Value> = served.map(|resource| aggregated(resource, group, version)).collect();
            json!({ "version": version, "freshness": "Current", "resources": resources })
        })
        .collect();
    let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
    json!({ "metadata": metadata, "versions": versions })
}

/// A resource and its subresources, from what the older documents say of them.
fn aggregated(resource: &ResourceKind, group: &str, version: &str) -> Value {
    let described = resource.described();
    let kind = |of: &Value| {
        let text = |field: &str, or: &str| of.get(field).and_then(Value::as_str).unwrap_or(or).to_owned();
        json!({ "group": text("group", group), "version": text("version", version), "kind": text("kind", "") })
    };
    let subresources: Vec<Value> = described[1..]
        .iter()
        .map(|sub| {
            let (_, name) = sub["name"].as_str().unwrap_or("").split_once('/').unwrap_or_default();
            json!({ "subresource": name, "responseKind": kind(sub), "verbs": sub["verbs"] })
        })
        .collect();
    let main = &described[0];
    let mut all = json!({
        "resource": main["name"], "responseKind": kind(main), "singularResource": main["singularName"],
        "scope": if resource.is_namespaced() { "Namespaced" } else { "Cluster" }, "verbs": main["verbs"],
    });
    if main["shortNames"].as_array().is_some_and(|names| !names.is_empty()) {
        all["shortNames"] = main["shortNames"].clone();
    }
    if !subresources.is_empty() {
        all["subresources"] = subresources.into();
    }
    all
}

/// The versions of a group, in order, each once.
fn versions<'r>(resources: &'r Resources, group: &str) -> Vec<&'r String> {
    let mut versions: Vec<&String> = Vec::new();
    let of_group = resources.all().filter(|resource| resource.group() == group);
    for version in of_group.flat_map(|resource| resource.versions()) {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    versions
}

fn resource_list(resources: &Resources, group: &str, version: &str) -> Result<Value, Failure> {
    let served: Vec<_> =
        resources.all().filter(|resource| resource.group() == group && resource.serves(version)).collect();
    let first = served.first().ok_or_else(Failure::no_such_place)?;
    Ok(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": first.api_version(version),
        "resources": served.iter().flat_map(|resource| resource.described()).collect::<Vec<_>>(),
    }))
}
