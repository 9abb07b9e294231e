//! Authentication and authorization: which user a request is of, and what it may do. The first rule that fits decides;
//! else RBAC for users that it binds.

use http::request::Parts;

use super::{
    failure::Failure,
    identity::{Certified, Identity, Wish},
    rbac,
    request::{Call, Verb},
    selector::Selector,
    state::State,
};

impl State {
    /// Whose request this is.
    pub(super) fn who(&self, parts: &Parts) -> Result<Identity, Failure> {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let token = header("authorization").strip_prefix("Bearer ").map(str::trim);
        let who = match (parts.extensions.get::<Certified>(), token) {
            (Some(Certified(name)), _) => self.access.by_name(name),
            (None, Some(token)) => self.access.by_token(token).or_else(|| self.tokens.who(&self.store, token)),
            (None, None) => self.access.unnamed(),
        };
        let who = who.ok_or_else(Failure::unauthorized)?;
        let other = header("impersonate-user");
        if other.is_empty() {
            return Ok(who);
        }
        let wish = Wish { verb: "impersonate", resource: "users", name: other, ..Wish::default() };
        if !self.allows(&who, &wish) {
            let why = wish.refused(&who);
            return Err(Failure::new(403, "Forbidden", format!("users \"{other}\" is forbidden: {why}")));
        }
        let groups = parts.headers.get_all("impersonate-group").iter().filter_map(|value| value.to_str().ok());
        let mut groups: Vec<String> = groups.map(str::to_owned).collect();
        groups.push("system:authenticated".to_owned());
        Ok(self.access.subject(other, groups))
    }

    /// Whether a user may do something.
    pub(super) fn allows(&self, who: &Identity, wish: &Wish<'_>) -> bool {
        let ruled = self.access.ruled(who, wish);
        ruled.unwrap_or_else(|| !who.bound || wish.is_about_oneself() || rbac::allows(&self.store, who, wish))
    }

    /// Refuses what a user may not do.
    pub(super) fn authorize(&self, who: &Identity, call: &Call) -> Result<(), Failure> {
        // A list or watch of one name is one of that name.
        let chosen = Selector::parse(&call.resource, "", call.query.get("fieldSelector")).ok();
        let name = chosen.as_ref().and_then(Selector::name).filter(|_| call.name.is_empty()).unwrap_or(&call.name);
        let mut verbs = vec![call.verb.to_string()];
        if call.verb == Verb::Patch
            && call.subresource.is_empty()
            && call.is_apply()
            && self.store.get(&call.key(name)).is_none()
        {
            verbs.push(Verb::Create.to_string());
        }
        for verb in &verbs {
            let wish = Wish { name, ..Wish::of(call, verb) };
            let early = self.outage.is_warming() && self.access.is_limited(who);
            if early || !self.allows(who, &wish) {
                return Err(Failure::forbidden(&call.resource, &call.name, &wish.refused(who)));
            }
        }
        Ok(())
    }
}
