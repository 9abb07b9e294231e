//! What an observation of an operation means: a pure function of the object, and of what was known before.

use kube::api::DynamicObject;
use relent::Progress;
use serde_json::Value;

use super::{
    super::condition::{find, is_of_generation, said_of},
    LongOperationError,
    contract::{Contract, Trigger, escaped},
};

const CONDITIONS: &str = "/status/conditions";

/// What is remembered of an operation between looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// Which life of the object it is about.
    uid: Option<String>,
    /// The token was seen on it.
    pub(super) triggered: bool,
    /// The generation before the trigger.
    generation: Option<i64>,
    /// The conditions of the contract as they were when the trigger was last seen untouched; those of the first look
    /// if it never was.
    before: Option<Vec<Value>>,
    /// They have been seen otherwise since.
    moved: bool,
}

/// One object, seen with a contract.
pub(super) struct Sight<'a> {
    contract: &'a Contract,
    /// The whole of it.
    json: Value,
}

impl<'a> Sight<'a> {
    pub(super) fn of(contract: &'a Contract, object: &DynamicObject) -> Self {
        Self { contract, json: serde_json::to_value(object).unwrap_or_default() }
    }

    fn text(&self, at: &str) -> Option<&str> {
        self.json.pointer(at).and_then(Value::as_str)
    }

    fn generation(&self) -> Option<i64> {
        self.json.pointer("/metadata/generation").and_then(Value::as_i64)
    }

    /// The token that is there.
    pub(super) fn token(&self) -> Option<&str> {
        self.text(&self.contract.token_at())
    }

    /// Whether the controller has not yet taken the annotation away: its name and value.
    pub(super) fn untouched(&self) -> Option<(&str, &str)> {
        let Trigger::Taken { annotation, .. } = &self.contract.trigger else { return None };
        let value = self.text(&format!("/metadata/annotations/{}", escaped(annotation)))?;
        Some((annotation, value))
    }

    /// Remembers the state before the trigger.
    pub(super) fn remember_before(&self, memory: &mut Memory) {
        memory.uid = self.text("/metadata/uid").map(str::to_owned);
        memory.generation = self.generation();
        memory.before = Some(self.conditions());
    }

    fn conditions(&self) -> Vec<Value> {
        let Contract { wanted, unwanted, fatal, .. } = self.contract;
        let of = |kind: &String| find(&self.json, CONDITIONS, kind).cloned().unwrap_or_default();
        wanted.iter().chain(unwanted).chain(fatal).map(of).collect()
    }

    /// The same object as before, or another of its name.
    pub(super) fn is_another(&self, memory: &mut Memory) -> bool {
        let uid = self.text("/metadata/uid").map(str::to_owned);
        let known = memory.uid.get_or_insert_with(|| uid.clone().unwrap_or_default());
        uid.is_some_and(|uid| uid != *known)
    }

    /// There is another token than this.
    pub(super) fn superseded(&self, name: &str, token: &str) -> LongOperationError {
        let (name, annotation) = (name.to_owned(), key_of(&self.contract.token_at()));
        let (expected, found) = (token.to_owned(), self.token().map(str::to_owned));
        LongOperationError::Superseded { name, annotation, expected, found }
    }

    /// How far it is: everything of the contract, in the order in which it comes about.
    pub(super) fn progress(&self, name: &str, token: &str, memory: &mut Memory) -> Progress<(), LongOperationError> {
        let contract = self.contract;
        if self.is_another(memory) {
            return Progress::Failed(LongOperationError::Replaced(name.to_owned()));
        }
        if self.token() != Some(token) {
            return Progress::Failed(self.superseded(name, token));
        }
        memory.triggered = true;
        if self.json.pointer("/metadata/deletionTimestamp").is_some() {
            return Progress::Failed(LongOperationError::Deleting(name.to_owned()));
        }
        self.watch_conditions(memory);
        if let Some(errors) = contract.errors.as_ref().and_then(|at| self.json.pointer(at)).and_then(errors_in) {
            return Progress::Waiting(format!("the controller reports: {errors}"));
        }
        if let Some(at) = &contract.generation {
            let (observed, wanted) = (self.json.pointer(at).and_then(Value::as_i64), self.generation());
            if observed < wanted {
                let observed = observed.map_or("none".to_owned(), |observed| observed.to_string());
                let wanted = wanted.unwrap_or(0);
                return Progress::Waiting(format!("generation {wanted} is not observed yet ({observed})"));
            }
        }
        if let Some((annotation, value)) = self.untouched() {
            return Progress::Waiting(format!("annotation {annotation}={value} is not yet picked up"));
        }
        if let Some(at) = &contract.echo
            && self.text(at) != Some(token)
        {
            let there = self.json.pointer(at).map_or("nothing".to_owned(), ToString::to_string);
            return Progress::Waiting(format!("the token {token} is not echoed in {at} yet: there is {there}"));
        }
        if self.is_at_zero() {
            return Progress::Done(());
        }
        for kind in &contract.fatal {
            let is_news = |condition: &&Value| {
                let before = memory.before.iter().flatten().any(|before| before == *condition);
                condition["status"] == "True" && (!self.has_only_begun() || !before)
            };
            if let Some(condition) = self.current(kind).filter(is_news) {
                return Progress::Failed(LongOperationError::Failed { name: name.to_owned(), why: said_of(condition) });
            }
        }
        let unmet: Vec<_> = contract.wanted.iter().filter_map(|kind| self.unmet(kind)).collect();
        let unwanted = contract.unwanted.iter().filter_map(|kind| find(&self.json, CONDITIONS, kind));
        let unwanted = unwanted.filter(|condition| condition["status"] == "True").map(said_of);
        let open: Vec<_> = unmet.into_iter().chain(unwanted).collect();
        if !open.is_empty() {
            return Progress::Moving(open.join("; "));
        }
        if self.tells_the_end(memory) {
            Progress::Done(())
        } else {
            let text = "the annotation was taken away, but the conditions are those of before: nothing tells that the work is done";
            Progress::Waiting(text.to_owned())
        }
    }

    /// Notes whether the conditions have changed since the controller began.
    fn watch_conditions(&self, memory: &mut Memory) {
        let now = self.conditions();
        if self.untouched().is_some() || memory.before.is_none() {
            (memory.before, memory.moved) = (Some(now), false);
        } else if memory.before.as_ref() != Some(&now) {
            memory.moved = true;
        }
    }

    /// Whether all that is known is that the controller has begun.
    fn has_only_begun(&self) -> bool {
        self.contract.echo.is_none() && matches!(self.contract.trigger, Trigger::Taken { when_done: false, .. })
    }

    /// Whether what is so now is the operation's work, and not what was so before it.
    fn tells_the_end(&self, memory: &Memory) -> bool {
        let Contract { wanted, unwanted, generation, .. } = self.contract;
        if !self.has_only_begun() || (wanted.is_empty() && unwanted.is_empty()) {
            return true;
        }
        // A change of the spec that came with the trigger has been seen: by the status as a whole, or by each
        // condition.
        let is_new = memory.generation.is_some() && memory.generation < self.generation();
        let by_all = || {
            !wanted.is_empty()
                && wanted.iter().all(|kind| {
                    find(&self.json, CONDITIONS, kind).is_some_and(|condition| condition["observedGeneration"].is_i64())
                })
        };
        memory.moved || (is_new && (generation.is_some() || by_all()))
    }

    fn is_at_zero(&self) -> bool {
        self.contract.zero.as_ref().and_then(|at| self.json.pointer(at)).and_then(Value::as_i64) == Some(0)
    }

    /// A condition that speaks of the object as it is.
    fn current(&self, kind: &str) -> Option<&Value> {
        find(&self.json, CONDITIONS, kind)
            .filter(|condition| is_of_generation(&self.json, condition.get("observedGeneration")))
    }

    /// What a condition that is not True looks like.
    fn unmet(&self, kind: &str) -> Option<String> {
        let Some(condition) = find(&self.json, CONDITIONS, kind) else {
            return Some(format!("condition {kind} is not there"));
        };
        if self.current(kind).is_none() {
            let (of, is) = (&condition["observedGeneration"], self.generation().unwrap_or(0));
            return Some(format!("condition {kind} is of generation {of}, the object of {is}"));
        }
        (condition["status"] != "True").then(|| said_of(condition))
    }
}

/// What a controller reports: the texts of a list, a text, or an object; `None` where there is nothing.
fn errors_in(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Number(number) => (number.as_i64() != Some(0)).then(|| number.to_string()),
        Value::Array(errors) => {
            let texts: Vec<_> = errors.iter().filter_map(errors_in).collect();
            (!texts.is_empty()).then(|| texts.join("; "))
        }
        Value::Object(fields) => (!fields.is_empty()).then(|| {
            let described = ["description", "message"].iter().find_map(|key| fields.get(*key)?.as_str());
            described.map_or_else(|| value.to_string(), str::to_owned)
        }),
        Value::Bool(true) => Some(value.to_string()),
    }
}

/// The last part of a pointer, as it is written in the object.
fn key_of(pointer: &str) -> String {
    pointer.rsplit('/').next().unwrap_or(pointer).replace("~1", "/").replace("~0", "~")
}
