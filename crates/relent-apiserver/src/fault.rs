//! What goes wrong on purpose: for which requests, how often, and how.

use std::{sync::Arc, time::Duration};

use super::{failure::Failure, request::Verb};

/// Something that goes wrong, for the requests that it fits.
///
/// Each request takes the first fault of the plan that fits it and is not used up, so a plan is a script:
///
/// ```
/// use std::time::Duration;
/// use relent_apiserver::{ApiServer, Fault, Verb};
///
/// let server = ApiServer::new();
/// // The first two reads of this map are answered with 503, the third hangs, later ones are well.
/// let path = "/api/v1/namespaces/kube-system/configmaps/kube-proxy";
/// server.inject(Fault::status(503).verb(Verb::Get).path(path).times(2));
/// server.inject(Fault::hang().verb(Verb::Get).path(path).times(1));
/// // Every write of a Lease is applied, and its answer takes four seconds.
/// server.inject(Fault::delay(Duration::from_secs(4)).after_applying().verb(Verb::Update).path("**/leases/*"));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Fault {
    verb: Option<Verb>,
    path: Option<String>,
    skip: u64,
    times: u64,
    pub(super) delay: Duration,
    pub(super) applied: bool,
    pub(super) detached: bool,
    pub(super) action: Action,
}

/// How it goes wrong.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Only late.
    Nothing,
    Hang,
    /// The connection breaks: before anything is done it is refused, after that it is reset.
    Break,
    Answer(Failure),
    /// Only the stream of a watch suffers.
    Stream(Trouble),
}

/// What is wrong with the stream of a watch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trouble {
    /// After so many events it ends so.
    pub(super) ends: Option<(u64, Ending)>,
    /// Each event comes so much later.
    pub(super) lag: Duration,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// As when the server or a proxy closes it.
    Closed,
    /// As when the connection breaks.
    Reset,
    /// An `ERROR` event with 410 `Expired`.
    Expired,
    /// It stays open and says nothing more.
    Silent,
}

impl Fault {
    fn new(action: Action) -> Self {
        Self {
            verb: None,
            path: None,
            skip: 0,
            times: u64::MAX,
            delay: Duration::ZERO,
            applied: false,
            detached: false,
            action,
        }
    }

    /// It takes so long, and is well then. A request whose caller goes away meanwhile is not applied; see
    /// [`Fault::detached`].
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::new(Action::Nothing) }
    }

    /// No answer, ever. With [`Fault::after_applying`] the request is applied all the same.
    pub fn hang() -> Self {
        Self::new(Action::Hang)
    }

    /// The connection is refused: nothing is applied.
    pub fn refuse() -> Self {
        Self::new(Action::Break)
    }

    /// The request is applied, and the connection breaks before the answer.
    pub fn lose_answer() -> Self {
        Self { applied: true, ..Self::new(Action::Break) }
    }

    /// 429 as an overloaded server sends it: plain text, no `Status`, and the header `Retry-After`.
    pub fn overloaded(retry_after: u64) -> Self {
        let mut failure = Failure::plain(429, "Too many requests, please try again later.");
        failure.retry_after = Some(retry_after);
        Self::new(Action::Answer(failure))
    }

    /// An answer with this status code and a proper `Status` body. 429, 500, 503 and 504 read as a server writes them.
    pub fn status(code: u16) -> Self {
        Self::new(Action::Answer(Failure::planned(code)))
    }

    /// 404 as a server answers that has no such object, such as one that lags behind: it names the object.
    pub fn missing(plural: &str, name: &str) -> Self {
        Self::new(Action::Answer(Failure::missing(plural, name)))
    }

    /// An answer with this status code and plain text, as from a proxy.
    pub fn text(code: u16, text: impl Into<String>) -> Self {
        Self::new(Action::Answer(Failure::plain(code, text)))
    }

    fn stream(after_events: u64, ending: Ending) -> Self {
        let trouble = Trouble { ends: Some((after_events, ending)), ..Trouble::default() };
        Self::new(Action::Stream(trouble)).verb(Verb::Watch)
    }

    /// 429 as a server answers for a custom kind that was established a moment ago: `storage is (re)initializing`, to
    /// be asked again after a second. See [`ApiServer::initialize_for`](super::ApiServer::initialize_for) for a server
    /// that does it by itself.
    pub fn initializing() -> Self {
        Self::new(Action::Answer(Failure::initializing()))
    }

    /// Watches: before each event the stream waits so long, so that what is seen lags behind what is stored.
    pub fn slow_stream(lag: Duration) -> Self {
        Self::new(Action::Stream(Trouble { lag, ..Trouble::default() })).verb(Verb::Watch)
    }

    /// Watches: the stream ends after so many events, as servers and proxies end it.
    pub fn close_stream(after_events: u64) -> Self {
        Self::stream(after_events, Ending::Closed)
    }

    /// Watches: the connection breaks after so many events.
    pub fn break_stream(after_events: u64) -> Self {
        Self::stream(after_events, Ending::Reset)
    }

    /// Watches: after so many events, an `ERROR` event with 410 `Expired`, and the end.
    pub fn expire_stream(after_events: u64) -> Self {
        Self::stream(after_events, Ending::Expired)
    }

    /// Watches: after so many events the stream stays open and says nothing more, not even its end.
    pub fn silence_stream(after_events: u64) -> Self {
        Self::stream(after_events, Ending::Silent)
    }

    /// Only requests that want this.
    pub fn verb(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Only requests whose path fits: `*` is one segment, or a part of one; `**` any number of them.
    pub fn path(mut self, pattern: impl Into<String>) -> Self {
        self.path = Some(pattern.into());
        self
    }

    /// So many requests that fit go by first.
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// It happens so often, and is over then. Default: for as long as it is in the plan.
    pub fn times(mut self, requests: u64) -> Self {
        self.times = requests;
        self
    }

    /// It takes so long before it happens.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The request is applied first; delay, hanging, break or answer come after that.
    pub fn after_applying(mut self) -> Self {
        self.applied = true;
        self
    }

    /// The request does not end with its caller: it lands after its delay although no caller waits for it any more. It
    /// runs on a task of its own.
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }

    /// Names the seconds after which the caller may come back, in the header, and in the body if that is a `Status`.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        if let Action::Answer(failure) = self.action {
            self.action = Action::Answer(failure.retry_after(seconds));
        }
        self
    }

    fn fits(&self, verb: Verb, path: &str) -> bool {
        self.verb.is_none_or(|wanted| wanted == verb)
            && self.path.as_deref().is_none_or(|pattern| {
                let (pattern, path) = (pattern.trim_matches('/'), path.trim_matches('/'));
                fits(&pattern.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>())
            })
    }
}

/// Whether segments fit a pattern of segments.
fn fits(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=path.len()).any(|skipped| fits(rest, &path[skipped..])),
        ([first, rest @ ..], [segment, behind @ ..]) => globs(first, segment) && fits(rest, behind),
        _ => false,
    }
}

/// Whether one segment fits a pattern with `*` in it.
fn globs(pattern: &str, segment: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == segment,
        Some((head, rest)) => segment.strip_prefix(head).is_some_and(|tail| {
            tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| globs(rest, &tail[at..]))
        }),
    }
}

#[derive(Debug)]
struct Planned {
    number: u64,
    fault: Fault,
    skipped: u64,
    hits: u64,
}

/// The faults of a server, in order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    planned: Vec<Planned>,
    added: u64,
    /// Hits of faults that were lifted.
    over: Vec<(u64, u64)>,
}

impl Plan {
    pub(super) fn add(&mut self, fault: Fault) -> u64 {
        self.added += 1;
        self.planned.push(Planned { number: self.added, fault, skipped: 0, hits: 0 });
        self.added
    }

    /// The fault for this request, if there is one.
    pub(super) fn take(&mut self, verb: Verb, path: &str) -> Option<Arc<Fault>> {
        for planned in self.planned.iter_mut().filter(|planned| planned.fault.fits(verb, path)) {
            if planned.skipped < planned.fault.skip {
                planned.skipped += 1;
            } else if planned.hits < planned.fault.times {
                planned.hits += 1;
                return Some(Arc::new(planned.fault.clone()));
            }
        }
        None
    }

    pub(super) fn hits(&self, number: u64) -> u64 {
        let active = self.planned.iter().find(|planned| planned.number == number).map(|planned| planned.hits);
        active.or_else(|| self.over.iter().find(|(known, _)| *known == number).map(|(_, hits)| *hits)).unwrap_or(0)
    }

    /// Takes one fault, or all, out of the plan.
    pub(super) fn lift(&mut self, number: Option<u64>) {
        let over = self.planned.extract_if(.., |planned| number.is_none_or(|number| planned.number == number));
        self.over.extend(over.map(|planned| (planned.number, planned.hits)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_their_patterns() {
        for (pattern, path, fit) in [
            ("/api/v1/pods", "/api/v1/pods", true),
            ("/api/v1/pods", "/api/v1/pods/x", false),
            ("/api/v1/*", "/api/v1/pods", true),
            ("**/leases/*", "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", true),
            ("**/leases/*", "/apis/coordination.k8s.io/v1/namespaces/a/leases", false),
            ("**/kube-*", "/api/v1/namespaces/a/configmaps/kube-proxy", true),
            ("**/*-proxy", "/api/v1/namespaces/a/configmaps/kube-proxy", true),
            ("**/*-prox", "/api/v1/namespaces/a/configmaps/kube-proxy", false),
            ("**", "/anything/at/all", true),
            ("/api/**/b", "/api/b", true),
        ] {
            assert_eq!(Fault::hang().path(pattern).fits(Verb::Get, path), fit, "{pattern} {path}");
        }
    }

    #[test]
    fn a_plan_is_a_script() {
        let mut plan = Plan::default();
        let first = plan.add(Fault::delay(Duration::from_secs(1)).times(2));
        let second = plan.add(Fault::delay(Duration::from_secs(2)).verb(Verb::Get).skip(1).times(1));
        let mut next = |verb| plan.take(verb, "/x").map(|fault| fault.delay.as_secs());
        assert_eq!([next(Verb::Get), next(Verb::List), next(Verb::List)], [Some(1), Some(1), None]);
        assert_eq!([next(Verb::Get), next(Verb::Get), next(Verb::Get)], [None, Some(2), None]);
        assert_eq!((plan.hits(first), plan.hits(second)), (2, 1));
        plan.lift(None);
        assert_eq!(plan.hits(first), 2);
    }
}
