//! What calls are about.

use std::fmt;

use kube::{Api, Resource, core::Status};

use super::{class::NO_STATUS, name};

/// What calls are about, in words: `configmaps "kube-proxy" in the namespace "kube-system"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The resource's plural.
    pub(super) resource: String,
    /// The name, or the label selector.
    pub(super) name: String,
    pub(super) by_label: bool,
    pub(super) namespace: Option<String>,
}

impl Target {
    pub(super) fn of(resource: &str, name: &str, namespace: Option<&str>) -> Self {
        let (resource, name, namespace) = (resource.to_owned(), name.to_owned(), namespace.map(str::to_owned));
        Self { resource, name, by_label: false, namespace }
    }

    pub(super) fn named<K: Resource>(api: &Api<K>, name: &str) -> Self {
        Self::of(api.resource_url().rsplit('/').next().unwrap_or_default(), name, api.namespace())
    }

    pub(super) fn labelled<K: Resource>(api: &Api<K>, selector: &str) -> Self {
        Self { by_label: true, ..Self::named(api, selector) }
    }

    /// Why no request can be about it.
    pub(super) fn cannot_be_asked_for(&self) -> Option<kube::Error> {
        let why = if self.by_label { None } else { name::why_no_part(&self.name) }?;
        Some(kube::Error::BuildRequest(kube::core::request::Error::Validation(why)))
    }

    /// What was got by its name, if it is that: any JSON object passes for one without a name.
    pub(super) fn checked<K: Resource>(&self, object: K) -> Result<K, kube::Error> {
        if object.meta().name.as_deref() == Some(&*self.name) {
            return Ok(object);
        }
        Err(other_object())
    }

    /// Where it is: `configmaps in the namespace "kube-system"`.
    pub(super) fn place(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} in the namespace \"{namespace}\"", self.resource),
            None => self.resource.clone(),
        }
    }

    /// Whether a server's sentence says already what it is about.
    pub(super) fn is_named_in(&self, text: &str) -> bool {
        !self.by_label && text.contains(&format!("\"{}\"", self.name))
    }
}

/// A success that is not what was asked for.
pub(super) fn other_object() -> kube::Error {
    kube::Error::Api(Status::failure("the answer is another object, or none", NO_STATUS).with_code(200).boxed())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = if self.by_label { "with the labels " } else { "" };
        write!(f, "{} {with}\"{}\"", self.resource, self.name)?;
        match &self.namespace {
            Some(namespace) => write!(f, " in the namespace \"{namespace}\""),
            None => Ok(()),
        }
    }
}
