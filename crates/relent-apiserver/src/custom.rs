//! A custom kind by its schemas.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    apply::Schema,
    openapi::{Fault, OpenApi},
    path::Path,
};

/// What is known of a custom kind by its schemas.
#[derive(Clone, Debug)]
pub(super) struct Custom {
    pub(super) versions: BTreeMap<String, OpenApi>,
    pub(super) columns: BTreeMap<String, Vec<Value>>,
    pub(super) merged: Schema,
}

impl Custom {
    /// Drops what the version does not have and adds what it gives.
    pub(super) fn read(&self, version: &str, object: &mut Value) -> Vec<Path> {
        self.versions.get(version).map(|schema| schema.read(object)).unwrap_or_default()
    }

    pub(super) fn check(&self, object: &Value) -> Vec<Fault> {
        let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or("");
        let version = version.rsplit('/').next().unwrap_or("");
        self.versions.get(version).map(|schema| schema.check(object)).unwrap_or_default()
    }

    /// What a table of its objects shows.
    pub(super) fn columns(&self, version: &str) -> &[Value] {
        self.columns.get(version).map_or(&[], Vec::as_slice)
    }

    /// The schema of a version.
    pub(super) fn schema(&self, version: &str) -> Option<&Value> {
        self.versions.get(version).map(OpenApi::json)
    }

    pub(super) fn merged(&self) -> &Schema {
        &self.merged
    }
}
