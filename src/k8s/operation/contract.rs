//! What an operation consists of.

/// What an operation consists of: how it is triggered, and what has to be so when it has finished.
///
/// ```
/// use relent::k8s::Contract;
///
/// // What etcd-druid keeps for its `Etcd` resource.
/// let druid = Contract::new("gardener.cloud/operation", "reconcile")
///     .token("gardener.cloud/timestamp")
///     .observed_generation("/status/observedGeneration")
///     .errors("/status/lastErrors")
///     .condition("AllMembersUpdated")
///     .condition("Ready");
/// assert_eq!(druid, Contract::druid_etcd());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Contract {
    pub(super) annotation: String,
    pub(super) value: String,
    token: Option<String>,
    pub(super) generation: Option<String>,
    pub(super) echo: Option<String>,
    pub(super) errors: Option<String>,
    pub(super) conditions: Vec<String>,
}

impl Contract {
    /// The annotation that asks for the operation. The controller takes it away when it has begun or done its work.
    pub fn new(annotation: impl Into<String>, value: impl Into<String>) -> Self {
        let (annotation, value) = (annotation.into(), value.into());
        Self { annotation, value, token: None, generation: None, echo: None, errors: None, conditions: Vec::new() }
    }

    /// An annotation that stays and tells one trigger from another; by default the first one's name and `-token`.
    pub fn token(mut self, annotation: impl Into<String>) -> Self {
        self.token = Some(annotation.into());
        self
    }

    /// Where the controller writes the generation that it has worked on, as a JSON pointer.
    pub fn observed_generation(mut self, pointer: impl Into<String>) -> Self {
        self.generation = Some(pointer.into());
        self
    }

    /// Where the controller writes the token that it has worked on. With it, an annotation that was taken away by a controller that
    /// had not seen the token is found, and set again; without it nobody can know.
    pub fn echo(mut self, pointer: impl Into<String>) -> Self {
        self.echo = Some(pointer.into());
        self
    }

    /// Where the controller writes what went wrong: a list that has to be empty.
    pub fn errors(mut self, pointer: impl Into<String>) -> Self {
        self.errors = Some(pointer.into());
        self
    }

    /// A condition of `/status/conditions` that has to be True.
    pub fn condition(mut self, kind: impl Into<String>) -> Self {
        self.conditions.push(kind.into());
        self
    }

    /// The `Etcd` resource of etcd-druid: the annotation `gardener.cloud/operation=reconcile` with `gardener.cloud/timestamp`;
    /// `status.observedGeneration`, `status.lastErrors`, and the conditions `AllMembersUpdated` and `Ready`.
    ///
    /// Druid does not write down the token, and takes the annotation away without looking whether it was set anew: of two triggers close to
    /// each other it may miss the second. A change of the spec with the trigger is safe: the generation tells.
    pub fn druid_etcd() -> Self {
        Self::new("gardener.cloud/operation", "reconcile")
            .token("gardener.cloud/timestamp")
            .observed_generation("/status/observedGeneration")
            .errors("/status/lastErrors")
            .condition("AllMembersUpdated")
            .condition("Ready")
    }

    pub(super) fn token_key(&self) -> String {
        self.token.clone().unwrap_or_else(|| format!("{}-token", self.annotation))
    }
}
