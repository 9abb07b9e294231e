//! Objects as rows of a table, as `kubectl get` shows them.
//!
//! The columns of the kinds that people look at most, and of custom kinds what their definition says; of all others
//! name and age.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{object, request::Call, resource::ResourceKind};

/// The API of tables and of metadata alone.
pub(super) const META: &str = "meta.k8s.io/v1";
/// A column: its name, its type, whether it is shown only when asked for, and the cell.
type Column = (&'static str, &'static str, fn(&Value) -> Value);

fn count(object: &Value, pointer: &str) -> i64 {
    object::number(object, pointer).unwrap_or(0)
}

fn text(object: &Value, pointer: &str) -> Value {
    object::text(object, pointer).unwrap_or("").into()
}

fn size(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Array(all)) => all.len(),
        Some(Value::Object(all)) => all.len(),
        _ => 0,
    }
}

fn ready(workload: &Value) -> Value {
    format!("{}/{}", count(workload, "/status/readyReplicas"), count(workload, "/spec/replicas")).into()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten()
}

fn phase(object: &Value) -> Value {
    if object::is_terminating(object) {
        return "Terminating".into();
    }
    let why = object::text(object, "/status/reason").or_else(|| object::text(object, "/status/phase"));
    why.unwrap_or("").into()
}

fn ports(service: &Value) -> Value {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let written = ports.map(|port| {
        let node = object::number(port, "/nodePort").map_or(String::new(), |node| format!(":{node}"));
        format!("{}{node}/{}", count(port, "/port"), object::text(port, "/protocol").unwrap_or("TCP"))
    });
    let all: Vec<String> = written.collect();
    if all.is_empty() { "<none>".into() } else { all.join(",").into() }
}

fn node_status(node: &Value) -> Value {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
    let mut words = vec![match ready {
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        words.push("SchedulingDisabled");
    }
    words.join(",").into()
}

/// What a kind shows between name and age.
fn columns(resource: &ResourceKind) -> &'static [Column] {
    match resource.qualified().as_str() {
        "pods" => &[
            ("Ready", "string", |pod| {
                let ready = containers(pod).filter(|container| container["ready"] == true).count();
                format!("{ready}/{}", size(pod, "/spec/containers")).into()
            }),
            ("Status", "string", phase),
            ("Restarts", "string", |pod| {
                containers(pod).map(|container| count(container, "/restartCount")).sum::<i64>().to_string().into()
            }),
        ],
        "deployments.apps" => &[
            ("Ready", "string", ready),
            ("Up-to-date", "string", |it| count(it, "/status/updatedReplicas").into()),
            ("Available", "string", |it| count(it, "/status/availableReplicas").into()),
        ],
        "statefulsets.apps" => &[("Ready", "string", ready)],
        "replicasets.apps" => &[
            ("Desired", "integer", |it| count(it, "/spec/replicas").into()),
            ("Current", "integer", |it| count(it, "/status/replicas").into()),
            ("Ready", "integer", |it| count(it, "/status/readyReplicas").into()),
        ],
        "configmaps" => &[("Data", "string", |it| (size(it, "/data") + size(it, "/binaryData")).into())],
        "secrets" => &[("Type", "string", |it| text(it, "/type")), ("Data", "string", |it| size(it, "/data").into())],
        "serviceaccounts" => &[("Secrets", "string", |it| size(it, "/secrets").into())],
        "services" => &[
            ("Type", "string", |it| text(it, "/spec/type")),
            ("Cluster-IP", "string", |it| text(it, "/spec/clusterIP")),
            ("External-IP", "string", |_| "<none>".into()),
            ("Port(s)", "string", ports),
        ],
        "namespaces" => &[("Status", "string", |it| text(it, "/status/phase"))],
        "nodes" => &[
            ("Status", "string", node_status),
            ("Version", "string", |it| text(it, "/status/nodeInfo/kubeletVersion")),
        ],
        "leases.coordination.k8s.io" => &[("Holder", "string", |it| text(it, "/spec/holderIdentity"))],
        "persistentvolumeclaims" => {
            &[("Status", "string", phase), ("Volume", "string", |it| text(it, "/spec/volumeName"))]
        }
        _ => &[],
    }
}

/// Of a custom kind, what its definition wants to be shown instead of the age.
fn printed<'r>(resource: &'r ResourceKind, version: &str) -> &'r [Value] {
    resource.known().map_or(&[], |custom| custom.columns(version))
}

/// The row of an object.
pub(super) fn row(call: &Call, object: &Value, beside: &str) -> Value {
    let mut cells = vec![Value::from(object::meta(object, "name"))];
    let printed = printed(&call.resource, &call.version);
    if printed.is_empty() {
        cells.extend(columns(&call.resource).iter().map(|(.., cell)| cell(object)));
        cells.push(age(object::meta(object, "creationTimestamp"), call.now));
    }
    for column in printed {
        let path = object::text(column, "/jsonPath").unwrap_or("");
        let value = find(object, path);
        cells.push(match (object::text(column, "/type"), value) {
            (_, None) => Value::Null,
            (Some("date"), Some(at)) => age(at.as_str().unwrap_or(""), call.now),
            (Some("string"), Some(value)) if !value.is_string() => value.to_string().into(),
            (_, Some(value)) => value.clone(),
        });
    }
    let whole = || call.whole(object);
    match beside {
        "None" => json!({ "cells": cells }),
        "Object" => json!({ "cells": cells, "object": whole() }),
        _ => {
            let metadata = object.get("metadata").cloned().unwrap_or(json!({}));
            json!({ "cells": cells, "object": { "kind": "PartialObjectMetadata", "apiVersion": META, "metadata": metadata } })
        }
    }
}

/// A table of these rows.
pub(super) fn table(call: &Call, rows: Vec<Value>, metadata: Value) -> Value {
    let column = |name: &str, kind: &str, format: &str, priority: i64| json!({ "name": name, "type": kind, "format": format, "description": "", "priority": priority });
    let mut head = vec![column("Name", "string", "name", 0)];
    let printed = printed(&call.resource, &call.version);
    if printed.is_empty() {
        head.extend(columns(&call.resource).iter().map(|(name, kind, _)| column(name, kind, "", 0)));
        let kind = if call.resource.known().is_some() { "date" } else { "string" };
        head.push(column("Age", kind, "", 0));
    }
    for printed in printed {
        let of = |field: &str| object::text(printed, &format!("/{field}")).unwrap_or("");
        head.push(column(of("name"), of("type"), of("format"), object::number(printed, "/priority").unwrap_or(0)));
    }
    let mut table = json!({ "kind": "Table", "apiVersion": META, "columnDefinitions": head });
    table["rows"] = Value::Array(rows);
    table["metadata"] = metadata;
    table
}

/// How long ago, as people read it.
fn age(at: &str, now: i64) -> Value {
    let Ok(at) = at.parse::<Timestamp>() else { return "<unknown>".into() };
    let seconds = now - at.as_second();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |whole: i64, unit: &str, rest: i64, small: &str| {
        if rest == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit}{rest}{small}") }
    };
    let text = match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => pair(days / 365, "y", if days / 365 < 8 { days % 365 } else { 0 }, "d"),
    };
    text.into()
}

/// What a path of the kind `.spec.a[0].b`, `.list[?(@.type=="Ready")].status` finds first.
fn find<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    let mut rest = path.trim_start_matches('{').trim_end_matches('}');
    let mut place = object;
    while !rest.is_empty() {
        if let Some(filter) = rest.strip_prefix("[?(@.") {
            let (condition, after) = filter.split_once(")]")?;
            let (field, wanted) = condition.split_once("==")?;
            let wanted = wanted.trim().trim_matches(['"', '\'']);
            place = place
                .as_array()?
                .iter()
                .find(|item| find(item, &format!(".{}", field.trim())).is_some_and(|is| is == wanted))?;
            rest = after;
        } else if let Some(index) = rest.strip_prefix('[') {
            let (index, after) = index.split_once(']')?;
            place = match index {
                "*" => place.as_array()?.first()?,
                name if name.starts_with(['\'', '"']) => place.get(name.trim_matches(['"', '\'']))?,
                index => place.get(index.parse::<usize>().ok()?)?,
            };
            rest = after;
        } else {
            rest = rest.trim_start_matches('.');
            // A point in a name is written with a backslash before it.
            let end = rest.char_indices().find(|(at, c)| *c == '[' || *c == '.' && !rest[..*at].ends_with('\\'));
            let (name, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
            place = place.get(name.replace("\\.", "."))?;
            rest = after;
        }
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_what_they_say() {
        let object = json!({
            "metadata": { "annotations": { "a.b/c": "x" } }, "list": [{ "n": 1 }, { "n": 2 }],
            "status": { "conditions": [{ "type": "A", "status": "no" }, { "type": "Ready", "status": "yes" }] },
        });
        for (path, wanted) in [
            (".list[1].n", Some(json!(2))),
            (".list[*].n", Some(json!(1))),
            (".status.conditions[?(@.type==\"Ready\")].status", Some(json!("yes"))),
            (".status.conditions[?(@.type=='Never')].status", None),
            (".metadata.annotations.a\\.b/c", Some(json!("x"))),
            (".metadata.annotations['a.b/c']", Some(json!("x"))),
            (".nothing.at.all", None),
        ] {
            assert_eq!(find(&object, path), wanted.as_ref(), "{path}");
        }
    }

    #[test]
    fn ages_are_as_people_read_them() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_860, "3h1m"),
            (86_400, "24h"),
            (176_400, "2d1h"),
            (864_000, "10d"),
            (63_072_000 + 86_400, "2y1d"),
        ] {
            assert_eq!(age("1970-01-01T00:00:00Z", seconds), text);
        }
    }
}
