//! OpenAPI v3 documents, as far as they are true: the paths with their parameters, and the schemas of custom kinds.
//!
//! The fields of built-in kinds are not described, and said to be free. `kubectl` learns here that the server validates
//! fields.

use serde_json::{Map, Value, json};

use super::{resource::ResourceKind, resources::Resources};

/// `/openapi/v3`: where the documents of the groups are.
pub(super) fn index(resources: &Resources) -> Value {
    let mut paths = Map::new();
    for resource in resources.all() {
        for version in resource.versions() {
            let path = place(resource, version);
            let url = format!("/openapi/v3/{path}?hash={}", resources.all().count());
            paths.insert(path, json!({ "serverRelativeURL": url }));
        }
    }
    json!({ "paths": paths })
}

/// The document of a version of a group; `None` where nothing is served.
pub(super) fn document(resources: &Resources, group: &str, version: &str) -> Option<Value> {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for resource in resources.all().filter(|resource| resource.group() == group && resource.serves(version)) {
        schemas.insert(name(resource, version), schema(resource, version));
        let home = if resource.is_namespaced() { "/namespaces/{namespace}" } else { "" };
        let all = format!("/{}{home}/{}", place(resource, version), resource.plural());
        if resource.is_review() {
            paths.insert(all, json!({ "post": operation(resource, version, "post") }));
            continue;
        }
        paths.insert(format!("{all}/{{name}}"), operations(resource, version, &["get", "put", "patch", "delete"]));
        paths.insert(all, operations(resource, version, &["get", "post", "delete"]));
    }
    (!paths.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": "in-process" },
            "paths": paths, "components": { "schemas": schemas },
        })
    })
}

fn place(resource: &ResourceKind, version: &str) -> String {
    match resource.group() {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

/// `com.example.v1.Thing`, as a real server names the schemas of custom kinds.
fn name(resource: &ResourceKind, version: &str) -> String {
    let group = if resource.group().is_empty() { "io.k8s.api.core" } else { resource.group() };
    let turned: Vec<&str> = if resource.group().is_empty() { vec![group] } else { group.rsplit('.').collect() };
    format!("{}.{version}.{}", turned.join("."), resource.kind())
}

fn kind(resource: &ResourceKind, version: &str) -> Value {
    json!({ "group": resource.group(), "version": version, "kind": resource.kind() })
}

fn schema(resource: &ResourceKind, version: &str) -> Value {
    let mut schema = resource.known().and_then(|custom| custom.schema(version)).cloned().unwrap_or_else(|| {
        json!({
            "type": "object", "description": "what fields it has is not told by this server",
            "x-kubernetes-preserve-unknown-fields": true,
        })
    });
    schema["x-kubernetes-group-version-kind"] = json!([kind(resource, version)]);
    schema
}

fn operations(resource: &ResourceKind, version: &str, methods: &[&str]) -> Value {
    methods
        .iter()
        .map(|method| ((*method).to_owned(), operation(resource, version, method)))
        .collect::<Map<_, _>>()
        .into()
}

fn operation(resource: &ResourceKind, version: &str, method: &str) -> Value {
    let parameter = |name: &str, kind: &str| json!({ "name": name, "in": "query", "schema": { "type": kind, "uniqueItems": true } });
    let writes = matches!(method, "post" | "put" | "patch");
    let mut parameters = Vec::new();
    if writes {
        parameters = ["dryRun", "fieldManager", "fieldValidation"].map(|name| parameter(name, "string")).to_vec();
    }
    if method == "patch" {
        parameters.push(parameter("force", "boolean"));
    }
    let reference = json!({ "$ref": format!("#/components/schemas/{}", name(resource, version)) });
    let answer = json!({ "description": "OK", "content": { "application/json": { "schema": reference } } });
    json!({
        "x-kubernetes-action": method, "x-kubernetes-group-version-kind": kind(resource, version),
        "parameters": parameters, "responses": { "200": answer },
    })
}
