//! A plan as a picture for a terminal of 80 columns.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use crate::policy::{
    nanos::{FOREVER, Short, duration},
    plan::{
        Course, Finish, Plan,
        warning::{is_endless, setting_of},
    },
};

/// How wide a timeline is.
const WIDTH: usize = 70;
/// How wide a line of text is.
const LINE: usize = 79;
/// How much of one that goes on is left for saying so.
const TAIL: usize = 4;
/// So many attempts are shown of one that does not stop.
const SHOWN: usize = 12;

/// The policy, a timeline for each case, the longest that it may take, and warnings. `|` is a start (`#`: several), `=`
/// a call that runs, `x` where it is cut, `.` a pause, `~` a wait for the limiter, `!` its refusal, `>` that it goes
/// on.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.policy().to_string();
        // A line ends behind a comma, unless a setting is longer than a line.
        wrapped(
            f,
            "",
            policy.split_inclusive(", ").flat_map(|setting| {
                let words = if setting.len() < LINE { vec![setting] } else { setting.split(' ').collect() };
                words.into_iter().map(str::trim_end).filter(|word| !word.is_empty())
            }),
        )?;
        if let Some((rate, burst)) = self.limiter() {
            writeln!(f, "limiter: {rate}, burst {burst}, for this run alone")?;
        }
        let is_spread = self.best() != self.longest_pauses();
        let pauses = if is_spread { ", longest pauses" } else { "" };
        self.write_course(f, &format!("calls fail at once{pauses}"), self.longest_pauses())?;
        if is_spread {
            match self.best() {
                best if best.over() == 0 => sentence(f, "jitter may make each pause shorter, down to none")?,
                best => sentence(f, &format!("shortest pauses: {}", self.summary(best)))?,
            }
        }
        if !self.worst().spans.is_empty() {
            let until = if self.worst().finish == Finish::Hangs { "" } else { " until they are cut" };
            self.write_course(f, &format!("calls hang{until}"), self.worst())?;
        }
        f.write_char('\n')?;
        sentence(f, &self.at_worst())?;
        if let Some(saved) = self.saved_by_budget() {
            f.write_char('\n')?;
            sentence(f, &saved)?;
        }
        for warning in self.warnings() {
            f.write_char('\n')?;
            sentence(f, &format!("warning: {warning}"))?;
        }
        Ok(())
    }
}

impl Plan {
    fn write_course(&self, f: &mut fmt::Formatter<'_>, case: &str, course: &Course) -> fmt::Result {
        f.write_char('\n')?;
        sentence(f, &format!("{case}: {}", self.summary(course)))?;
        match course.waits.iter().filter(|&&wait| wait > 0).count() {
            0 => {}
            some => {
                let longest = course.waits.iter().max().copied().unwrap_or(0);
                let which = if some == course.attempts() { "each".to_owned() } else { format!("{some} of them") };
                if course.attempts() > 1 {
                    let longest = Short(duration(longest));
                    sentence(f, &format!("{which} waits for the limiter, up to {longest}"))?;
                }
            }
        }
        if course.spans.is_empty() {
            return Ok(());
        }
        let (bar, labels) = picture(course);
        writeln!(f, "  {bar}")?;
        writeln!(f, "  {labels}")
    }

    /// How many attempts, and how it goes out.
    fn summary(&self, course: &Course) -> String {
        let attempts = match course.attempts() {
            1 => "1 attempt".to_owned(),
            many => format!("{many} attempts"),
        };
        let over = match course.over() {
            0 => "at once".to_owned(),
            over => format!("at {}", Short(duration(over))),
        };
        match course.finish {
            Finish::Stops(why) if course.spans.is_empty() => format!("no attempt, by {}", setting_of(why)),
            Finish::Stops(why) => format!("{attempts}, ended {over} by {}", setting_of(why)),
            Finish::Limiter { ready_in, allowed } => {
                let left = Short(allowed);
                let permit = match ready_in {
                    Duration::MAX => "there is no further permit".to_owned(),
                    takes => format!("the next permit takes {}, and {left} is left", Short(takes)),
                };
                let attempts = if course.spans.is_empty() { "no attempt".to_owned() } else { attempts };
                format!("{attempts}, ended {over} by the limiter: {permit}")
            }
            Finish::Starves => format!("{attempts}, then no permit ever again"),
            Finish::Hangs => "the first attempt never ends".to_owned(),
            Finish::Waits => format!("{attempts}, then a pause without end"),
            Finish::GoesOn if self.worst_total().is_none() && is_endless(self.policy()) => {
                "attempts without end".to_owned()
            }
            Finish::GoesOn => format!("more than {attempts}"),
        }
    }

    /// What a budget keeps off a server on which all runs fail.
    fn saved_by_budget(&self) -> Option<String> {
        const RUNS: u64 = 100;
        let (ratio, reserve) = self.budget()?;
        let each = u64::try_from(self.best().attempts()).unwrap_or(u64::MAX).saturating_sub(1);
        let (gained, wanted) = (ratio.of(RUNS), RUNS.saturating_mul(each));
        let allowed = gained.saturating_add(reserve.into());
        if allowed >= wanted && self.best().finish != Finish::GoesOn {
            return Some(format!("the budget refuses none of the {wanted} retries of {RUNS} runs that all fail"));
        }
        let more = if self.best().finish == Finish::GoesOn { "more than " } else { "" };
        Some(format!(
            "when all fail, {RUNS} runs make at most {allowed} retries instead of {more}{wanted}: \
             {gained} by the budget, {reserve} from its reserve"
        ))
    }

    fn at_worst(&self) -> String {
        let bounds = self.policy().bounds();
        let (own, window, hard) = (bounds.attempt_timeout, bounds.start_within, bounds.finish_within);
        let Some(total) = self.worst_total() else {
            return match (self.best().finish, own) {
                (Finish::Waits, _) => "nothing bounds how long it takes: a pause has no end",
                (_, FOREVER) => "nothing bounds how long it takes: a call may hang",
                _ => "nothing bounds how long it takes",
            }
            .to_owned();
        };
        let total = Short(total);
        match () {
            () if self.best().spans.is_empty() => "nothing is attempted".to_owned(),
            () if total.0 == duration(hard) => format!("at worst it takes {total}: finish_within"),
            () if total.0 == duration(window.saturating_add(own)) && window != 0 => {
                let (window, own) = (Short(duration(window)), Short(duration(own)));
                format!("at worst it takes {total}: a call may start at {window} and run for {own}")
            }
            () if own == 0 || own == FOREVER => format!("at worst it takes {total}"),
            () => {
                let asked = match self.policy().most_asked() {
                    FOREVER => String::new(),
                    asked => format!(" and every pause be {}", Short(duration(asked))),
                };
                format!("at worst it takes {total}: every call may run for {}{asked}", Short(duration(own)))
            }
        }
    }
}

/// The line of a course, and the times below it.
fn picture(course: &Course) -> (String, String) {
    let stops = course.stops();
    let refused = matches!(course.finish, Finish::Limiter { .. });
    let shown = if stops { course.attempts() } else { course.attempts().min(SHOWN) };
    let spans = course.spans.get(..shown).unwrap_or_default();
    let width = if stops { WIDTH } else { WIDTH.saturating_sub(TAIL) };
    // The last instant that is known.
    let known = spans.iter().flat_map(|&(start, end)| [start, end]).filter(|&at| at != FOREVER);
    let last = known.chain(refused.then(|| course.over())).max().unwrap_or(0);
    let column = |at: u64| {
        let most = u128::try_from(width.saturating_sub(1)).unwrap_or(0);
        let half = u128::from(last).checked_div(2).unwrap_or(0);
        let scaled = u128::from(at.min(last)).saturating_mul(most).saturating_add(half).checked_div(last.into());
        usize::try_from(scaled.unwrap_or(0)).unwrap_or(0)
    };
    let mut bar = vec![' '; WIDTH];
    fill(&mut bar, 0, column(last), '.');
    for (&(start, _), &wait) in spans.iter().zip(&course.waits) {
        fill(&mut bar, column(start.saturating_sub(wait)), column(start), '~');
    }
    for &(start, end) in spans {
        let to = if end == FOREVER { WIDTH } else { column(end) };
        fill(&mut bar, column(start), to, '=');
        if end != FOREVER && end > start {
            // Where the next starts at once, the cut is drawn just before.
            let next = spans.iter().any(|&(other, _)| other > start && column(other) == to);
            put(&mut bar, to.saturating_sub(usize::from(next)), 'x');
        }
        fill(&mut bar, to.saturating_add(1), to.saturating_add(1), '.');
    }
    let mut starts: Vec<usize> = Vec::new();
    for &(start, _) in spans {
        let at = column(start);
        put(&mut bar, at, if starts.last() == Some(&at) { '#' } else { '|' });
        starts.push(at);
    }
    if !stops {
        let from = column(last).saturating_add(1);
        if course.finish != Finish::Hangs {
            // Without any pause, what goes on is starts.
            fill(&mut bar, from, WIDTH, if last == 0 && spans.len() > 1 { '#' } else { '.' });
        }
        put(&mut bar, WIDTH.saturating_sub(1), '>');
    }
    let mut times: Vec<(usize, u64)> = starts.into_iter().zip(spans.iter().map(|&(start, _)| start)).collect();
    if refused && !starts_at(spans, last) {
        put(&mut bar, column(last), '!');
    }
    if refused || spans.iter().any(|&(_, end)| end == last) {
        times.push((column(last), last));
    }
    if times.first().is_some_and(|&(column, _)| column > 0) && bar.first() == Some(&'~') {
        times.insert(0, (0, 0));
    }
    (bar.into_iter().collect::<String>().trim_end().to_owned(), labels(&times))
}

fn starts_at(spans: &[(u64, u64)], at: u64) -> bool {
    spans.iter().any(|&(start, _)| start == at)
}

fn put(bar: &mut [char], at: usize, mark: char) {
    if let Some(place) = bar.get_mut(at) {
        *place = mark;
    }
}

fn fill(bar: &mut [char], from: usize, to: usize, mark: char) {
    bar.iter_mut().take(to).skip(from).for_each(|place| *place = mark);
}

/// The times below a line: the first, the last, and those between for which there is room.
fn labels(times: &[(usize, u64)]) -> String {
    let label = |at: u64| if at == 0 { "0".to_owned() } else { Short(duration(at)).to_string() };
    let mut line = String::new();
    let mut used = 0_usize;
    let Some((&last, before)) = times.split_last() else { return line };
    let ending = label(last.1);
    // The last one ends below its mark where there is room for it.
    let place = |column: usize, length: usize| column.min(WIDTH.saturating_sub(length));
    let reserved = place(last.0, ending.chars().count());
    let mut shown = None;
    for &(column, at) in before {
        let text = label(at);
        let length = text.chars().count();
        let fits = column.saturating_add(length) < reserved && (used == 0 || column > used);
        if fits && shown != Some(at) {
            pad(&mut line, &mut used, column);
            line.push_str(&text);
            used = used.saturating_add(length);
            shown = Some(at);
        }
    }
    if shown != Some(last.1) {
        pad(&mut line, &mut used, reserved);
        line.push_str(&ending);
    }
    line
}

fn pad(line: &mut String, used: &mut usize, to: usize) {
    while *used < to {
        line.push(' ');
        *used = used.saturating_add(1);
    }
}

fn sentence(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    wrapped(f, "  ", text.split(' '))
}

/// Writes words in lines of less than 80 columns.
fn wrapped<'a>(f: &mut fmt::Formatter<'_>, indent: &str, words: impl Iterator<Item = &'a str>) -> fmt::Result {
    let mut used = 0_usize;
    for word in words {
        let length = word.chars().count();
        if used == 0 {
            write!(f, "{indent}{word}")?;
            used = indent.len().saturating_add(length);
        } else if used.saturating_add(length) < LINE {
            write!(f, " {word}")?;
            used = used.saturating_add(length).saturating_add(1);
        } else {
            write!(f, "\n{indent}{word}")?;
            used = indent.len().saturating_add(length);
        }
    }
    f.write_char('\n')
}
