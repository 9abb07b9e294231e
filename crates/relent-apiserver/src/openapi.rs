//! The schema of a custom kind: what of an object is kept, what is added, what is refused.
//!
//! `OpenAPI` v3 as a `CustomResourceDefinition` has it. Rules in CEL (`x-kubernetes-validations`) are not evaluated.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{
    apply::Schema,
    path::{Path, Step, below},
};

/// A schema, as the definition wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenApi(Value);

/// What is wrong with a value: where, the kind of fault, and the sentence.
pub(super) type Fault = (String, &'static str, String);

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}

fn text<'s>(schema: &'s Value, name: &str) -> &'s str {
    schema.get(name).and_then(Value::as_str).unwrap_or("")
}

/// The schema of a field; `None` where the kind does not have it.
fn field<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    let declared = schema.get("properties").and_then(|all| all.get(name));
    declared.or_else(|| schema.get("additionalProperties").filter(|all| all.is_object()))
}

impl OpenApi {
    pub(super) fn new(schema: Value) -> Self {
        Self(schema)
    }

    pub(super) fn json(&self) -> &Value {
        &self.0
    }

    /// Takes away what the kind does not have, nulls that it does not take, and names them; then adds what is missing.
    pub(super) fn read(&self, object: &mut Value) -> Vec<Path> {
        let mut unknown = Vec::new();
        let Value::Object(fields) = object else { return unknown };
        for (name, value) in fields.iter_mut() {
            if let Some(schema) = self.0.get("properties").and_then(|all| all.get(name)).filter(|_| name != "metadata")
            {
                prune(schema, value, &[Step::Field(name.clone())], &mut unknown);
            }
        }
        if !flag(&self.0, "x-kubernetes-preserve-unknown-fields") {
            fields.retain(|name, _| {
                let known =
                    ["apiVersion", "kind", "metadata"].contains(&name.as_str()) || field(&self.0, name).is_some();
                if !known {
                    unknown.push(vec![Step::Field(name.clone())]);
                }
                known
            });
        }
        complete(&self.0, object);
        unknown
    }

    /// What is wrong with an object.
    pub(super) fn check(&self, object: &Value) -> Vec<Fault> {
        let mut faults = Vec::new();
        let Value::Object(fields) = object else { return faults };
        for required in self.0.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !fields.contains_key(required) {
                faults.push((required.to_owned(), "FieldValueRequired", "Required value".to_owned()));
            }
        }
        for (name, value) in fields {
            if let Some(schema) =
                field(&self.0, name).filter(|_| !["apiVersion", "kind", "metadata"].contains(&name.as_str()))
            {
                check(schema, value, name, &mut faults);
            }
        }
        faults
    }

    /// How its parts are merged when they are applied.
    pub(super) fn merged(&self) -> Schema {
        merged(&self.0).with("metadata", Schema::metadata())
    }
}

fn prune(schema: &Value, value: &mut Value, path: &[Step], unknown: &mut Vec<Path>) {
    match value {
        Value::Object(fields) => {
            let keeps = flag(schema, "x-kubernetes-preserve-unknown-fields")
                || schema.get("additionalProperties") == Some(&Value::Bool(true));
            fields.retain(|name, value| match field(schema, name) {
                Some(schema) if value.is_null() => flag(schema, "nullable"),
                Some(_) => true,
                None => {
                    let embedded = flag(schema, "x-kubernetes-embedded-resource")
                        && ["apiVersion", "kind", "metadata"].contains(&name.as_str());
                    if !keeps && !embedded {
                        unknown.push(below(path, Step::Field(name.clone())));
                    }
                    keeps || embedded
                }
            });
            for (name, value) in fields.iter_mut() {
                if let Some(schema) = field(schema, name) {
                    prune(schema, value, &below(path, Step::Field(name.clone())), unknown);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (at, item) in items.iter_mut().enumerate() {
                    prune(schema, item, &below(path, Step::At(at)), unknown);
                }
            }
        }
        _ => {}
    }
}

fn complete(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if let Some(default) = schema.get("default").filter(|_| !fields.contains_key(name)) {
                    fields.insert(name.clone(), default.clone());
                }
                if let Some(value) = fields.get_mut(name) {
                    complete(schema, value);
                }
            }
            if let Some(schema) = schema.get("additionalProperties").filter(|all| all.is_object()) {
                fields.values_mut().for_each(|value| complete(schema, value));
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for item in items {
                    complete(schema, item);
                }
            }
        }
        _ => {}
    }
}

/// What a value is, in the words of a schema.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    let mut wrong = |message: String| {
        faults.push((path.to_owned(), "FieldValueInvalid", format!("Invalid value: {value}: {message}")));
    };
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    let (wanted, is) = (text(schema, "type"), kind(value));
    if flag(schema, "x-kubernetes-int-or-string") {
        if !["integer", "string"].contains(&is) {
            return wrong(format!("{path} in body must be of type integer,string: \"{is}\""));
        }
    } else if !wanted.is_empty() && wanted != is && !(wanted == "number" && is == "integer") {
        faults.push((
            path.to_owned(),
            "FieldValueTypeInvalid",
            format!("Invalid value: \"{is}\": {path} in body must be of type {wanted}: \"{is}\""),
        ));
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array).filter(|allowed| !allowed.contains(value)) {
        let allowed: Vec<_> = allowed.iter().map(Value::to_string).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
        faults.push((path.to_owned(), "FieldValueNotSupported", message));
        return;
    }
    if let Some(number) = value.as_f64() {
        for (name, exclusive, allowed, words) in [
            ("minimum", "exclusiveMinimum", Ordering::Greater, "greater than"),
            ("maximum", "exclusiveMaximum", Ordering::Less, "less than"),
        ] {
            let bound = schema.get(name).and_then(Value::as_f64);
            let Some(is) = bound.and_then(|bound| number.partial_cmp(&bound)) else { continue };
            let strict = flag(schema, exclusive);
            if is != allowed && (strict || is != Ordering::Equal) {
                let equal = if strict { "" } else { " or equal to" };
                return wrong(format!("{path} in body should be {words}{equal} {}", schema[name]));
            }
        }
    }
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
    match value {
        Value::String(text) => {
            let length = text.chars().count();
            if bound("minLength").is_some_and(|least| length < least) {
                return wrong(format!("{path} in body should be at least {} chars long", schema["minLength"]));
            }
            if bound("maxLength").is_some_and(|most| length > most) {
                wrong(format!("{path} in body should be at most {} chars long", schema["maxLength"]));
            }
        }
        Value::Array(items) => {
            if bound("minItems").is_some_and(|least| items.len() < least) {
                return wrong(format!("{path} in body should have at least {} items", schema["minItems"]));
            }
            if bound("maxItems").is_some_and(|most| items.len() > most) {
                return wrong(format!("{path} in body should have at most {} items", schema["maxItems"]));
            }
            for (at, item) in items.iter().enumerate() {
                if let Some(schema) = schema.get("items") {
                    check(schema, item, &format!("{path}[{at}]"), faults);
                }
            }
        }
        Value::Object(fields) => check_fields(schema, fields, path, faults),
        _ => {}
    }
}

fn check_fields(schema: &Value, fields: &Map<String, Value>, path: &str, faults: &mut Vec<Fault>) {
    for required in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(required) {
            faults.push((format!("{path}.{required}"), "FieldValueRequired", "Required value".to_owned()));
        }
    }
    for (name, value) in fields {
        if let Some(schema) = field(schema, name) {
            check(schema, value, &format!("{path}.{name}"), faults);
        }
    }
}

fn merged(schema: &Value) -> Schema {
    let names = |name: &str| -> Vec<String> {
        let listed = schema.get(name).and_then(Value::as_array).into_iter().flatten();
        listed.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    match text(schema, "type") {
        "array" => {
            let items = schema.get("items").map(merged).unwrap_or_default();
            let default = |key: &str| {
                schema.get("items").and_then(|items| field(items, key)).and_then(|field| field.get("default")).cloned()
            };
            match text(schema, "x-kubernetes-list-type") {
                "map" => Schema::keyed_with_defaults(
                    names("x-kubernetes-list-map-keys")
                        .into_iter()
                        .map(|key| (default(&key), key))
                        .map(|(default, key)| (key, default))
                        .collect(),
                    items,
                ),
                "set" => Schema::set(),
                _ => Schema::atomic(),
            }
        }
        _ if text(schema, "x-kubernetes-map-type") == "atomic" => Schema::atomic(),
        _ => {
            let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            let fields = properties.map(|(name, schema)| (name.clone(), merged(schema)));
            let values = schema.get("additionalProperties").filter(|all| all.is_object()).map(merged);
            Schema::declared(fields.collect(), values)
        }
    }
}
