//! The documents about the server: what it serves, its version, its health.

use serde_json::{Value, json};

use super::{failure::Failure, resource::Resources};

/// The version that it says it is.
const VERSION: (&str, &str, &str) = ("1", "33", "v1.33.0+relent");

/// A document: JSON, or a word.
pub(super) enum Document {
    Json(Value),
    Word(&'static str),
}

/// Documents that need no token.
pub(super) fn is_open(path: &str) -> bool {
    matches!(path, "/healthz" | "/livez" | "/readyz" | "/version")
}

pub(super) fn document(resources: &Resources, path: &str) -> Result<Document, Failure> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
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
        _ => return Err(Failure::no_such_path()),
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
    let mut versions: Vec<&String> = Vec::new();
    for version in resources.all().filter(|resource| resource.group() == group).flat_map(|resource| resource.versions())
    {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let versions: Vec<Value> = versions
        .into_iter()
        .map(|version| json!({ "groupVersion": format!("{group}/{version}"), "version": version }))
        .collect();
    json!({ "name": group, "preferredVersion": versions.first(), "versions": versions })
}

fn resource_list(resources: &Resources, group: &str, version: &str) -> Result<Value, Failure> {
    let served: Vec<_> = resources
        .all()
        .filter(|resource| resource.group() == group && resource.versions().iter().any(|known| known == version))
        .collect();
    let first = served.first().ok_or_else(Failure::no_such_path)?;
    Ok(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": first.api_version(version),
        "resources": served.iter().flat_map(|resource| resource.described()).collect::<Vec<_>>(),
    }))
}
