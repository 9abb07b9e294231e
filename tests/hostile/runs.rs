//! What a run must keep to, whatever the verb: checked by its operation and its listener; its end is in `ends`.

use relent::{
    Attempt, Decision,
    events::{Event, Wait},
};

use super::{
    actors, limits,
    world::{E, Nanos, World, note, now, require, shared, trouble, violated, with},
};

/// What an attempt answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    Value,
    Fails(E),
    NotYet,
    Because(E),
    Dead(E),
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Grammar {
    #[default]
    Between,
    Started,
    Acting,
    Over,
}

/// What is known of one run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub verb: &'static str,
    pub max: Option<u32>,
    pub window: bool,
    pub finish: Option<Nanos>,
    pub stall: bool,
    pub cut_is_fatal: bool,
    pub tokens: [Option<usize>; 2],
    /// Whether the second token is a future to it.
    pub until: bool,
    pub limit: Option<usize>,
    /// A second limiter, of which the ideal list knows nothing.
    pub also: Option<usize>,
    pub budget: Option<usize>,
    /// How many attempts it had begun when it was given the budget: the next one counts as its first.
    pub charged: u32,
    pub listens: bool,
    /// The pauses that its seed gives, from the first attempt on.
    pub series: Vec<Nanos>,
    pub began: Option<Nanos>,
    /// When the run must have read its clock first.
    pub counts: Option<Nanos>,
    /// Attempts whose calls began; acts.
    pub calls: u32,
    pub acts: u32,
    /// Something was cut that must not be repeated.
    pub cut: bool,
    pub fatal: bool,
    pub act_was_fatal: bool,
    pub latest: Option<u64>,
    pub answer: Option<Answer>,
    pub grammar: Grammar,
    pub ended: u32,
    pub started: u32,
    pub in_line: bool,
    /// The limiter in whose line it may stand, and has not said so.
    pub may_stand: Option<usize>,
    pub over: bool,
}

impl Run {
    /// Whether its attempts only read.
    pub fn observes(&self) -> bool {
        matches!(self.verb, "poll" | "settle" | "blocking poll")
    }
}

/// Writes down a new one, and that it may be in line.
pub fn is_new(world: &mut World, run: Run) {
    if let (Some(limit), false) = (run.limit, run.listens) {
        world.limits[limit].unlisted += 1;
    }
    if let Some(also) = run.also {
        world.limits[also].unlisted += 1;
    }
    world.runs.push(run);
}

/// The number by which the ideal list knows it.
pub fn wait_of(id: usize) -> usize {
    1_000_000 + id
}

pub fn run<R>(id: usize, f: impl FnOnce(&mut Run) -> R) -> R {
    with(|world| f(&mut world.runs[id]))
}

/// Its number and its verb.
pub fn name(id: usize) -> String {
    format!("run {id} ({})", run(id, |run| run.verb))
}

/// It stands in line no more.
pub fn left(id: usize) {
    let limit = run(id, |run| std::mem::take(&mut run.in_line).then_some(run.limit).flatten());
    if let Some(limit) = limit {
        limits::leaves(limit, wait_of(id));
    }
}

pub fn is_cancelled(id: usize) -> bool {
    let tokens = run(id, |run| run.tokens);
    tokens.into_iter().flatten().any(|token| shared().tokens[token].is_cancelled())
}

/// It was polled with its share used up, and lets others run: it takes its place in line first, if it needs one, and no
/// listener hears of that. So the ideal list does not know it.
pub fn may_stand(id: usize) {
    let limit = run(id, |run| {
        let new = run.listens && !run.in_line && !run.over && run.may_stand.is_none();
        let limit = if new { run.limit } else { None };
        run.may_stand = run.may_stand.or(limit);
        limit
    });
    if let Some(limit) = limit {
        with(|world| {
            world.limits[limit].loose = true;
            world.limits[limit].unlisted += 1;
        });
    }
}

/// The future of the run was dropped before its end.
pub fn gone(id: usize) {
    left(id);
    if let Some(limit) = run(id, |run| run.may_stand.take()) {
        with(|world| world.limits[limit].unlisted -= 1);
    }
    if let Some(also) = run(id, |run| run.also.take()) {
        with(|world| world.limits[also].unlisted -= 1);
    }
    let unlisted = run(id, |run| if run.listens || run.over { None } else { run.limit });
    if let Some(limit) = unlisted {
        with(|world| world.limits[limit].unlisted -= 1);
    }
}

/// An attempt, a look or an act starts now: may it?
fn may_start(id: usize, what: &str) {
    let now = now();
    let (began, finish) = run(id, |run| (run.began, run.finish));
    require(!is_cancelled(id), "nothing starts after the cancellation", || format!("{} ({what})", name(id)));
    if let (Some(began), Some(finish)) = (began, finish)
        && finish > 0
    {
        // After an act there is always a look, and it is cut at once where there is no time for it.
        let late = now - began >= finish && what != "closing look";
        require(!late, "nothing starts at the hard bound or later", || format!("{} ({what})", name(id)));
    }
}

/// The first call of an attempt starts; told by the listener if there is one.
fn attempt_starts(id: usize, info: Attempt, what: &str) {
    may_start(id, what);
    let now = now();
    let (limit, in_line, budget) = run(id, |run| (run.limit, std::mem::take(&mut run.in_line), run.budget));
    let also = run(id, |run| run.also);
    // With several, what was granted is held until the last one grants.
    let excused = actors::is_delayed(actors::current());
    if let Some(also) = also {
        limits::came_out(also, 1, excused, true);
    }
    match limit {
        Some(limit) if in_line => limits::got(limit, wait_of(id), 1, excused, also.is_some()),
        Some(limit) if run(id, |run| run.listens) => limits::tried(limit, 1, true),
        Some(limit) => limits::came_out(limit, 1, excused, also.is_some()),
        None => {}
    }
    with(|world| {
        world.progress += 1;
        if let (Some(budget), true) = (budget, info.number() > world.runs[id].charged + 1) {
            world.budgets[budget].retries += 1;
        }
    });
    let (began, counts) = run(id, |run| (run.began.unwrap_or(now), run.counts.unwrap_or(now)));
    if info.number() > 1 {
        let elapsed = u64::try_from(info.elapsed().as_nanos()).unwrap();
        let least = now.saturating_sub(counts);
        require((least..=now - began).contains(&elapsed), "an attempt knows the time", || {
            format!("{}: attempt {} says {elapsed}, it is {least}..={}", name(id), info.number(), now - began)
        });
    }
}

/// The operation is called.
pub fn called(id: usize, info: Attempt, act: bool) {
    note("run", id, if act { "acts" } else { "is called" }, info.number().into());
    let (listens, first, cut) = run(id, |run| {
        let first = !act && info.number() > run.calls;
        run.calls = run.calls.max(info.number());
        run.acts += u32::from(act);
        run.answer = None;
        (run.listens, first, run.cut && (act || run.verb != "ensure"))
    });
    require(!cut, "what was cut for good does not run again", || format!("{}, attempt {}", name(id), info.number()));
    if first && !listens {
        attempt_starts(id, info, "call");
    } else if !listens {
        may_start(id, if act { "act" } else { "closing look" });
    } else if act || run(id, |run| run.verb != "ensure") {
        // Between the two is code of the owner, or of the listener.
        may_start(id, "call");
    }
    let over = run(id, |run| run.over);
    require(!over, "nothing starts after the end", || name(id));
}

/// The attempt has answered.
pub fn answered(id: usize, answer: Answer, act: bool) {
    run(id, |run| {
        run.answer = Some(answer);
        if let Answer::Fails(error) | Answer::Because(error) | Answer::Dead(error) = answer {
            run.latest = Some(error.id);
            let fatal = matches!(answer, Answer::Dead(_))
                || (matches!(answer, Answer::Fails(_)) && error.decision == Decision::Fatal);
            run.fatal |= fatal;
            run.act_was_fatal |= fatal && act;
        }
    });
    let error = match answer {
        Answer::Fails(error) | Answer::Because(error) | Answer::Dead(error) => error.id,
        _ => 0,
    };
    note("run", id, if act { "acted" } else { "answered" }, error);
}

pub fn waits(id: usize) {
    let now = now();
    run(id, |run| {
        run.counts.get_or_insert(now);
    });
}

/// The attempt was dropped without an answer.
pub fn was_cut(id: usize, act: bool) {
    note("run", id, "cut", 0);
    run(id, |run| {
        run.answer = None;
        if run.cut_is_fatal && (act || run.verb != "ensure") && !run.observes() {
            run.cut = true;
        }
    });
}

/// What the iterator draws from a seed, a run draws.
fn a_seed_gives_one_series(id: usize, attempt: u32, again: Option<std::time::Duration>) {
    let (Some(again), known) = (again, run(id, |run| run.clone())) else { return };
    let Some(pause) = known.series.get(attempt as usize - 1) else { return };
    // A server may ask for more.
    let asks = known.verb != "retry"
        || !matches!(known.answer, Some(Answer::Fails(error)) if error.decision == Decision::Retry);
    let again = u64::try_from(again.as_nanos()).unwrap();
    require(again == *pause || (asks && again >= *pause), "a seed gives one series", || {
        format!("{}: {again} ns after attempt {attempt}, the iterator has {pause}", name(id))
    });
}

pub fn heard(id: usize, event: &Event<'_, E>) {
    let told = match event {
        Event::Started(_) => "Started",
        Event::Ended { .. } => "Ended",
        Event::Acting { .. } => "Acting",
        Event::Acted { .. } => "Acted",
        Event::Waiting(Wait::Limiter(_)) => "Waiting for the limiter",
        Event::Waiting(_) => "Waiting",
        Event::Succeeded { .. } => "Succeeded",
        Event::GaveUp(_) => "GaveUp",
        _ => "?",
    };
    note("run", id, told, 0);
    let before = run(id, |run| run.grammar);
    let after = match (event, before) {
        (Event::Waiting(_), Grammar::Between) => before,
        (Event::Started(_), Grammar::Between) | (Event::Acted { .. }, Grammar::Acting) => Grammar::Started,
        (Event::Acting { .. }, Grammar::Started) => Grammar::Acting,
        (Event::Ended { .. }, Grammar::Started) => Grammar::Between,
        (Event::Succeeded { .. }, Grammar::Started) | (Event::GaveUp(_), Grammar::Between) => Grammar::Over,
        _ => {
            violated("events obey the grammar", format!("{}: {told} after {before:?}", name(id)));
            before
        }
    };
    run(id, |run| run.grammar = after);
    match event {
        Event::Started(info) => {
            run(id, |run| (run.started, run.answer) = (run.started + 1, None));
            attempt_starts(id, *info, "attempt");
        }
        Event::Acting { .. } => may_start(id, "act"),
        Event::Ended { last, again, attempt, .. } => {
            a_seed_gives_one_series(id, *attempt, *again);
            let answer = run(id, |run| {
                run.ended += 1;
                // Where an act was refused or cut for good, that is what the run ends with.
                run.answer.filter(|_| !run.act_was_fatal && !run.cut)
            });
            if let Some(Answer::Fails(error) | Answer::Because(error)) = answer {
                let text = format!("{last:?}");
                require(text.contains(&E::tag(error.id)), "an event tells the real error", || {
                    format!("{}: {} said {text}", name(id), E::tag(error.id))
                });
            }
        }
        Event::Waiting(Wait::Limiter(_)) => {
            let limit = run(id, |run| {
                run.in_line = true;
                run.limit
            });
            if let Some(limit) = limit {
                limits::joins(limit, wait_of(id), 1);
            }
        }
        Event::GaveUp(_) | Event::Succeeded { .. } => left(id),
        _ => {}
    }
    trouble("listener of run", id);
}
