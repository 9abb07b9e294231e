//! The record that all members keep: what it says, and how it is written.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use super::shares::{self, Share};
use crate::policy::{
    config_error::ConfigError,
    limit::rate::Rate,
    nanos::{self, Written, decimal},
};

/// One limit, and which member has which share of it. Its text is made for `etcdctl get` and `kubectl edit`:
///
/// ```text
/// relent fleet 1
/// rate 200/s
/// burst 50
/// settled 9f86d081884c7d65 write 17
/// member web-1_5f3a share 66.5/s burst 17 want 80/s ttl 10s states 100/s burst 100 beat 43e1f2a09b77c3d8
/// ```
///
/// `rate` and `burst` are an operator's word, and go over what the members state. Without them (they may be missing,
/// and are at first) the smallest that any member states is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Set by hand, in billionths of a permit per second.
    pub rate: Option<u64>,
    /// Set by hand.
    pub burst: Option<u32>,
    /// Changes when the record is laid down anew.
    pub generation: u64,
    /// Whether all shares that are in use are in it. Otherwise members bring in what they hold.
    pub settled: bool,
    /// How many writes there were in this generation.
    pub writes: u64,
    /// In the order in which they joined.
    pub members: Vec<Entry>,
}

/// What the record says of a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Another for each run of a process.
    pub id: Arc<str>,
    /// Its part of the limit.
    pub share: Share,
    /// What it could use, in billionths of a permit per second.
    pub want: u64,
    /// How long its beat has to stand still before others take its share.
    pub ttl: u64,
    /// What it takes the limit for.
    pub states: Share,
    /// Changes with each of its writes.
    pub beat: u64,
}

impl Record {
    /// An empty one that no member holds a share of: for a first deployment.
    #[must_use]
    pub fn settled() -> Self {
        Self { settled: true, ..Self::default() }
    }

    /// What the record says of this member.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<&Entry> {
        self.members.iter().find(|member| &*member.id == id)
    }

    /// The limit in force: the operator's word, or else the smallest that any member states.
    #[must_use]
    pub fn limit(&self) -> Share {
        let stated = |part: fn(&Entry) -> u64| self.members.iter().map(part).min().unwrap_or(0);
        let rate = self.rate.unwrap_or_else(|| stated(|member| member.states.rate));
        let burst = stated(|member| member.states.burst.into());
        let burst = self.burst.unwrap_or_else(|| u32::try_from(burst).unwrap_or(u32::MAX));
        Share { rate, burst }
    }

    /// The part of the limit that the member at `index` should have. The rate is shared by wants, the burst evenly.
    /// Each needs a burst of one: the members beyond the burst, those that came last, have nothing.
    #[must_use]
    pub fn target(&self, index: usize) -> Share {
        let limit = self.limit();
        let served = usize::try_from(limit.burst).unwrap_or(usize::MAX).min(self.members.len());
        if index >= served {
            return Share::NONE;
        }
        let wants = self.members.iter().take(served).map(|member| member.want);
        let rate = shares::max_min(limit.rate, &wants, index);
        let in_order = |number| u64::try_from(number).unwrap_or(u64::MAX);
        let burst = shares::part(limit.burst.into(), in_order(served), in_order(index));
        Share { rate, burst: u32::try_from(burst).unwrap_or(u32::MAX) }.usable()
    }

    /// What the limit leaves the member at `index` when all others keep what they have.
    #[must_use]
    pub fn left_for(&self, index: usize) -> Share {
        let mut left = self.limit();
        for (_, other) in self.members.iter().enumerate().filter(|(at, _)| *at != index) {
            left.rate = left.rate.saturating_sub(other.share.rate);
            left.burst = left.burst.saturating_sub(other.share.burst);
        }
        left.usable()
    }
}

/// So many permits a second, exactly: `33.333333333/s`.
struct PerSecond(u64);

impl fmt::Display for PerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WHOLE: u64 = 1_000_000_000;
        let places = format!("{:09}", self.0 % WHOLE);
        match places.trim_end_matches('0') {
            "" => write!(f, "{}/s", self.0 / WHOLE),
            places => write!(f, "{}.{places}/s", self.0 / WHOLE),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "relent fleet 1")?;
        if let Some(rate) = self.rate {
            writeln!(f, "rate {}", PerSecond(rate))?;
        }
        if let Some(burst) = self.burst {
            writeln!(f, "burst {burst}")?;
        }
        let settled = if self.settled { "settled" } else { "unsettled" };
        writeln!(f, "{settled} {:016x} write {}", self.generation, self.writes)?;
        for Entry { id, share, want, ttl, states, beat } in &self.members {
            writeln!(
                f,
                "member {id} share {} burst {} want {} ttl {} states {} burst {} beat {beat:016x}",
                PerSecond(share.rate),
                share.burst,
                PerSecond(*want),
                Written(nanos::duration(*ttl)),
                PerSecond(states.rate),
                states.burst,
            )?;
        }
        Ok(())
    }
}

/// Strict, but for empty lines and lines that begin with `#`; those are gone with the next write.
impl FromStr for Record {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let wrong = |line: &str, rule: &str| ConfigError::new("record", format!("`{line}`"), rule);
        match lines.next() {
            Some("relent fleet 1") => {}
            first => return Err(wrong(first.unwrap_or_default(), "its first line must be `relent fleet 1`")),
        }
        let mut record = Self::default();
        let (mut has_state, mut ids) = (false, BTreeSet::new());
        for line in lines {
            let mut words = line.split_whitespace();
            let known = match words.next() {
                Some("rate") if record.rate.is_none() => {
                    words.next().and_then(any_rate).map(|rate| record.rate = Some(rate))
                }
                Some("burst") if record.burst.is_none() => number(&mut words).map(|burst| record.burst = Some(burst)),
                Some(word @ ("settled" | "unsettled")) if !has_state => {
                    has_state = true;
                    record.settled = word == "settled";
                    match words.next() {
                        None => Some(()),
                        Some(generation) => u64::from_str_radix(generation, 16).ok().and_then(|generation| {
                            record.generation = generation;
                            keyed(&mut words, "write").and_then(|text| text.parse().ok()).map(|at| record.writes = at)
                        }),
                    }
                }
                Some("member") => member(&mut words)
                    .filter(|new| ids.insert(new.id.clone()))
                    .map(|member| record.members.push(member)),
                _ => None,
            };
            if known.is_none() || words.next().is_some() {
                return Err(wrong(
                    line,
                    "a line must be `rate 100/s`, `burst 10`, `settled ..` or `member ..`, each given once",
                ));
            }
        }
        if has_state { Ok(record) } else { Err(wrong("", "it must say `settled` or `unsettled`")) }
    }
}

fn member<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Entry> {
    let id = words.next()?.into();
    let rate = keyed(words, "share").and_then(per_second)?;
    let share = Share { rate, burst: keyed(words, "burst")?.parse().ok()? };
    let want = keyed(words, "want").and_then(per_second)?;
    let ttl = nanos::nanos(nanos::parse("ttl", keyed(words, "ttl")?).ok()?);
    let rate = keyed(words, "states").and_then(per_second)?;
    let states = Share { rate, burst: keyed(words, "burst")?.parse().ok()? };
    let beat = u64::from_str_radix(keyed(words, "beat")?, 16).ok()?;
    Some(Entry { id, share, want, ttl, states, beat })
}

fn keyed<'a>(words: &mut impl Iterator<Item = &'a str>, key: &str) -> Option<&'a str> {
    words.next().filter(|word| *word == key)?;
    words.next()
}

fn number<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<u32> {
    words.next()?.parse().ok()
}

/// As a person writes it.
fn any_rate(text: &str) -> Option<u64> {
    per_second(text).or_else(|| {
        let rate: Rate = text.parse().ok().filter(|rate: &Rate| !rate.is_unlimited())?;
        Some(shares::billionths(rate))
    })
}

fn per_second(text: &str) -> Option<u64> {
    let (whole, places) = decimal(text.strip_suffix("/s")?)?;
    if places.len() > 9 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?;
    whole.checked_add(format!("{places:0<9}").parse().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share() -> impl Strategy<Value = Share> {
        any::<(u64, u32)>().prop_map(|(rate, burst)| Share { rate, burst })
    }

    prop_compose! {
        fn entry()(id in "[a-z0-9._-]{1,20}", share in share(), states in share(), want: u64, ttl: u64, beat: u64) -> Entry {
            Entry { id: id.into(), share, want, ttl, states, beat }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            rate: Option<u64>, burst: Option<u32>, generation: u64, settled: bool, writes: u64,
            mut members in prop::collection::vec(entry(), 0..5),
        ) {
            members.sort_by(|a, b| a.id.cmp(&b.id));
            members.dedup_by(|a, b| a.id == b.id);
            let record = Record { rate, burst, generation, settled, writes, members };
            prop_assert_eq!(record.to_string().parse::<Record>().unwrap(), record);
        }

        #[test]
        fn targets_are_the_limit(members in prop::collection::vec(entry(), 1..9), limit in any::<(u64, u8)>()) {
            let record = Record { rate: Some(limit.0), burst: Some(limit.1.into()), members, ..Record::settled() };
            let targets: Vec<_> = (0..record.members.len()).map(|index| record.target(index)).collect();
            let rate: u128 = targets.iter().map(|share| u128::from(share.rate)).sum();
            let burst: u32 = targets.iter().map(|share| share.burst).sum();
            prop_assert!(rate <= limit.0.into() && burst <= limit.1.into());
            if targets.iter().all(|share| share.rate > 0) {
                prop_assert_eq!((rate, burst), (limit.0.into(), limit.1.into()));
            }
        }

        #[test]
        fn nonsense_is_an_error_and_no_panic(text in "(relent fleet 1\n)?((rate|burst|settled|member|[a-z0-9/.]{0,5}) ?){0,8}") {
            let _ = text.parse::<Record>();
        }
    }

    #[test]
    fn written_by_hand() {
        let record: Record = "relent fleet 1\n# ours\nrate 90/m\nsettled\n".parse().unwrap();
        assert_eq!(record, Record { rate: Some(1_500_000_000), ..Record::settled() });
        assert_eq!("relent fleet 1\nsettled".parse::<Record>().unwrap(), Record::settled());
        for text in [
            "",
            "relent fleet 2\nsettled",
            "relent fleet 1",
            "relent fleet 1\nsettled\nsettled",
            "relent fleet 1\nsettled\nrate -1/s",
        ] {
            assert!(text.parse::<Record>().is_err(), "{text}");
        }
        let error = "relent fleet 1\nsettled\nrate fast".parse::<Record>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "record `rate fast`: a line must be `rate 100/s`, `burst 10`, `settled ..` or `member ..`, each given once"
        );
    }
}
