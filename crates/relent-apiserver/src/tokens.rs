//! The tokens of service accounts.

use std::collections::BTreeMap;

use super::{
    identity::Identity,
    object,
    store::{Key, Store},
};
use crate::time::{self, Instant};

/// What tokens are meant for, unless they say otherwise.
pub(super) const AUDIENCE: &str = "https://kubernetes.default.svc";
#[derive(Debug)]
pub(super) struct Token {
    pub(super) account: Key,
    pub(super) uid: String,
    pub(super) audiences: Vec<String>,
    pub(super) ends: Option<Instant>,
}

/// The tokens that were given out to service accounts.
#[derive(Debug, Default)]
pub(super) struct Tokens(pub(super) BTreeMap<String, Token>);

impl Tokens {
    /// Whose token it is, while it holds and its account is there.
    pub(super) fn who(&self, store: &Store, token: &str) -> Option<Identity> {
        let token = self.0.get(token).filter(|token| token.ends.is_none_or(|ends| time::now() < ends))?;
        let account = store.get(&token.account).filter(|account| object::meta(account, "uid") == token.uid)?;
        Some(Identity::service_account(&token.account.namespace, &token.account.name, object::meta(account, "uid")))
    }

    pub(super) fn audiences(&self, token: &str) -> Vec<String> {
        self.0.get(token).map_or_else(|| vec![AUDIENCE.to_owned()], |token| token.audiences.clone())
    }
}
