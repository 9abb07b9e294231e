//! Runs of all verbs, made at random.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    task::Poll,
};

use relent::{Attempt, Check, Decision, Observed, Policy, Progress, ensure, events::Event, poll, retry, settle};
use tokio::{task::yield_now, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    actors::{self, Kind},
    changing, ends,
    runs::{self, Answer, Run},
    world::{E, MS, ms, note, now, require, shared, trouble, with},
};

/// An attempt that runs; dropped without an answer, it was cut.
struct Flying {
    run: usize,
    act: bool,
    over: bool,
}

impl Flying {
    fn lands(&mut self) {
        self.over = true;
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        if !self.over && !std::thread::panicking() {
            runs::was_cut(self.run, self.act);
        }
    }
}

pub fn some_error() -> E {
    with(|world| {
        world.errors += 1;
        let decision = match world.rng.u8(0..12) {
            0 => Decision::Fatal,
            1 | 2 => Decision::RetryAfter(ms(world.rng.u64(0..300))),
            _ => Decision::Retry,
        };
        E { id: world.errors, decision }
    })
}

pub fn some_latency() -> Option<u64> {
    with(|world| match world.rng.u8(0..12) {
        0..6 => Some(0),
        6 => Some(1),
        7..11 => Some(world.rng.u64(2..80)),
        _ => None,
    })
}

pub async fn takes(latency: Option<u64>) {
    match latency {
        Some(0) => {}
        Some(1) => yield_now().await,
        Some(span) => sleep(ms(span)).await,
        None => pending().await,
    }
}

fn attempt(id: usize, info: Attempt, act: bool) -> impl Future<Output = Answer> {
    runs::called(id, info, act);
    let mut flying = Flying { run: id, act, over: false };
    trouble("call of run", id);
    let (latency, verb) = (some_latency(), with(|world| world.runs[id].verb));
    async move {
        trouble("future of run", id);
        if latency != Some(0) {
            runs::waits(id);
            takes(latency).await;
            trouble("future of run", id);
        }
        let error = some_error();
        let answer = match (with(|world| world.rng.u8(0..16)), verb) {
            (0 | 1, _) => Answer::Value,
            (2..6, "poll" | "settle" | "ensure") if !act => Answer::NotYet,
            (6..9, "poll" | "ensure") if !act => Answer::Because(error),
            (9, "poll" | "settle" | "ensure") if !act => Answer::Dead(error),
            // An ensure acts on this.
            (10..14, "ensure") if !act => Answer::NotYet,
            _ => Answer::Fails(error),
        };
        flying.lands();
        runs::answered(id, answer, act);
        trouble("answer of run", id);
        runs::waits(id);
        answer
    }
}

pub fn classify(id: usize) -> impl FnMut(&E) -> Decision {
    move |error: &E| {
        let decision = error.decision;
        trouble("classification of run", id);
        decision
    }
}

/// What a builder shares with others: limiters and a budget.
macro_rules! shares {
    ($builder:expr, $run:expr, $shared:expr) => {{
        let builder = $builder;
        let builder = match $run.limit {
            Some(limit) => builder.throttle(&$shared.limiters[limit]),
            None => builder,
        };
        let builder = match $run.also {
            Some(also) => builder.throttle(&$shared.limiters[also]),
            None => builder,
        };
        match $run.budget {
            Some(budget) => builder.budget(&$shared.budgets[budget]),
            None => builder,
        }
    }};
}
pub(super) use shares;

/// Control, classification, listener: then it runs to its end, and lives on.
macro_rules! run {
    ($builder:expr, $id:expr, $policy:expr, $run:expr) => {{
        let (id, shared) = ($id, shared());
        let token =
            |which: usize| $run.tokens[which].map_or_else(CancellationToken::new, |token| shared.tokens[token].clone());
        let (first, second) = (token(0), token(1));
        let builder = $builder.policy(&$policy).when(classify(id)).cancel_on(first);
        let (builder, until) = match $run.until {
            true => (builder, Some(second.cancelled_owned())),
            false if $run.tokens[1].is_some() => (builder.cancel_on(second), None),
            false => (builder, None),
        };
        let builder = shares!(builder, $run, shared);
        drop(shared);
        let began = now();
        with(|world| world.runs[id].began = Some(began));
        let hears = move |event: &Event<'_, E>| runs::heard(id, event);
        match (until, $run.listens) {
            (Some(until), true) => to_its_end!(id, builder.cancel_when(until).notify(hears)),
            (Some(until), false) => to_its_end!(id, builder.cancel_when(until)),
            (None, true) => to_its_end!(id, builder.notify(hears)),
            (None, false) => to_its_end!(id, builder),
        }
    }};
}

macro_rules! to_its_end {
    ($id:expr, $builder:expr) => {{
        let mut future = Box::pin($builder.into_future());
        ends::ended($id, &future.as_mut().await);
        pending::<()>().await;
    }};
}

pub fn begin() {
    let (run, policy, extra) = with(|world| {
        let rng = &mut world.rng;
        let verb = *rng.choice(&["retry", "retry", "poll", "settle", "ensure", "cursor", "cursor"]).unwrap();
        let mut policy = Policy::new();
        let backoff = *rng.choice(&[0, 0, 10, 50, 200]).unwrap();
        policy = policy.backoff(changing::fixed(backoff));
        let mut series = Vec::new();
        if rng.u8(0..5) == 0 {
            policy = policy.every(ms(rng.u64(1..200)));
        } else if backoff > 0 && rng.u8(0..4) == 0 {
            let seeded = changing::seeded(rng.u64(..), backoff);
            series = seeded.clone().into_iter().take(40).map(|pause| pause.as_nanos() as u64).collect();
            policy = policy.backoff(seeded);
        }
        // What goes on without a pause would go on for long.
        let max = (backoff == 0 || rng.bool()).then(|| rng.u32(0..9));
        if let Some(max) = max {
            policy = policy.max_attempts(max);
        }
        if rng.bool() {
            policy = policy.attempt_timeout(ms(rng.u64(1..120)));
        }
        let window = rng.u8(0..4) == 0;
        if window {
            policy = policy.start_within(ms(rng.u64(0..500)));
        }
        let finish = (rng.u8(0..3) == 0).then(|| rng.u64(1..1000));
        if let Some(finish) = finish {
            policy = policy.finish_within(ms(finish));
        }
        let cut_is_fatal = rng.u8(0..4) == 0;
        if cut_is_fatal {
            policy = policy.on_cut(Decision::Fatal);
        }
        if rng.u8(0..8) == 0 {
            policy = policy.final_try();
            series.clear();
        }
        if rng.u8(0..8) == 0 {
            policy = policy.delay_first();
            // The first one came before it.
            series.drain(..series.len().min(1));
        }
        let one = |rng: &mut fastrand::Rng, count: usize, often: u8| {
            (count > 0 && rng.u8(0..often) > 0).then(|| rng.usize(0..count))
        };
        let (first, mut limit) = (one(rng, world.cancelled.len(), 4), one(rng, world.limits.len(), 3));
        // The ideal list is of one limiter: that one is never one of two.
        let mut also = None;
        if world.limits.len() > 2 && rng.bool() {
            (limit, also) = if rng.bool() { (Some(1), Some(2)) } else { (Some(2), Some(1)) };
        }
        let second = one(rng, world.cancelled.len(), 2).filter(|_| verb != "cursor");
        let until = second.is_some() && world.cancelled.len() > 1;
        let tokens = [first, second];
        let budget = one(rng, world.budgets.len(), 3);
        let listens = limit.is_some_and(|limit| world.limits[limit].modelled) || verb == "cursor" || rng.u8(0..3) > 0;
        let finish = finish.map(|finish| finish * MS);
        let stall = verb == "settle" && rng.bool();
        let extra = (rng.u64(1..500), rng.bool(), rng.u64(1..300));
        let run = Run {
            verb,
            max,
            window,
            finish,
            stall,
            cut_is_fatal,
            tokens,
            until,
            limit,
            also,
            budget,
            listens,
            series,
            ..Run::default()
        };
        runs::is_new(world, run.clone());
        (run, policy, extra)
    });
    let id = with(|world| world.runs.len() - 1);
    note("run", id, run.verb, 0);
    let kind = Kind::Run(id);
    match run.verb {
        "retry" => actors::spawn(kind, async move {
            let call = move |info| {
                let answer = attempt(id, info, false);
                async move { if let Answer::Fails(error) = answer.await { Err(error) } else { Ok(()) } }
            };
            run!(retry(call), id, policy, run);
        }),
        "poll" => actors::spawn(kind, async move {
            let check = move |info| {
                let answer = attempt(id, info, false);
                async move {
                    Ok(match answer.await {
                        Answer::Value => Check::Ready(()),
                        Answer::NotYet => Check::NotYet,
                        Answer::Because(error) => Check::NotYetBecause(error),
                        Answer::Dead(error) => Check::Fatal(error),
                        Answer::Fails(error) => return Err(error),
                    })
                }
            };
            run!(poll(check), id, policy, run);
        }),
        "settle" => actors::spawn(kind, async move {
            let observe = move |info: Attempt| {
                let answer = attempt(id, info, false);
                async move {
                    Ok(match answer.await {
                        Answer::Value => Progress::Done(()),
                        Answer::NotYet | Answer::Because(_) if info.number().is_multiple_of(2) => {
                            Progress::Moving(info.number().to_string())
                        }
                        Answer::NotYet | Answer::Because(_) => Progress::Waiting("waits".into()),
                        Answer::Dead(error) => Progress::Failed(error),
                        Answer::Fails(error) => return Err(error),
                    })
                }
            };
            let settle = settle(observe);
            let settle = if run.stall { settle.stall_after(ms(extra.0)) } else { settle };
            let settle = if extra.1 { settle.tolerate_errors_for(ms(extra.2)) } else { settle };
            run!(settle, id, policy, run);
        }),
        "ensure" => actors::spawn(kind, async move {
            let current = std::rc::Rc::new(std::cell::Cell::new(None));
            let looks = current.clone();
            let look = move |info: Attempt| {
                looks.set(Some(info));
                let answer = attempt(id, info, false);
                let differs = with(|world| world.rng.bool());
                async move {
                    Ok(match answer.await {
                        Answer::Value => Observed::AsWanted(()),
                        Answer::NotYet if differs => Observed::Differs(()),
                        Answer::NotYet => Observed::NotYet,
                        Answer::Because(error) => Observed::NotYetBecause(error),
                        Answer::Dead(error) => Observed::Fatal(error),
                        Answer::Fails(error) => return Err(error),
                    })
                }
            };
            let act = move |()| {
                let answer = attempt(id, current.get().expect("a look was before"), true);
                async move { if let Answer::Fails(error) = answer.await { Err(error) } else { Ok(()) } }
            };
            run!(ensure(look, act), id, policy, run);
        }),
        _ => actors::spawn(kind, cursor(id, policy, run)),
    };
}

/// The loop form, with waits, turns and attempts dropped half-way.
async fn cursor(id: usize, policy: Policy, known: Run) {
    let shared = shared();
    let token = known.tokens[0].map_or_else(CancellationToken::new, |token| shared.tokens[token].clone());
    let run = changing::cursor(&policy).when(classify(id)).cancel_on(token);
    let run = shares!(run, known, shared);
    drop(shared);
    let mut run = run.notify(move |event: &Event<'_, E>| runs::heard(id, event));
    let began = now();
    with(|world| world.runs[id].began = Some(began));
    let drops = |of: u8| with(|world| world.hostile.drops && !world.quiet && world.rng.u8(0..of) == 0);
    loop {
        run = changing::begun(id, run);
        let next = {
            let mut next = pin!(run.next());
            poll_fn(|cx| match next.as_mut().poll(cx) {
                Poll::Pending if drops(3) => Poll::Ready(None),
                polled => polled.map(Some),
            })
            .await
        };
        match next {
            None => {
                note("run", id, "next() was dropped", 0);
                runs::left(id);
                if drops(2) {
                    sleep(ms(50)).await;
                }
            }
            Some(Ok(turn)) => {
                if drops(8) {
                    note("run", id, "turn was dropped", 0);
                    runs::was_cut(id, false);
                    continue;
                }
                let info = turn.info();
                trouble("turn of run", id);
                let call = async move {
                    let answer = attempt(id, info, false);
                    if let Answer::Fails(error) = answer.await { Err(error) } else { Ok(()) }
                };
                let value = {
                    let mut attempt = pin!(turn.run(call));
                    poll_fn(|cx| match attempt.as_mut().poll(cx) {
                        Poll::Pending if drops(8) => Poll::Ready(None),
                        polled => polled,
                    })
                    .await
                };
                if value.is_some() {
                    ends::ended(id, &Ok(()));
                    break;
                }
            }
            Some(Err(gave_up)) => {
                let stop = gave_up.stop().clone();
                ends::ended::<()>(id, &Err(gave_up));
                // Asked again, it says so again.
                match run.next().await {
                    Ok(_) => require(false, "nothing starts after the end", || format!("{}: a turn", runs::name(id))),
                    Err(again) => {
                        let not_ready = matches!(again.last(), relent::Last::NotReady);
                        require(*again.stop() == stop && !not_ready, "asked again, it says so again", || {
                            format!("{}: {again}", runs::name(id))
                        });
                    }
                }
                break;
            }
        }
    }
    pending::<()>().await;
}
