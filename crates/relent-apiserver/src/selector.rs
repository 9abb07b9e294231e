//! Label and field selectors.

use std::sync::Arc;

use serde_json::Value;

use super::{
    event,
    failure::Failure,
    object,
    resource::{Builtin, ResourceKind},
};

/// Which objects a list, a watch or a deletion is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldIs>,
}

#[derive(Clone, Debug)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Above(String, i64),
    Below(String, i64),
}

#[derive(Clone, Debug)]
struct FieldIs {
    field: String,
    value: String,
    equal: bool,
}

impl Selector {
    pub(super) fn parse(resource: &ResourceKind, labels: &str, fields: &str) -> Result<Self, Failure> {
        let parsed = split(labels).into_iter().map(|part| requirement(part.trim())).collect::<Result<Vec<_>, _>>();
        let parsed = parsed.map_err(|part| {
            Failure::bad_request(format!("unable to parse requirement: found '{part}', expected: a label selector"))
        })?;
        let mut chosen = Vec::new();
        for part in split_escaped(fields).into_iter().filter(|part| !part.is_empty()) {
            let mut chosen_field = field(part)
                .ok_or_else(|| Failure::bad_request(format!("invalid field selector: {part}: can't understand it")))?;
            if resource.is_event_view() {
                chosen_field.field = event::stored_field(&chosen_field.field);
            }
            if !supported(resource).contains(&chosen_field.field.as_str()) {
                let field = &chosen_field.field;
                return Err(Failure::bad_request(match resource.rules.builtin {
                    Some(
                        Builtin::ConfigMap | Builtin::Lease | Builtin::PodDisruptionBudget | Builtin::ServiceAccount,
                    ) => {
                        format!(
                            "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                        )
                    }
                    _ => format!("field label not supported: {field}"),
                }));
            }
            chosen.push(chosen_field);
        }
        Ok(Self { labels: parsed, fields: chosen })
    }

    /// The one name that is chosen, if it is one.
    pub(super) fn name(&self) -> Option<&str> {
        let by_name = self.fields.iter().find(|chosen| chosen.equal && chosen.field == "metadata.name");
        by_name.map(|chosen| chosen.value.as_str())
    }

    /// Chooses everything.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let label =
            |name: &str| object.pointer("/metadata/labels").and_then(|all| all.get(name)).and_then(Value::as_str);
        let integer = |name: &str| label(name).and_then(|text| text.parse::<i64>().ok());
        self.labels.iter().all(|requirement| match requirement {
            Requirement::In(name, values) => label(name).is_some_and(|is| values.iter().any(|value| value == is)),
            Requirement::NotIn(name, values) => !label(name).is_some_and(|is| values.iter().any(|value| value == is)),
            Requirement::Exists(name) => label(name).is_some(),
            Requirement::Absent(name) => label(name).is_none(),
            Requirement::Above(name, bound) => integer(name).is_some_and(|is| is > *bound),
            Requirement::Below(name, bound) => integer(name).is_some_and(|is| is < *bound),
        }) && self.fields.iter().all(|wanted| {
            let pointer = format!("/{}", wanted.field.replace('.', "/"));
            let is = match object.pointer(&pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(flag)) => flag.to_string(),
                Some(Value::Number(number)) => number.to_string(),
                _ => String::new(),
            };
            (is == wanted.value) == wanted.equal
        })
    }

    /// Of a change, what a watcher of this selection is told: `ADDED`, `MODIFIED`, `DELETED`, or nothing.
    pub(super) fn seen(&self, before: Option<&Arc<Value>>, after: Option<&Arc<Value>>) -> Option<&'static str> {
        let was = before.is_some_and(|object| self.matches(object));
        let is = after.is_some_and(|object| self.matches(object));
        match (was, is) {
            (false, true) => Some("ADDED"),
            (true, true) => Some("MODIFIED"),
            (true, false) => Some("DELETED"),
            (false, false) => None,
        }
    }

    /// A `LabelSelector` as budgets carry it, read from JSON. One that cannot be read chooses nothing.
    pub(super) fn from_label_selector(selector: &Value) -> Option<Self> {
        let mut labels = Vec::new();
        if let Some(exact) = selector.get("matchLabels").and_then(Value::as_object) {
            for (name, value) in exact {
                labels.push(Requirement::In(name.clone(), vec![value.as_str()?.to_owned()]));
            }
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let name = object::text(expression, "/key")?.to_owned();
            let listed = expression.get("values").and_then(Value::as_array);
            let values = listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
            labels.push(match object::text(expression, "/operator")? {
                "In" => Requirement::In(name, values),
                "NotIn" => Requirement::NotIn(name, values),
                "Exists" => Requirement::Exists(name),
                "DoesNotExist" => Requirement::Absent(name),
                _ => return None,
            });
        }
        Some(Self { labels, fields: Vec::new() })
    }
}

/// A `LabelSelector` as a query writes it.
pub(super) fn written(selector: &Value) -> String {
    let mut parts = Vec::new();
    for (name, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        parts.push(format!("{name}={}", value.as_str().unwrap_or("")));
    }
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let name = object::text(expression, "/key").unwrap_or("");
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let values = values.filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        parts.push(match object::text(expression, "/operator") {
            Some("In") => format!("{name} in ({values})"),
            Some("NotIn") => format!("{name} notin ({values})"),
            Some("DoesNotExist") => format!("!{name}"),
            _ => name.to_owned(),
        });
    }
    parts.join(",")
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let wrong = || part.to_owned();
    let named = |name: &str| {
        let name = name.trim();
        let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        if fits { Ok(name.to_owned()) } else { Err(wrong()) }
    };
    let set = |values: &str| {
        let inner = values.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(wrong)?;
        Ok::<_, String>(inner.split(',').map(|value| value.trim().to_owned()).collect::<Vec<_>>())
    };
    if let Some(name) = part.strip_prefix('!') {
        return Ok(Requirement::Absent(named(name)?));
    }
    if let Some((name, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(named(name)?, vec![value.trim().to_owned()]));
    }
    if let Some((name, values)) = part.split_once(" notin ") {
        return Ok(Requirement::NotIn(named(name)?, set(values)?));
    }
    if let Some((name, values)) = part.split_once(" in ") {
        return Ok(Requirement::In(named(name)?, set(values)?));
    }
    if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(named(name)?, vec![value.trim().to_owned()]));
    }
    if let Some((name, value)) = part.split_once('>') {
        return Ok(Requirement::Above(named(name)?, value.trim().parse().map_err(|_| wrong())?));
    }
    if let Some((name, value)) = part.split_once('<') {
        return Ok(Requirement::Below(named(name)?, value.trim().parse().map_err(|_| wrong())?));
    }
    Ok(Requirement::Exists(named(part)?))
}

/// Splits at commas that no backslash stands before.
fn split_escaped(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        if character == ',' && !escaped {
            parts.push(&text[start..at]);
            start = at + 1;
        }
        escaped = character == '\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts
}

fn field(part: &str) -> Option<FieldIs> {
    let (field, value) = part.split_once('=')?;
    let (field, equal) = field.strip_suffix('!').map_or((field, true), |field| (field, false));
    let value = if equal { value.strip_prefix('=').unwrap_or(value) } else { value };
    Some(FieldIs { field: field.trim().to_owned(), value: unescaped(value.trim())?, equal })
}

/// In a value a backslash stands before each comma, equals sign and backslash.
fn unescaped(value: &str) -> Option<String> {
    let (mut plain, mut characters) = (String::new(), value.chars());
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => characters.next().filter(|escaped| matches!(escaped, '\\' | ',' | '='))?,
            ',' | '=' => return None,
            other => other,
        });
    }
    Some(plain)
}

/// The fields that a kind can be selected by.
fn supported(resource: &ResourceKind) -> &'static [&'static str] {
    match resource.rules.builtin {
        Some(Builtin::Pod) => &[
            "metadata.name",
            "metadata.namespace",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        Some(Builtin::Event) => &[
            "metadata.name",
            "metadata.namespace",
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reportingComponent",
            "reason",
            "type",
        ],
        Some(Builtin::Secret) => &["metadata.name", "metadata.namespace", "type"],
        Some(Builtin::Namespace) => &["metadata.name", "status.phase"],
        Some(Builtin::Node) => &["metadata.name", "spec.unschedulable"],
        _ if resource.is_namespaced() => &["metadata.name", "metadata.namespace"],
        _ => &["metadata.name"],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(labels: &str, object: &Value) -> bool {
        Selector::parse(&ResourceKind::new("", "v1", "ConfigMap", "configmaps"), labels, "").unwrap().matches(object)
    }

    #[test]
    fn labels_are_matched() {
        let object = json!({ "metadata": { "labels": { "app": "web", "tier": "2" } } });
        for yes in [
            "",
            "app",
            "app=web",
            "app==web",
            "app!=db",
            "app in (web, db)",
            "app notin (db)",
            "!x",
            "tier>1",
            "app=web,tier<3",
        ] {
            assert!(selects(yes, &object), "{yes}");
        }
        for no in ["x", "app=db", "app!=web", "app in (db)", "app notin (web,db)", "!app", "tier>2", "app=web,x"] {
            assert!(!selects(no, &object), "{no}");
        }
        for wrong in ["=", "a b", "x in y", "tier>many"] {
            assert!(Selector::parse(&ResourceKind::new("", "v1", "A", "as"), wrong, "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_are_matched_where_the_kind_has_them() {
        let pods = ResourceKind::new("", "v1", "Pod", "pods");
        assert!(Selector::parse(&pods, "", "status.phase=Running").is_err());
        let selector = Selector::parse(&pods, "", "metadata.name!=a").unwrap();
        assert!(selector.matches(&json!({ "metadata": { "name": "b" } })));
        assert!(!selector.matches(&json!({ "metadata": { "name": "a" } })));
    }

    #[test]
    fn values_of_fields_are_escaped() {
        let kind = ResourceKind::new("example.com", "v1", "Thing", "things");
        for (written, name) in [("x", "x"), ("a\\=b", "a=b"), ("a\\,b\\\\", "a,b\\")] {
            for equals in ["=", "=="] {
                let text = format!("metadata.name{equals}{written},metadata.namespace!=other");
                let selector = Selector::parse(&kind, "", &text).unwrap();
                assert!(selector.matches(&json!({ "metadata": { "name": name } })), "{text}");
                assert!(!selector.matches(&json!({ "metadata": { "name": "y" } })), "{text}");
            }
        }
        for wrong in ["metadata.name=a=b", "metadata.name=a,b", "metadata.name=a\\b", "metadata.name=a\\"] {
            assert!(Selector::parse(&kind, "", wrong).is_err(), "{wrong}");
        }
    }
}
