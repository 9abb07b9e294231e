//! What a request asks for: its path and query, read as the API reads them.

use std::{fmt, sync::Arc};

use http::{Method, request::Parts};

use super::{failure::Failure, resource::ResourceKind, resources::Resources};

/// What a request wants to do, in the words of access rules and audit logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// Read one object, or a document such as `/version`.
    Get,
    /// Read many.
    List,
    /// Follow changes.
    Watch,
    /// Make an object, or post to a subresource such as `pods/eviction`.
    Create,
    /// Replace an object.
    Update,
    /// Change a part of an object.
    Patch,
    /// Delete one object.
    Delete,
    /// Delete many.
    DeleteCollection,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
        });
        Self(pairs.collect())
    }

    /// The value of a parameter; empty when absent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// All the values of a parameter.
    #[cfg(feature = "ws")]
    pub(super) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        let value = self.get(name);
        value == "true" || value == "1"
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.get(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Failure::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))),
        }
    }

    /// A revision: "0" and absence are told apart.
    pub(super) fn revision(&self) -> Result<Option<u64>, Failure> {
        match self.get("resourceVersion") {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                let message = format!(
                    "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
                );
                Failure::new(500, "", message)
            }),
        }
    }
}

/// A request that concerns a resource.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) resource: Arc<ResourceKind>,
    pub(super) version: String,
    /// Empty: all of them, or none.
    pub(super) namespace: String,
    /// Empty in collections.
    pub(super) name: String,
    /// Empty: the object itself.
    pub(super) subresource: String,
    pub(super) query: Query,
    pub(super) content_type: String,
    pub(super) view: View,
    /// The seconds since 1970, for ages.
    pub(super) now: i64,
    /// The owner of what is written: the query's `fieldManager`, or what the client calls itself.
    pub(super) manager: String,
}

/// How objects are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Whole,
    /// Only their metadata.
    Metadata,
    /// As rows of a table, with what of the object beside the cells: `None`, `Metadata` or `Object`.
    Table(&'static str),
}

impl Call {
    /// Whether it is server-side apply.
    pub(super) fn is_apply(&self) -> bool {
        self.verb == Verb::Patch && self.content_type == "application/apply-patch+yaml"
    }
}

/// Everything a request can be.
#[derive(Debug)]
pub(super) enum Request {
    /// A document about the server: discovery, version, health.
    Document {
        path: String,
        aggregated: bool,
    },
    Resource(Box<Call>),
}

/// The verb of a request, read without knowing any resource, so that a fault plan sees every request.
pub(super) fn verb(parts: &Parts) -> Verb {
    let query = Query::parse(parts.uri.query().unwrap_or(""));
    let place = place(parts.uri.path());
    let named = place.as_ref().is_some_and(|place| !place.name.is_empty());
    let streams =
        place.as_ref().is_some_and(|place| matches!(place.subresource.as_str(), "exec" | "attach" | "portforward"));
    match parts.method {
        // A GET that is upgraded asks for the same right.
        _ if streams => Verb::Create,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if named => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ if place.is_none() => Verb::Get,
        _ if query.flag("watch") => Verb::Watch,
        _ if named => Verb::Get,
        _ => Verb::List,
    }
}

impl Request {
    pub(super) fn parse(parts: &Parts, resources: &Resources) -> Result<Self, Failure> {
        let path = parts.uri.path();
        let query = Query::parse(parts.uri.query().unwrap_or(""));
        let Some(place) = place(path) else {
            return match parts.method {
                Method::GET => Ok(Self::Document {
                    path: path.trim_end_matches('/').to_owned(),
                    aggregated: forms(parts).contains(&Form::Aggregated),
                }),
                _ => Err(Failure::method_not_allowed()),
            };
        };
        if place.plural == "watch" {
            return Err(Failure::not_implemented("paths with /watch/; use ?watch=true"));
        }
        let known = resources.all().any(|resource| resource.group() == place.group);
        let resource = resources
            .find(&place.group, &place.version, &place.plural)
            .ok_or_else(|| if known { Failure::no_such_path() } else { Failure::no_such_place() })?;
        if resource.is_namespaced() == place.namespace.is_empty()
            && !(place.namespace.is_empty() && place.name.is_empty())
        {
            return Err(Failure::no_such_path());
        }
        let allowed = match (&parts.method, place.name.is_empty(), place.subresource.as_str()) {
            (method, true, _) if resource.is_review() => *method == Method::POST,
            (_, false, _) if resource.is_review() => false,
            (&Method::GET | &Method::PUT | &Method::PATCH | &Method::DELETE, false, "") => true,
            (&Method::GET | &Method::POST | &Method::DELETE, true, _) => {
                // Making and sweeping is done in one namespace.
                parts.method == Method::GET || !resource.is_namespaced() || !place.namespace.is_empty()
            }
            (_, false, "status") if !resource.has_status() && resource.known().is_some() => {
                return Err(Failure::not_found(resource, &place.name));
            }
            (_, false, "status") if !resource.has_status() => return Err(Failure::no_such_path()),
            (method, false, sub) if !sub.is_empty() => {
                let Some(methods) = resource.takes(sub) else {
                    let what = format!("the subresource {}/{sub}", resource.qualified());
                    return Err(Failure::not_implemented(&what));
                };
                methods.contains(&method.as_str())
            }
            _ => false,
        };
        if !allowed {
            return Err(Failure::method_not_allowed());
        }
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let verb = verb(parts);
        let form = forms(parts).into_iter().find(|form| *form != Form::Other && *form != Form::Aggregated);
        let form = if place.subresource == "log" { Some(Form::Whole) } else { form };
        let view = match (form, verb) {
            (None, _) => return Err(Failure::not_acceptable()),
            (Some(Form::Whole), _) => View::Whole,
            (Some(Form::Table), _) => View::Table(match query.get("includeObject") {
                "None" => "None",
                "Object" => "Object",
                _ => "Metadata",
            }),
            (Some(Form::MetadataList), Verb::List) => View::Metadata,
            (Some(Form::Metadata), Verb::List) => {
                let list = format!("the requested object is a list ({}List)", resource.kind());
                return Err(Failure::other_form(&format!("you requested PartialObjectMetadata, but {list}")));
            }
            (Some(Form::MetadataList), _) => {
                let one = format!("the requested object is not a list ({})", resource.kind());
                return Err(Failure::other_form(&format!("you requested PartialObjectMetadataList, but {one}")));
            }
            (Some(_), _) => View::Metadata,
        };
        let content_type = header("content-type").split(';').next().unwrap_or("").trim().to_owned();
        let manager = match (query.get("fieldManager"), header("user-agent").split('/').next()) {
            ("", None | Some("")) => "unknown".to_owned(),
            ("", Some(client)) => client.to_owned(),
            (manager, _) => manager.to_owned(),
        };
        Ok(Self::Resource(Box::new(Call {
            verb,
            resource: resource.clone(),
            version: place.version,
            namespace: place.namespace,
            name: place.name,
            subresource: place.subresource,
            query,
            content_type,
            view,
            now: 0,
            manager,
        })))
    }
}

/// In which form an answer would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// JSON.
    Whole,
    Metadata,
    MetadataList,
    Table,
    /// Discovery of all groups at once.
    Aggregated,
    /// One that this server does not have.
    Other,
}

/// What the client accepts, in its order.
fn forms(parts: &Parts) -> Vec<Form> {
    let accept = parts.headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or("");
    if accept.is_empty() {
        return vec![Form::Whole];
    }
    let form = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        if !matches!(parts.next(), Some("*/*" | "application/*" | "application/json")) {
            return Form::Other;
        }
        let given: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let of = |name: &str| given.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value);
        match (of("as"), of("g"), of("v")) {
            ("", ..) => Form::Whole,
            ("PartialObjectMetadata", "meta.k8s.io", "v1") => Form::Metadata,
            ("PartialObjectMetadataList", "meta.k8s.io", "v1") => Form::MetadataList,
            ("Table", "meta.k8s.io", "v1") => Form::Table,
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Form::Aggregated,
            _ => Form::Other,
        }
    };
    accept.split(',').map(form).collect()
}

/// Where a path points.
#[derive(Debug, Default)]
struct Place {
    group: String,
    version: String,
    namespace: String,
    plural: String,
    name: String,
    subresource: String,
}

fn place(path: &str) -> Option<Place> {
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        [] => return None,
        // A namespace is itself an object: /namespaces/x, /namespaces/x/status.
        ["namespaces", name, "status" | "finalize"] => {
            let subresource = rest[2].to_owned();
            let plural = "namespaces".to_owned();
            return Some(Place {
                group: group.to_owned(),
                version: version.to_owned(),
                plural,
                name: (*name).to_owned(),
                subresource,
                ..Place::default()
            });
        }
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let at = |index: usize| rest.get(index).map_or(String::new(), |part| (*part).to_owned());
    Some(Place {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace: namespace.to_owned(),
        plural: at(0),
        name: at(1),
        subresource: rest.get(2..).unwrap_or(&[]).join("/"),
    })
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => {
                let code = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => {
                        bytes.push(byte);
                        rest = &tail[2..];
                    }
                    None => bytes.push(b'%'),
                }
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
