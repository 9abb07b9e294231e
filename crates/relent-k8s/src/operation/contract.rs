//! What an operation consists of.

use relent::ConfigError;

/// What an operation consists of: how it is triggered, and what has to be so when it has finished.
///
/// ```
/// use relent_k8s::Contract;
///
/// // What etcd-druid keeps for its `Etcd` resource.
/// let druid = Contract::new("gardener.cloud/operation", "reconcile")
///     .token("gardener.cloud/timestamp")
///     .taken_away_when_done()
///     .observed_generation("/status/observedGeneration")
///     .errors("/status/lastErrors")
///     .condition("AllMembersUpdated")
///     .condition("Ready")
///     .no_conditions_at_zero("/spec/replicas")
///     .stable_for(4);
/// assert_eq!(druid, Contract::druid_etcd());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Contract {
    pub(super) trigger: Trigger,
    pub(super) generation: Option<String>,
    pub(super) echo: Option<String>,
    pub(super) errors: Option<String>,
    pub(super) zero: Option<String>,
    /// Conditions that have to be True.
    pub(super) wanted: Vec<String>,
    /// Conditions that must not be True.
    pub(super) unwanted: Vec<String>,
    /// Conditions that end it when they are True.
    pub(super) fatal: Vec<String>,
    pub(super) stable_for: u32,
}

/// What sets an operation off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// An annotation that the controller takes away, and one with the token that stays.
    Taken { annotation: String, value: String, token: Option<String>, when_done: bool },
    /// A field whose value is the token, and which stays; as a JSON pointer.
    Stays(String),
}

impl Contract {
    /// The annotation that asks for the operation, and that the controller takes away: when it has begun, for all that
    /// is known, or [when it has done its work](Self::taken_away_when_done).
    ///
    /// Where it has only begun, something else has to tell that the work is done: an [`echo`](Self::echo), the
    /// generation of a spec that was changed with the trigger, or a condition that has changed since the annotation was
    /// last seen. Without any of them the wait goes on until a bound or a stall ends it, and says so. With neither an
    /// echo nor conditions the annotation is all there is, and it is done when that is gone.
    pub fn new(annotation: impl Into<String>, value: impl Into<String>) -> Self {
        let (annotation, value) = (annotation.into(), value.into());
        Self::by(Trigger::Taken { annotation, value, token: None, when_done: false })
    }

    /// An annotation that stays, whose value is the token, and which the controller echoes: `pointer` is a JSON pointer
    /// to where it writes the value that it has worked on.
    pub fn echoed(annotation: impl AsRef<str>, pointer: impl Into<String>) -> Self {
        Self::field(format!("/metadata/annotations/{}", escaped(annotation.as_ref()))).echo(pointer)
    }

    /// Any field whose value is the token, as a JSON pointer: `/spec/restartAt`. It stays. Say with
    /// [`echo`](Self::echo) or, of a field of the spec, with [`observed_generation`](Self::observed_generation) how the
    /// controller tells that it has seen it.
    pub fn field(pointer: impl Into<String>) -> Self {
        Self::by(Trigger::Stays(pointer.into()))
    }

    fn by(trigger: Trigger) -> Self {
        Self {
            trigger,
            generation: None,
            echo: None,
            errors: None,
            zero: None,
            wanted: Vec::new(),
            unwanted: Vec::new(),
            fatal: Vec::new(),
            stable_for: 1,
        }
    }

    /// An annotation that stays and tells one trigger from another; by default the first one's name and `-token`. Of a
    /// trigger that stays it has no effect.
    pub fn token(mut self, key: impl Into<String>) -> Self {
        if let Trigger::Taken { token, .. } = &mut self.trigger {
            *token = Some(key.into());
        }
        self
    }

    /// The controller takes the annotation away when it has done its work, not when it begins.
    pub fn taken_away_when_done(mut self) -> Self {
        if let Trigger::Taken { when_done, .. } = &mut self.trigger {
            *when_done = true;
        }
        self
    }

    /// Where the controller writes the generation that it has worked on, as a JSON pointer.
    pub fn observed_generation(mut self, pointer: impl Into<String>) -> Self {
        self.generation = Some(pointer.into());
        self
    }

    /// Where the controller writes the token that it has worked on, as a JSON pointer. A trigger that was taken away by
    /// a controller that had not seen the token is found by it.
    pub fn echo(mut self, pointer: impl Into<String>) -> Self {
        self.echo = Some(pointer.into());
        self
    }

    /// Where the controller writes what went wrong, as a JSON pointer: a list, a text or an object that has to be
    /// empty.
    pub fn errors(mut self, pointer: impl Into<String>) -> Self {
        self.errors = Some(pointer.into());
        self
    }

    /// A condition of `/status/conditions` that has to be True. One whose `observedGeneration` is older than the
    /// object's generation does not count.
    pub fn condition(mut self, kind: impl Into<String>) -> Self {
        self.wanted.push(kind.into());
        self
    }

    /// A condition that must not be True, such as `Reconciling`.
    pub fn condition_not(mut self, kind: impl Into<String>) -> Self {
        self.unwanted.push(kind.into());
        self
    }

    /// A condition that ends the operation when it is True once the controller has begun, such as `Stalled`:
    /// [`LongOperationError::Failed`](super::LongOperationError::Failed).
    pub fn fails_on(mut self, kind: impl Into<String>) -> Self {
        self.fatal.push(kind.into());
        self
    }

    /// A number of the object, such as `/spec/replicas`: where it is 0 there is nothing that could be ready, and
    /// conditions are not looked at.
    pub fn no_conditions_at_zero(mut self, pointer: impl Into<String>) -> Self {
        self.zero = Some(pointer.into());
        self
    }

    /// So many observations in a row have to find all of it so, because parts of a status come later than others.
    /// [`Settle::stable_for`](relent::builder::Settle::stable_for) replaces it. Default: 1.
    pub fn stable_for(mut self, observations: u32) -> Self {
        self.stable_for = observations;
        self
    }

    /// The `Etcd` resource of etcd-druid: the annotation `gardener.cloud/operation=reconcile` with
    /// `gardener.cloud/timestamp`, taken away when the reconciliation is done; `status.observedGeneration`,
    /// `status.lastErrors`, and the conditions `AllMembersUpdated` and `Ready`, unless it is scaled to 0, for four
    /// looks in a row: druid writes the conditions by a loop of their own, every 15 s.
    ///
    /// Druid does not write down the token, and takes the annotation away without looking whether it was set anew: of
    /// two triggers close to each other it may miss the second. A change of the spec with the trigger is safe: the
    /// generation tells.
    pub fn druid_etcd() -> Self {
        Self::new("gardener.cloud/operation", "reconcile")
            .token("gardener.cloud/timestamp")
            .taken_away_when_done()
            .observed_generation("/status/observedGeneration")
            .errors("/status/lastErrors")
            .condition("AllMembersUpdated")
            .condition("Ready")
            .no_conditions_at_zero("/spec/replicas")
            .stable_for(4)
    }

    /// A resource of Flux: the annotation `reconcile.fluxcd.io/requestedAt` stays and is echoed in
    /// `status.lastHandledReconcileAt`; `Ready` is True, `Reconciling` is not, and `Stalled` ends it.
    pub fn flux() -> Self {
        Self::echoed("reconcile.fluxcd.io/requestedAt", "/status/lastHandledReconcileAt")
            .observed_generation("/status/observedGeneration")
            .condition("Ready")
            .condition_not("Reconciling")
            .fails_on("Stalled")
    }

    /// Where the token stands, as a JSON pointer.
    pub(super) fn token_at(&self) -> String {
        match &self.trigger {
            Trigger::Taken { annotation, token, .. } => {
                let key = token.clone().unwrap_or_else(|| format!("{annotation}-token"));
                format!("/metadata/annotations/{}", escaped(&key))
            }
            Trigger::Stays(pointer) => pointer.clone(),
        }
    }

    /// Whether every pointer is one, and something can tell the end.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let pointers = [
            ("echo", &self.echo),
            ("observed_generation", &self.generation),
            ("errors", &self.errors),
            ("no_conditions_at_zero", &self.zero),
        ];
        for (setting, pointer) in pointers {
            pointer.as_deref().map_or(Ok(()), |pointer| checked(setting, pointer))?;
        }
        match &self.trigger {
            Trigger::Taken { annotation, token, .. } => {
                if annotation.is_empty() || token.as_ref().is_some_and(String::is_empty) {
                    return Err(ConfigError::new("annotation", "\"\"", "an annotation has a name"));
                }
            }
            Trigger::Stays(pointer) => {
                checked("field", pointer)?;
                let refused = |rule: &str| Err(ConfigError::new("field", pointer, rule));
                if pointer.starts_with("/status") {
                    return refused("a status is the controller's to write");
                }
                if self.echo.is_none() && self.generation.is_none() {
                    return refused(
                        "what stays needs an echo or an observed_generation, or nothing tells when it is done",
                    );
                }
                if self.echo.is_none() && pointer.starts_with("/metadata/") {
                    return refused("metadata has no part in the generation: it needs an echo");
                }
            }
        }
        Ok(())
    }
}

fn checked(setting: &'static str, pointer: &str) -> Result<(), ConfigError> {
    // RFC 6901: every part follows a slash, and `~` stands before 0 or 1 only.
    let is_escaped = pointer.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    if pointer.len() > 1 && pointer.starts_with('/') && is_escaped {
        return Ok(());
    }
    Err(ConfigError::new(setting, format!("\"{pointer}\""), "a JSON pointer begins with a slash: /status/part"))
}

/// One part of a JSON pointer.
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
