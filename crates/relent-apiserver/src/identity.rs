//! Users, and the rules that were given for them.

use super::request::{Call, Verb};

/// A rule for access. Rules are asked in the order they were given; the first that fits decides; where none fits, it is
/// allowed, unless [RBAC binds](User::bound_by_rbac) the user and says otherwise.
///
/// ```
/// use relent_apiserver::{ApiServer, AccessRule, Verb};
///
/// let server = ApiServer::new();
/// server.user("s3cret", "alice");
/// server.rule(AccessRule::deny().user("alice").verb(Verb::Get).resource("configmaps").namespace("kube-system"));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct AccessRule {
    allow: bool,
    user: Option<String>,
    verb: Option<Verb>,
    resource: Option<String>,
    namespace: Option<String>,
}

impl AccessRule {
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

    fn fits(&self, user: &str, wish: &Wish<'_>) -> bool {
        let mut resource = wish.resource.to_owned();
        if !wish.group.is_empty() {
            resource = format!("{resource}.{}", wish.group);
        }
        if !wish.subresource.is_empty() {
            resource = format!("{resource}/{}", wish.subresource);
        }
        self.user.as_deref().is_none_or(|wanted| wanted == user)
            && self.verb.is_none_or(|wanted| wanted.to_string() == wish.verb)
            && self.resource.as_deref().is_none_or(|wanted| wanted == resource)
            && self.namespace.as_deref().is_none_or(|wanted| wanted == wish.namespace)
    }
}

/// A user that the server knows: by a token, or as [by a client certificate](super::ApiServer::client_as).
///
/// ```
/// use relent_apiserver::{ApiServer, User};
///
/// let server = ApiServer::new();
/// // May do what roles and bindings on the server allow, and nothing else.
/// server.add_user(User::new("alice").token("s3cret").group("team-a").bound_by_rbac());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct User {
    name: String,
    groups: Vec<String>,
    token: Option<String>,
    bound: bool,
}

impl User {
    /// A user that may do everything that no [`AccessRule`] denies.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), groups: Vec::new(), token: None, bound: false }
    }

    /// Known by this bearer token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// In this group too. Every user is in `system:authenticated`.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.groups.push(name.into());
        self
    }

    /// May do only what the `Role`, `ClusterRole` and binding objects on the server allow.
    pub fn bound_by_rbac(mut self) -> Self {
        self.bound = true;
        self
    }
}

/// A user as a request comes from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) groups: Vec<String>,
    /// Only RBAC allows it anything.
    pub(super) bound: bool,
}

impl Identity {
    fn new(name: &str, groups: &[String], bound: bool) -> Self {
        let mut groups = groups.to_vec();
        groups.push("system:authenticated".to_owned());
        Self { name: name.to_owned(), uid: String::new(), groups, bound }
    }

    /// A service account, by name and namespace.
    pub(super) fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        let identity = Self::new(&format!("system:serviceaccount:{namespace}:{name}"), &groups, true);
        Self { uid: uid.to_owned(), ..identity }
    }
}

/// What a user wants to do, in the words of `SubjectAccessReview`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) subresource: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// A path that is no resource; then all the rest but the verb is empty.
    pub(super) path: &'a str,
}

#[derive(Debug, Default)]
pub(super) struct Access {
    /// While there is none, requests without a token are an administrator's.
    users: Vec<User>,
    rules: Vec<AccessRule>,
}

impl Access {
    pub(super) fn add(&mut self, user: User) {
        self.users.retain(|known| match &user.token {
            Some(token) => known.token.as_ref() != Some(token),
            None => known.name != user.name || known.token.is_some(),
        });
        self.users.push(user);
    }

    pub(super) fn any_token(&self) -> Option<String> {
        self.users.iter().find_map(|user| user.token.clone())
    }

    pub(super) fn rule(&mut self, rule: AccessRule) {
        self.rules.push(rule);
    }

    /// The user behind a bearer token, if it is one of those that were made known.
    pub(super) fn by_token(&self, token: &str) -> Option<Identity> {
        let known = self.users.iter().find(|user| user.token.as_deref() == Some(token));
        known.map(|user| Identity::new(&user.name, &user.groups, user.bound))
    }

    /// The user with this name.
    pub(super) fn by_name(&self, name: &str) -> Option<Identity> {
        let known = self.users.iter().find(|user| user.name == name);
        known.map(|user| Identity::new(&user.name, &user.groups, user.bound))
    }

    /// The user of a request that names none.
    pub(super) fn unnamed(&self) -> Option<Identity> {
        let admin = || Identity::new("kubernetes-admin", &["system:masters".to_owned()], false);
        self.users.is_empty().then(admin)
    }

    /// A user that a review or an impersonation names, known or not.
    pub(super) fn subject(&self, name: &str, groups: Vec<String>) -> Identity {
        let known = self.users.iter().find(|user| user.name == name);
        let bound = known.map_or(!self.users.is_empty() || name.starts_with("system:"), |user| user.bound);
        let bound = bound && !groups.iter().any(|group| group == "system:masters");
        Identity { name: name.to_owned(), uid: String::new(), groups, bound }
    }

    /// Whether it takes the roles and rules to say what this user may do.
    pub(super) fn is_limited(&self, who: &Identity) -> bool {
        who.bound || self.rules.iter().any(|rule| rule.user.as_deref() == Some(&who.name))
    }

    /// What rules say; `None` where none fits.
    pub(super) fn ruled(&self, who: &Identity, wish: &Wish<'_>) -> Option<bool> {
        self.rules.iter().find(|rule| rule.fits(&who.name, wish)).map(|rule| rule.allow)
    }
}

impl<'a> Wish<'a> {
    pub(super) fn of(call: &'a Call, verb: &'a str) -> Self {
        Self {
            verb,
            group: call.resource.group(),
            resource: call.resource.plural(),
            subresource: &call.subresource,
            namespace: &call.namespace,
            name: &call.name,
            path: "",
        }
    }

    /// Every authenticated user may ask about itself: the roles `system:basic-user` and `system:discovery` of every
    /// server.
    pub(super) fn is_about_oneself(&self) -> bool {
        let reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"];
        self.verb == "create"
            && reviews.contains(&self.resource)
            && ["authorization.k8s.io", "authentication.k8s.io"].contains(&self.group)
    }

    /// Why it is refused, as a `Status` says it.
    pub(super) fn refused(&self, who: &Identity) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let place = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", self.namespace)
        };
        format!(
            "User \"{}\" cannot {} resource \"{}{slash}{}\" in API group \"{}\" {place}",
            who.name, self.verb, self.resource, self.subresource, self.group,
        )
    }
}

/// Set on requests that come as by a client certificate in this name.
#[derive(Clone, Debug)]
pub(super) struct Certified(pub(super) String);
