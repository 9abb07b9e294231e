//! What a run's end must keep to: the reason, the error and the numbers that it tells are the true ones.

use relent::{GaveUp, Last, Stop};

use super::{
    actors, limits,
    runs::{Answer, Grammar, Run, gone, is_cancelled, name, run},
    texts,
    world::{E, MS, note, now, require, trouble, with},
};

/// The run has its end.
pub fn ended<T>(id: usize, end: &Result<T, GaveUp<E>>) {
    note("run", id, if end.is_ok() { "gives its value" } else { "gives up" }, 0);
    gone(id);
    let known = run(id, |run| {
        run.over = true;
        run.clone()
    });
    require(!known.listens || known.grammar == Grammar::Over, "events obey the grammar", || {
        format!("{}: it has ended, and the listener has not heard of it", name(id))
    });
    match end {
        Ok(_) => require(known.answer == Some(Answer::Value), "a value was given", || name(id)),
        Err(gave_up) => gave_up_tells_the_truth(id, &known, gave_up),
    }
    let refused = end.as_ref().err().is_some_and(|gave_up| matches!(gave_up.stop(), Stop::Limiter { .. }));
    let excused = with(|world| world.hostile.stalls) || actors::is_delayed(actors::current());
    if let (true, false, Some(began), Some(finish)) = (refused, excused, known.began, known.finish) {
        let late = now() > (began + finish).div_ceil(MS) * MS;
        require(!late, "no wait outlasts its bound", || format!("{} had {} ms", name(id), finish / MS));
    }
    if refused && known.limit.is_some_and(limits::puts_off) {
        actors::ended_early();
    } else {
        actors::ended();
    }
    trouble("end of run", id);
}

/// Whether a budget may refuse: what it has at first, by its reserve and its floor, is made or held by those that are
/// under way.
fn budget_is_spent(budget: usize) -> bool {
    with(|world| {
        let under_way = world.runs.iter().filter(|run| run.budget == Some(budget) && !run.over).count() as u64;
        let book = &world.budgets[budget];
        let first = if book.in_flight { book.floor.into() } else { book.reserve + u64::from(book.floor) };
        book.retries + under_way + u64::from(super::queues::KEYS) + 1 >= first
    })
}

pub fn gave_up_tells_the_truth(id: usize, known: &Run, gave_up: &GaveUp<E>) {
    let (text, error) = (gave_up.to_string(), gave_up.last_error().map(|error| error.id));
    texts::tells_real_numbers(&text);
    texts::tells_real_numbers(&format!("{:?}", gave_up.stop()));
    let tell = |what: &str| format!("run {id} ({}): {what}: {text} {known:?}", known.verb);
    // Where an act was refused for good, that is what the run ends with.
    let same = error == known.latest || (known.act_was_fatal && error.is_some());
    require(same, "the latest real error comes back", || tell(&format!("{:?}, not {error:?}", known.latest)));
    if let Some(error) = error {
        require(text.contains(&E::tag(error)), "the latest real error comes back", || tell("the text"));
    }
    let observes = known.observes();
    require(!(observes && text.contains("outcome unknown")), "a read has no outcome", || tell("outcome"));
    let contradicts = text.contains("before the first attempt") && text.contains("last attempt");
    require(!contradicts, "the text does not contradict itself", || tell("text"));
    let true_stop = match gave_up.stop() {
        Stop::Fatal => known.fatal || known.cut_is_fatal,
        Stop::Attempts => known.max.is_some(),
        Stop::StartWindow => known.window,
        Stop::Deadline => known.finish.is_some(),
        Stop::Cancelled => is_cancelled(id),
        Stop::Budget => known.budget.is_some_and(budget_is_spent),
        Stop::Limiter { .. } => known.limit.is_some(),
        Stop::Stalled => known.stall,
        Stop::BackoffEnded => false,
        // One that this version does not know yet.
        _ => known.verb == "settle",
    };
    require(true_stop, "the reason is the true one", || tell(gave_up.stop().as_str()));
    let not_ready = matches!(gave_up.last(), Last::NotReady);
    require(!not_ready || known.observes() || known.verb == "ensure", "the last attempt is told as it was", || {
        tell("not ready")
    });
    let started = if known.listens { known.started } else { known.calls };
    if known.verb != "ensure" {
        require(gave_up.attempts() == started, "attempts are counted", || tell("attempts"));
    }
    require(!known.listens || known.ended == known.started, "attempts are counted", || tell("Started and Ended"));
}
