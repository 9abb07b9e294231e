//! Who may do what: bearer tokens, and rules of which the first that fits decides.

use super::{
    failure::Failure,
    request::{Call, Verb},
};

/// A rule for access. Rules are asked in the order they were given; the first that fits decides; where none fits, it is allowed.
///
/// ```
/// use relent_apiserver::{ApiServer, Rule, Verb};
///
/// let server = ApiServer::new();
/// server.user("s3cret", "alice");
/// server.rule(Rule::deny().user("alice").verb(Verb::Get).resource("configmaps").namespace("kube-system"));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Rule {
    allow: bool,
    user: Option<String>,
    verb: Option<Verb>,
    resource: Option<String>,
    namespace: Option<String>,
}

impl Rule {
    fn any(allow: bool) -> Self {
        Self { allow, user: None, verb: None, resource: None, namespace: None }
    }

    /// Allows whatever it fits.
    pub fn allow() -> Self {
        Self::any(true)
    }

    /// Denies whatever it fits.
    pub fn deny() -> Self {
        Self::any(false)
    }

    /// Fits this user only.
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// Fits this verb only.
    pub fn verb(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Fits this resource only: `configmaps`, `leases.coordination.k8s.io`, `pods/eviction`.
    pub fn resource(mut self, qualified: impl Into<String>) -> Self {
        self.resource = Some(qualified.into());
        self
    }

    /// Fits this namespace only.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    fn fits(&self, user: &str, call: &Call) -> bool {
        let mut resource = call.resource.qualified();
        if !call.subresource.is_empty() {
            resource = format!("{resource}/{}", call.subresource);
        }
        self.user.as_deref().is_none_or(|wanted| wanted == user)
            && self.verb.is_none_or(|wanted| wanted == call.verb)
            && self.resource.as_deref().is_none_or(|wanted| wanted == resource)
            && self.namespace.as_deref().is_none_or(|wanted| wanted == call.namespace)
    }
}

#[derive(Debug, Default)]
pub(super) struct Access {
    /// Token and user. While there is none, everybody is an administrator.
    users: Vec<(String, String)>,
    rules: Vec<Rule>,
}

impl Access {
    pub(super) fn user(&mut self, token: String, name: String) {
        self.users.retain(|(known, _)| *known != token);
        self.users.push((token, name));
    }

    pub(super) fn any_token(&self) -> Option<String> {
        self.users.first().map(|(token, _)| token.clone())
    }

    pub(super) fn rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Whose token this is.
    pub(super) fn who(&self, authorization: &str) -> Result<String, Failure> {
        if self.users.is_empty() {
            return Ok("kubernetes-admin".to_owned());
        }
        let token = authorization.strip_prefix("Bearer ").unwrap_or("").trim();
        let user = self.users.iter().find(|(known, _)| known == token);
        user.map(|(_, name)| name.clone()).ok_or_else(Failure::unauthorized)
    }

    pub(super) fn check(&self, user: &str, call: &Call) -> Result<(), Failure> {
        let decides = self.rules.iter().find(|rule| rule.fits(user, call));
        if decides.is_none_or(|rule| rule.allow) {
            return Ok(());
        }
        let slash = if call.subresource.is_empty() { "" } else { "/" };
        let place = if call.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", call.namespace)
        };
        let why = format!(
            "User \"{user}\" cannot {} resource \"{}{slash}{}\" in API group \"{}\" {place}",
            call.verb,
            call.resource.plural(),
            call.subresource,
            call.resource.group(),
        );
        Err(Failure::forbidden(&call.resource, &call.name, &why))
    }
}
