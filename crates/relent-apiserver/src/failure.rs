//! What goes wrong, as the server says it: `Status` bodies, and the few answers that have none.

use http::StatusCode;
use serde_json::{Value, json};

use super::resource::ResourceKind;

/// An answer that is not a success.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) body: Body,
    pub(super) retry_after: Option<u64>,
    /// What was asked for lies in the future: it may still come.
    pub(super) ahead: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Status(Box<Value>),
    Text(String),
}

impl Failure {
    pub(super) fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message.into(), "code": code,
        });
        if !reason.is_empty() {
            status["reason"] = reason.into();
        }
        Self { code, body: Body::Status(Box::new(status)), retry_after: None, ahead: false }
    }

    /// No `Status` at all, as proxies and overloaded servers answer.
    pub(super) fn plain(code: u16, text: impl Into<String>) -> Self {
        Self { code, body: Body::Text(text.into()), retry_after: None, ahead: false }
    }

    fn with(mut self, field: &str, value: Value) -> Self {
        if let Body::Status(status) = &mut self.body {
            status[field] = value;
        }
        self
    }

    /// `details`: which object of which resource.
    fn about(self, resource: &ResourceKind, kind: &str, name: &str) -> Self {
        let mut details = json!({ "kind": kind });
        if !resource.group().is_empty() {
            details["group"] = resource.group().into();
        }
        if !name.is_empty() {
            details["name"] = name.into();
        }
        self.with("details", details)
    }

    pub(super) fn cause(mut self, reason: &str, message: &str, field: &str) -> Self {
        if let Body::Status(status) = &mut self.body {
            let mut cause = json!({ "reason": reason, "message": message });
            if !field.is_empty() {
                cause["field"] = field.into();
            }
            status["details"]["causes"] = json!([cause]);
        }
        self
    }

    /// Tells the caller when to come back: in the body and in the header.
    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        if let Body::Status(status) = &mut self.body {
            status["details"]["retryAfterSeconds"] = seconds.into();
        }
        self.retry_after = Some(seconds);
        self
    }

    // ===== what the rules of the API refuse =====

    pub(super) fn not_found(resource: &ResourceKind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message).about(resource, resource.plural(), name)
    }

    /// The same of an object that no resource is known for.
    pub(super) fn missing(plural: &str, name: &str) -> Self {
        let message = format!("{plural} \"{name}\" not found");
        Self::new(404, "NotFound", message).with("details", json!({ "kind": plural, "name": name }))
    }

    /// No such path, or no such group.
    pub(super) fn no_such_place() -> Self {
        Self::plain(404, "404 page not found\n")
    }

    /// No such version or resource in a group.
    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with("details", json!({}))
    }

    pub(super) fn already_exists(resource: &ResourceKind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, resource.plural(), name)
    }

    pub(super) fn conflict(resource: &ResourceKind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(409, "Conflict", message).about(resource, resource.plural(), name)
    }

    pub(super) fn modified(resource: &ResourceKind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// An update that names another life of the object.
    pub(super) fn other_uid(resource: &ResourceKind, namespace: &str, name: &str, wanted: &str, is: &str) -> Self {
        let group = if resource.rules.builtin.is_some() { String::new() } else { format!("{}/", resource.group()) };
        let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let key = format!("/registry/{group}{}/{place}{name}", resource.plural());
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {wanted}, UID in object meta: {is}"
        );
        Self::conflict(resource, name, &why)
    }

    /// A deletion that names another life or state of the object. It speaks of the kind.
    pub(super) fn precondition(resource: &ResourceKind, name: &str, why: &str) -> Self {
        let group = if resource.group().is_empty() { String::new() } else { format!(".{}", resource.group()) };
        let message = format!("Operation cannot be fulfilled on {}{group} \"{name}\": {why}", resource.kind());
        Self::new(409, "Conflict", message).about(resource, resource.kind(), name)
    }

    /// A revision that is no number.
    pub(super) fn unparsed(text: &str) -> Self {
        Self::new(500, "", format!("strconv.ParseUint: parsing \"{text}\": invalid syntax"))
    }

    /// A field that may not be so: `reason` is the cause's, such as `FieldValueInvalid`.
    pub(super) fn invalid(resource: &ResourceKind, name: &str, field: &str, reason: &str, message: &str) -> Self {
        let group = if resource.group().is_empty() { String::new() } else { format!(".{}", resource.group()) };
        let text = format!("{}{group} \"{name}\" is invalid: {field}: {message}", resource.kind());
        Self::new(422, "Invalid", text).about(resource, resource.kind(), name).cause(reason, message, field)
    }

    /// As [`Failure::invalid`], for what is checked before the kind's own rules: it speaks of the resource.
    pub(super) fn invalid_update(resource: &ResourceKind, name: &str, field: &str, message: &str) -> Self {
        let text = format!("{} \"{name}\" is invalid: {field}: {message}", resource.qualified());
        Self::new(422, "Invalid", text).about(resource, resource.plural(), name).cause(
            "FieldValueInvalid",
            message,
            field,
        )
    }

    /// An object is not as its schema wants it: every fault is a cause.
    pub(super) fn invalid_by_schema(
        resource: &ResourceKind,
        name: &str,
        faults: &[(String, &'static str, String)],
    ) -> Self {
        let told: Vec<_> = faults.iter().map(|(field, _, message)| format!("{field}: {message}")).collect();
        let told = if told.len() == 1 { told.join("") } else { format!("[{}]", told.join(", ")) };
        let text = if resource.group().is_empty() {
            format!("{} \"{name}\" is invalid: {told}", resource.kind())
        } else {
            format!("{}.{} \"{name}\" is invalid: {told}", resource.kind(), resource.group())
        };
        let causes: Vec<_> = faults
            .iter()
            .map(|(field, reason, message)| json!({ "reason": reason, "message": message, "field": field }))
            .collect();
        let mut failure = Self::new(422, "Invalid", text).about(resource, resource.kind(), name);
        if let Body::Status(status) = &mut failure.body {
            status["details"]["causes"] = causes.into();
        }
        failure
    }

    /// The options of a write are wrong.
    pub(super) fn invalid_options(field: &str, message: &str) -> Self {
        let reason = match message.split(':').next().unwrap_or("") {
            "Required value" => "FieldValueRequired",
            "Too long" => "FieldValueTooLong",
            "Forbidden" => "FieldValueForbidden",
            _ => "FieldValueInvalid",
        };
        let text = format!("PatchOptions.meta.k8s.io \"\" is invalid: {field}: {message}");
        Self::new(422, "Invalid", text)
            .with("details", json!({ "group": "meta.k8s.io", "kind": "PatchOptions" }))
            .cause(reason, message, field)
    }

    /// Fields that are applied are others'.
    pub(super) fn apply_conflict(message: String, causes: &[Value]) -> Self {
        Self::new(409, "Conflict", message).with("details", json!({ "causes": causes }))
    }

    /// An object with this uid was to be changed, and there is none.
    pub(super) fn no_such_uid(resource: &ResourceKind, name: &str, uid: &str) -> Self {
        Self::conflict(
            resource,
            name,
            &format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found"),
        )
    }

    /// What a patch makes of the object cannot be read as its kind.
    pub(super) fn invalid_patch(why: &str) -> Self {
        let text = format!(" \"\" is invalid: patch: Invalid value: {why}");
        Self::new(422, "Invalid", text).with("details", json!({})).cause("FieldValueInvalid", why, "patch")
    }

    /// The same, of a body that was read and refused with 400.
    pub(super) fn of_patch(self) -> Self {
        match &self.body {
            Body::Status(status) if self.code == 400 => {
                Self::invalid_patch(status.get("message").and_then(Value::as_str).unwrap_or(""))
            }
            _ => self,
        }
    }

    /// What it says.
    pub(super) fn message(&self) -> &str {
        match &self.body {
            Body::Status(status) => status.get("message").and_then(Value::as_str).unwrap_or(""),
            Body::Text(text) => text,
        }
    }

    /// A field may not change.
    pub(super) fn immutable(resource: &ResourceKind, name: &str, field: &str, value: &Value) -> Self {
        Self::invalid(
            resource,
            name,
            field,
            "FieldValueInvalid",
            &format!("Invalid value: {value}: field is immutable"),
        )
    }

    /// A JSON patch that does not apply.
    pub(super) fn patch_refused() -> Self {
        Self::new(422, "Invalid", "the server rejected our request due to an error in our request")
            .with("details", json!({}))
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(super) fn forbidden(resource: &ResourceKind, name: &str, why: &str) -> Self {
        let what = if name.is_empty() { resource.qualified() } else { format!("{} \"{name}\"", resource.qualified()) };
        Self::new(403, "Forbidden", format!("{what} is forbidden: {why}")).about(resource, resource.plural(), name)
    }

    pub(super) fn terminating(resource: &ResourceKind, name: &str, namespace: &str) -> Self {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        Self::forbidden(resource, name, &why).cause(
            "NamespaceTerminating",
            &format!("namespace {namespace} is being terminated"),
            "metadata.namespace",
        )
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .with("details", json!({}))
    }

    pub(super) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json, application/json;stream=watch";
        Self::new(406, "NotAcceptable", message)
    }

    /// A list was asked for in the form of one object, or the other way round.
    pub(super) fn other_form(message: &str) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    pub(super) fn unsupported_media(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(super) fn entity_too_large() -> Self {
        Self::new(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
    }

    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// A list that was begun too long ago; `fresh` goes on with what there is now.
    pub(super) fn continue_expired(fresh: &str) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a \
                       new list without the continue parameter, or use the continue token in this response to retrieve \
                       the remainder of the results. Continuing with the provided token results in an inconsistent list \
                       - objects that were created, modified, or deleted between the time the first chunk was returned \
                       and now may show up in the list.";
        Self::expired(message).with("metadata", json!({ "continue": fresh }))
    }

    pub(super) fn revision_ahead(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut failure = Self::new(504, "Timeout", message).with("details", json!({})).cause(
            "ResourceVersionTooLarge",
            "Too large resource version",
            "",
        );
        failure.ahead = true;
        failure.retry_after(1)
    }

    /// An eviction that the budget does not allow now.
    pub(super) fn disruption_budget(cause: &str, retry_after: Option<u64>) -> Self {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        let failure = Self::new(429, "TooManyRequests", message).with("details", json!({}));
        let failure = failure.cause("DisruptionBudget", cause, "");
        retry_after.map_or(failure.clone(), |seconds| failure.retry_after(seconds))
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// A custom kind was established a moment ago.
    pub(super) fn initializing() -> Self {
        let failure = Self::new(429, "TooManyRequests", "storage is (re)initializing").with("details", json!({}));
        failure.retry_after(1)
    }

    /// What a real server does and this one does not.
    pub(super) fn not_implemented(what: &str) -> Self {
        let message = format!("this API server inside the test process does not do this: {what}");
        Self::new(501, "NotImplemented", message)
    }

    /// The `Status` for a code that a fault plan names.
    pub(super) fn planned(code: u16) -> Self {
        match code {
            429 => Self::new(
                429,
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later",
            ),
            500 => Self::internal("Internal error occurred: etcdserver: no leader").with("details", json!({})),
            503 => Self::new(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => Self::new(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
                .with("details", json!({})),
            401 => Self::unauthorized(),
            410 => Self::expired("too old resource version"),
            code => {
                let text =
                    StatusCode::from_u16(code).ok().and_then(|code| code.canonical_reason()).unwrap_or("unknown");
                Self::new(code, &text.replace(' ', ""), format!("planned fault: {text}"))
            }
        }
    }

    /// The body as it goes over the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match &self.body {
            Body::Status(status) => status.to_string().into_bytes(),
            Body::Text(text) => text.clone().into_bytes(),
        }
    }

    /// The `Status` that goes into an `ERROR` event of a watch.
    pub(super) fn status(&self) -> Value {
        match &self.body {
            Body::Status(status) => (**status).clone(),
            Body::Text(text) => {
                json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": text, "code": self.code })
            }
        }
    }
}
