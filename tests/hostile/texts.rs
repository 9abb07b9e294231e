//! What is written is read back, what is read is read strictly, and no sentence tells a number that is none.

use std::time::Duration;

use fastrand::Rng;
use relent::{Backoff, Decision, Jitter, Policy, Rate, Ratio};

use super::world::{require, with};

/// A number that stands for never, or for all there are, is no number to tell an operator.
pub fn tells_real_numbers(text: &str) {
    let (mut digits, mut behind) = (0, false);
    for letter in text.chars() {
        // What is behind a point is exact and no more.
        behind = letter == '.' || (behind && letter.is_ascii_digit());
        digits = if letter.is_ascii_digit() && !behind { digits + 1 } else { 0 };
        require(digits < 7, "a sentence tells real numbers", || text.to_owned());
    }
}

/// Some texts of each case.
pub fn are_read_back() {
    let mut rng = with(|world| world.rng.fork());
    policy(&some_policy(&mut rng));
    decision(Decision::RetryAfter(some_duration(&mut rng)));
    let (mut ratio, mut span) = (some_ratio(&mut rng), some_span(&mut rng));
    for _ in 0..3 {
        numbers(&ratio, &span);
        (ratio, span) = (garbled(&mut rng, ratio), garbled(&mut rng, span));
    }
}

fn policy(policy: &Policy) {
    let text = policy.to_string();
    let read = text.parse::<Policy>();
    require(read.as_ref() == Ok(policy), "what is written is read back", || format!("(text) {text}: {read:?}"));
    let map = serde_json::to_string(policy).unwrap();
    let same = serde_json::from_str::<Policy>(&map).is_ok_and(|read| read == *policy);
    require(same, "what is written is read back", || format!("(serde) {map}"));
    // What it comes to is the same.
    let plans = read.map(|read| read.plan().to_string());
    require(plans.as_ref() == Ok(&policy.plan().to_string()), "what is written is read back", || {
        format!("(plan) {text}: {plans:?}")
    });
}

fn decision(decision: Decision) {
    let text = decision.to_string();
    let read = text.parse::<Decision>();
    require(read.as_ref() == Ok(&decision), "what is written is read back", || format!("(decision) {text}: {read:?}"));
    let said = serde_json::to_string(&decision).unwrap();
    let same = serde_json::from_str::<Decision>(&said).is_ok_and(|read| read == decision);
    require(same, "what is written is read back", || format!("(decision) {said}"));
}

/// A ratio and a span, right or not: the crate reads exactly what the naive reader does.
fn numbers(ratio: &str, span: &str) {
    let read = ratio.parse::<Ratio>().ok().map(|read| (read.numerator(), read.denominator().get()));
    require(read == naive_ratio(ratio), "numbers are read strictly", || {
        format!("(ratio) {ratio:?}: {read:?}, naively {:?}", naive_ratio(ratio))
    });
    // A policy asks for spans without `forever` in disguise.
    let read = format!("every {span}").parse::<Policy>();
    let naive = naive_span(span);
    let same = match (&read, naive) {
        (Ok(read), Some(nanos)) => *read == Policy::new().every(Duration::from_nanos(nanos)),
        (read, naive) => read.is_err() && naive.is_none(),
    };
    require(same, "numbers are read strictly", || format!("(span) {span:?}: {read:?}, naively {naive:?}"));
}

/// Digits, and behind a point more digits: all of them, and how many are behind.
fn naive_decimal(text: &str) -> Option<(u128, u32)> {
    let (mut all, mut places, mut point, mut before) = (0_u128, 0, false, 0);
    for letter in text.chars() {
        match letter {
            '0'..='9' => {
                all = all.checked_mul(10)?.checked_add(u128::from(letter as u32 - '0' as u32))?;
                if point { places += 1 } else { before += 1 }
            }
            '.' if !point => point = true,
            _ => return None,
        }
    }
    (before > 0 && (!point || places > 0)).then_some((all, places))
}

fn naive_ratio(text: &str) -> Option<(u32, u32)> {
    let text = text.trim();
    let (mut above, mut below) = if let Some((above, below)) = text.split_once('/') {
        let whole = |text: &str| naive_decimal(text).filter(|(_, places)| *places == 0 && !text.contains('.'));
        (whole(above.trim_end())?.0, whole(below.trim_start())?.0)
    } else {
        let (number, hundred) = text.strip_suffix('%').map_or((text, 1), |number| (number, 100));
        let (all, places) = naive_decimal(number)?;
        (all, 10_u128.checked_pow(places)?.checked_mul(hundred)?)
    };
    // Each part as written must fit, before it is reduced.
    if above > u32::MAX.into() || below > u32::MAX.into() || below == 0 {
        return None;
    }
    let (mut a, mut b) = (above, below);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    (above, below) = (above / a, below / a);
    Some((above as u32, below as u32))
}

/// Numbers with units, side by side or with spaces between: nanoseconds.
fn naive_span(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u128;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(end);
        let units = [
            ("ns", 1),
            ("us", 1000),
            ("\u{b5}s", 1000),
            ("\u{3bc}s", 1000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
            ("d", 86_400_000_000_000_u128),
        ];
        let end = tail.find(|letter: char| letter.is_ascii_digit() || letter.is_whitespace()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let (_, unit) = units.into_iter().find(|(name, _)| *name == unit)?;
        let (all, places) = naive_decimal(number)?;
        let scale = 10_u128.checked_pow(places)?;
        // Whole nanoseconds only.
        if all.checked_mul(unit)? % scale != 0 {
            return None;
        }
        total += all * unit / scale;
        rest = tail.trim_start();
    }
    u64::try_from(total).ok().filter(|nanos| *nanos < u64::MAX)
}

/// One letter more, less or another one.
fn garbled(rng: &mut Rng, text: String) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let letter =
        *rng.choice(&[' ', '+', '-', '.', '_', ',', 'e', '0', '5', '%', '/', 's', '\u{661}', '\u{3bc}']).unwrap();
    let at = rng.usize(0..=letters.len());
    match rng.u8(0..3) {
        0 if at < letters.len() => drop(letters.remove(at)),
        1 if at < letters.len() => letters[at] = letter,
        _ => letters.insert(at, letter),
    }
    letters.into_iter().collect()
}

fn some_ratio(rng: &mut Rng) -> String {
    let number = |rng: &mut Rng| match rng.u8(0..3) {
        0 => rng.u32(..),
        1 => rng.u32(0..200),
        _ => rng.u32(1..4),
    };
    match rng.u8(0..4) {
        0 => format!("{}/{}", number(rng), number(rng)),
        1 => format!("{}.{}", rng.u32(0..9), rng.u32(0..999)),
        2 => format!("{}%", number(rng)),
        _ => number(rng).to_string(),
    }
}

fn some_span(rng: &mut Rng) -> String {
    let unit = |rng: &mut Rng| *rng.choice(&["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h", "d"]).unwrap();
    match rng.u8(0..4) {
        0 => format!("{}{}{}{}", rng.u32(0..99), unit(rng), rng.u32(0..99), unit(rng)),
        1 => format!("{}.{}{}", rng.u32(0..9), rng.u32(0..999), unit(rng)),
        _ => format!("{}{}", rng.u32(0..99_999), unit(rng)),
    }
}

/// Short, long, or longer than any clock can show.
pub fn some_duration(rng: &mut Rng) -> Duration {
    match rng.u8(0..6) {
        0 => Duration::ZERO,
        1 => Duration::from_nanos(rng.u64(..)),
        2 => Duration::new(rng.u64(..), rng.u32(0..1_000_000_000)),
        3 => Duration::MAX,
        _ => Duration::from_millis(rng.u64(0..100_000)),
    }
}

fn some_backoff(rng: &mut Rng) -> Backoff {
    let mut backoff = match rng.u8(0..6) {
        0 => Backoff::fixed(some_duration(rng)),
        1 => Backoff::exponential(some_duration(rng), some_duration(rng)),
        2 => Backoff::linear(some_duration(rng), some_duration(rng)),
        3 => Backoff::fibonacci(some_duration(rng), some_duration(rng)),
        4 => Backoff::decorrelated(some_duration(rng), some_duration(rng)),
        _ => Backoff::steps((0..rng.usize(0..4)).map(|_| some_duration(rng)).collect::<Vec<_>>()),
    };
    let ratio = |rng: &mut Rng| Ratio::new(rng.u32(0..50), rng.u32(1..50)).unwrap();
    if rng.u8(0..3) == 0 {
        backoff = backoff.factor(ratio(rng));
    }
    if rng.bool() {
        backoff = backoff.jitter(match rng.u8(0..5) {
            0 => Jitter::None,
            1 => Jitter::Full,
            2 => Jitter::Equal,
            3 => Jitter::Plus(ratio(rng)),
            _ => Jitter::PlusMinus(ratio(rng)),
        });
    }
    if rng.u8(0..3) == 0 {
        backoff = backoff.take(rng.u32(0..9));
    }
    if rng.u8(0..3) == 0 {
        backoff = backoff.reset_after(some_duration(rng));
    }
    if rng.u8(0..3) == 0 {
        backoff = backoff.seed(rng.u64(..));
    }
    backoff
}

fn some_policy(rng: &mut Rng) -> Policy {
    let mut policy = Policy::new();
    let yes = |of: u8| with(|world| world.rng.u8(0..of) == 0);
    if yes(2) {
        policy = policy.every(some_duration(rng));
    }
    if yes(2) {
        let mut backoff = some_backoff(rng);
        // A chain of any length.
        for _ in 0..if yes(50) { 3000 } else { rng.u8(0..3).into() } {
            backoff = backoff.then(Backoff::fixed(Duration::from_millis(rng.u64(0..50))).take(rng.u32(0..3)));
        }
        policy = policy.backoff(backoff);
    }
    if yes(2) {
        policy = policy.attempt_timeout(some_duration(rng));
    }
    if yes(3) {
        policy = policy.start_within(some_duration(rng));
    }
    if yes(3) {
        policy = policy.finish_within(some_duration(rng));
    }
    if yes(3) {
        policy = policy.max_attempts(if yes(2) { rng.u32(0..9) } else { rng.u32(..) });
    }
    if yes(4) {
        policy = policy.max_retry_after(some_duration(rng));
    }
    policy = if yes(4) { policy.final_try() } else { policy };
    policy = if yes(4) { policy.delay_first() } else { policy };
    policy = if yes(4) { policy.random_phase() } else { policy };
    policy = if yes(4) { policy.share_retry_after() } else { policy };
    if yes(4) {
        let after = some_duration(rng);
        policy = policy.on_cut(if yes(2) { Decision::Fatal } else { Decision::RetryAfter(after) });
    }
    policy
}

/// A rate, read back.
pub fn rate(rate: Rate) {
    let text = rate.to_string();
    let read = text.parse::<Rate>();
    require(read.as_ref() == Ok(&rate), "what is written is read back", || format!("(rate) {text}: {read:?}"));
}
