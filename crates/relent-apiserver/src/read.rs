//! Get and list: what is there now, or was there at a revision.

use serde_json::{Value, json};

use super::{
    event,
    failure::Failure,
    object,
    request::{Call, View},
    selector::Selector,
    state::State,
    store::{Key, Store},
    table::{self, META},
};

/// GET of one object.
pub(super) fn get(state: &State, call: &Call) -> Result<Value, Failure> {
    reached(&state.store, call.query.revision()?)?;
    let found = state.store.get(&call.key(&call.name));
    found.map(|object| call.present(object)).ok_or_else(|| Failure::not_found(&call.resource, &call.name))
}

/// A revision that is still to come is waited for, and then refused.
pub(super) fn reached(store: &Store, revision: Option<u64>) -> Result<(), Failure> {
    match revision {
        Some(asked) if asked > store.revision() => Err(Failure::revision_ahead(asked, store.revision())),
        _ => Ok(()),
    }
}

/// Where a list that came in pages goes on.
struct Continue {
    /// `None`: with what there is now.
    revision: Option<u64>,
    after: (String, String),
}

impl Continue {
    fn write(revision: Option<u64>, key: &Key) -> String {
        let revision = revision.map_or("-1".to_owned(), |revision| revision.to_string());
        // No blank or slash is in a name: any client can hand it back as it is.
        format!("{revision}/{}/{}", key.namespace, key.name).bytes().fold(String::new(), |mut text, byte| {
            use std::fmt::Write;
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn read(token: &str) -> Option<Self> {
        let bytes =
            token.as_bytes().chunks(2).map(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        let text = String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()?;
        let mut parts = text.splitn(3, '/');
        let revision = parts.next()?;
        let revision = if revision == "-1" { None } else { Some(revision.parse().ok()?) };
        Some(Self { revision, after: (parts.next()?.to_owned(), parts.next()?.to_owned()) })
    }
}

/// GET of a collection.
pub(super) fn list(state: &State, call: &Call) -> Result<Value, Failure> {
    let query = &call.query;
    let selector = Selector::parse(&call.resource, query.get("labelSelector"), query.get("fieldSelector"))?;
    let asked = query.revision()?;
    // Below zero there is no limit either.
    let limit = if query.get("limit").starts_with('-') { None } else { query.integer("limit")? };
    let limit = limit.filter(|limit| *limit > 0);
    if !query.get("sendInitialEvents").is_empty() {
        return Err(invalid_options("sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list"));
    }
    let exact = match query.get("resourceVersionMatch") {
        "" => limit.is_some() && asked.is_some_and(|revision| revision > 0),
        "Exact" if asked.is_none_or(|revision| revision == 0) => {
            return Err(invalid_options(
                "resourceVersionMatch",
                "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        "Exact" => true,
        "NotOlderThan" if asked.is_none() => {
            return Err(invalid_options(
                "resourceVersionMatch",
                "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        "NotOlderThan" => false,
        other => return Err(invalid_options("resourceVersionMatch", &format!("Unsupported value: \"{other}\""))),
    };
    let token = query.get("continue");
    let from = if token.is_empty() {
        None
    } else if asked.is_some_and(|revision| revision > 0) {
        return Err(Failure::bad_request("specifying resource version is not allowed when using continue"));
    } else {
        Some(Continue::read(token).ok_or_else(|| Failure::bad_request("continue key is not valid"))?)
    };
    reached(&state.store, asked)?;
    let wanted = match &from {
        Some(from) => from.revision,
        None => asked.filter(|_| exact),
    };
    let then = match wanted {
        Some(revision) if revision < state.store.revision() => {
            Some(state.store.at(revision).ok_or_else(|| match &from {
                Some(from) => {
                    let key = call.key(&from.after.1);
                    Failure::continue_expired(&Continue::write(None, &Key { namespace: from.after.0.clone(), ..key }))
                }
                None => Failure::expired("The resourceVersion for the provided list is too old."),
            })?)
        }
        _ => None,
    };
    Ok(page(call, then.as_ref().unwrap_or(&state.store), &selector, limit, from.as_ref()))
}

fn page(call: &Call, store: &Store, selector: &Selector, limit: Option<u64>, from: Option<&Continue>) -> Value {
    let resource = call.stored();
    let namespace = Some(call.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let mut matching = store
        .list(&resource, namespace)
        .filter(|(key, _)| from.is_none_or(|from| (&key.namespace, &key.name) > (&from.after.0, &from.after.1)))
        .filter(|(_, object)| selector.matches(object));
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut items = Vec::new();
    let mut last = None;
    for (key, object) in matching.by_ref().take(limit) {
        items.push(call.listed(object));
        last = Some(key.clone());
    }
    let mut meta = json!({ "resourceVersion": store.revision().to_string() });
    let left = matching.count();
    if let Some(last) = last.filter(|_| left > 0) {
        meta["continue"] = Continue::write(Some(store.revision()), &last).into();
        if selector.is_empty() {
            meta["remainingItemCount"] = left.into();
        }
    }
    call.list(items, meta)
}

fn invalid_options(field: &str, message: &str) -> Failure {
    Failure::new(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {message}"))
}

impl Call {
    /// An object as it is answered: in the version and the form that were asked for.
    pub(super) fn present(&self, object: &Value) -> Value {
        match self.view {
            View::Whole => self.whole(object),
            View::Metadata => {
                let metadata = object.get("metadata").cloned().unwrap_or(json!({}));
                json!({ "kind": "PartialObjectMetadata", "apiVersion": META, "metadata": metadata })
            }
            View::Table(beside) => {
                let metadata = json!({ "resourceVersion": object::meta(object, "resourceVersion") });
                table::table(self, vec![table::row(self, object, beside)], metadata)
            }
        }
    }

    /// An object in the version that was asked for.
    pub(super) fn whole(&self, object: &Value) -> Value {
        let mut object = object.clone();
        if self.resource.is_event_view() {
            object = event::from_stored(object);
        }
        object["kind"] = self.resource.kind().into();
        object["apiVersion"] = self.resource.api_version(&self.version).into();
        object
    }

    /// An object inside a list: the built-in kinds do not repeat what they are.
    pub(super) fn listed(&self, object: &Value) -> Value {
        if let View::Table(beside) = self.view {
            return table::row(self, object, beside);
        }
        if self.resource.rules.builtin.is_none() || self.view == View::Metadata {
            return self.present(object);
        }
        let mut object = self.whole(object);
        object::set(&mut object, &["kind"], Value::Null);
        object::set(&mut object, &["apiVersion"], Value::Null);
        object
    }

    pub(super) fn list(&self, items: Vec<Value>, meta: Value) -> Value {
        let (kind, version) = match self.view {
            View::Table(_) => return table::table(self, items, meta),
            View::Metadata => ("PartialObjectMetadata", META.to_owned()),
            View::Whole => (self.resource.kind(), self.resource.api_version(&self.version)),
        };
        let mut list = json!({ "kind": format!("{kind}List"), "apiVersion": version });
        list["metadata"] = meta;
        list["items"] = Value::Array(items);
        list
    }

    /// The key of an object of this resource in this namespace.
    pub(super) fn key(&self, name: &str) -> Key {
        Key { resource: self.stored(), namespace: self.namespace.clone(), name: name.to_owned() }
    }

    pub(super) fn stored(&self) -> std::sync::Arc<str> {
        self.resource.stored().into()
    }
}
