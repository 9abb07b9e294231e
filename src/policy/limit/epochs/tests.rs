//! Epochs against a bucket that is changed each time.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use super::*;

fn rates() -> impl Strategy<Value = Rate> + Clone {
    let rate = |(permits, per)| Rate::new(permits, Duration::from_nanos(per)).unwrap();
    prop_oneof![
        6 => (0_u32..4, 1_u64..20).prop_map(rate),
        2 => (any::<u32>(), 1_u64..u64::MAX).prop_map(rate),
        1 => Just(Rate::UNLIMITED),
    ]
}

fn bursts() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0_u32..6, 1 => any::<u32>()]
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Take(u32),
    Change(Rate, u32),
    Changes(u8, Rate, u32, u64),
    Tag,
    Look,
    Carry,
}

fn steps(rates: impl Strategy<Value = Rate> + Clone, many: u8) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![8 => 0_u64..30, 1 => 0_u64..1 << 40].prop_map(Step::Pass),
        6 => (0_u32..4).prop_map(Step::Take),
        2 => (rates.clone(), bursts()).prop_map(|(rate, burst)| Step::Change(rate, burst)),
        1 => (0..=many, rates, bursts(), 0_u64..3).prop_map(|(n, rate, burst, time)| Step::Changes(n, rate, burst, time)),
        1 => Just(Step::Tag),
        2 => Just(Step::Look),
        1 => Just(Step::Carry),
    ]
}

/// A word, and the bucket that is changed each time.
struct Pair {
    epochs: Epochs,
    word: Option<u64>,
    eager: Bucket,
    now: u64,
}

impl Pair {
    fn new(rate: Rate, burst: u32) -> Self {
        let (now, epochs, mut eager) = (1_u64 << 60, Epochs::new(rate, burst), Bucket::new(rate, burst));
        eager.refill(now);
        eager.clamp();
        Self { epochs, word: None, eager, now }
    }

    fn pass(&mut self, time: u64) {
        self.now += time;
        self.eager.refill(self.now);
        self.eager.clamp();
    }

    fn change(&mut self, rate: Rate, burst: u32) {
        let full = self.eager.is_full();
        self.epochs.change(self.now, rate, burst);
        self.eager.set_rate(rate);
        self.eager.set_burst(burst);
        if full {
            self.eager.fill();
        }
        self.eager.clamp();
        assert!(self.epochs.recent.len() <= EXACT);
    }

    /// By the word, where that can tell, and by the bucket.
    fn take(&mut self, permits: Option<u32>) -> Result<(), TestCaseError> {
        let Self { epochs, now, .. } = self;
        let now = *now;
        if epochs.at(now).is_none() {
            let can_pack = epochs.can_pack();
            prop_assert_eq!(epochs.tag(now), can_pack);
        }
        let moment = epochs.at(now);
        let mut bucket = self.word.map_or_else(|| epochs.full().clone(), |word| epochs.unpack(word));
        bucket.refill(now);
        bucket.clamp();
        let next = u64::from(self.eager.available()) + 1;
        prop_assert_eq!(bucket.available(), self.eager.available());
        prop_assert_eq!(bucket.ready_at(next), self.eager.ready_at(next));
        let Some(permits) = permits else { return Ok(()) };
        let known = self.word.filter(|word| epochs.is_current(*word));
        let fast = known.zip(moment).map(|(word, moment)| epochs.take(moment, word, permits));
        let taken = bucket.try_take(permits);
        prop_assert_eq!(taken, self.eager.try_take(permits));
        match fast {
            Some(Ok(after)) => {
                prop_assert!(taken);
                self.word = Some(after);
            }
            refused => match refused.and_then(|refused| epochs.ready_in(refused.unwrap_err(), permits)) {
                Some(wait) => prop_assert_eq!(now + wait, self.eager.ready_at(permits.into())),
                None => self.word = epochs.pack(&bucket).or(self.word.filter(|_| !taken)),
            },
        }
        if self.word.is_none() {
            // Too large for a word: a keeper keeps the bucket itself.
            self.eager = epochs.full().clone();
            self.eager.refill(now);
            self.eager.clamp();
        }
        Ok(())
    }

    /// The word gets any later tag, as by a keeper that forgets those before.
    fn carry(&mut self) {
        let Some(word) = self.word else { return };
        let to =
            self.epochs.oldest.wrapping_add(fastrand::u8(..=self.epochs.latest().wrapping_sub(self.epochs.oldest)));
        let word = self.epochs.carry(word, to);
        self.epochs.forget_before(if fastrand::bool() { to.min(tag_of(word)) } else { self.epochs.oldest });
        self.word = Some(word);
    }

    fn play(&mut self, steps: Vec<Step>) -> Result<(), TestCaseError> {
        for step in steps {
            match step {
                Step::Pass(time) => self.pass(time),
                Step::Tag => _ = self.epochs.tag(self.now),
                Step::Change(rate, burst) => self.change(rate, burst),
                Step::Changes(many, rate, burst, time) => {
                    let settings = [(rate, burst), (self.eager.rate(), self.eager.burst())];
                    for (rate, burst) in (0..many).map(|number| settings[usize::from(number) % 2]) {
                        self.pass(time);
                        self.change(rate, burst);
                    }
                }
                Step::Take(permits) => self.take(Some(permits))?,
                Step::Look => self.take(None)?,
                Step::Carry => self.carry(),
            }
        }
        self.take(None)
    }
}

/// All of one cost: a change of these rounds nothing off.
fn rates_of_one_cost() -> impl Strategy<Value = Rate> + Clone {
    (0_u32..40).prop_map(|permits| Rate::new(permits, Duration::from_nanos(1009)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A word that is brought up to date only when it is looked at is the bucket that was changed each time.
    #[test]
    fn a_word_is_what_it_would_be_if_it_had_been_converted_at_each_change(
        rate in rates(), burst in bursts(), steps in vec(steps(rates(), 0), 0..80),
    ) {
        Pair::new(rate, burst).play(steps)?;
    }

    /// However many changes there are, of which most are summed up.
    #[test]
    fn a_word_is_what_it_would_be_after_any_number_of_changes(
        rate in rates_of_one_cost(), burst in bursts(), steps in vec(steps(rates_of_one_cost(), 200), 0..80),
    ) {
        Pair::new(rate, burst).play(steps)?;
    }
}

/// Less than a unit is rounded off, however many changes are summed up: a bucket that is converted each time would
/// have lost one at each.
#[test]
fn changes_that_are_summed_up_are_rounded_once() {
    let mut epochs = Epochs::new(Rate::per_second(1), 5000);
    assert!(epochs.tag(0));
    let moment = epochs.at(0).unwrap();
    let Ok(word) = epochs.take(moment, moment.full_word(), 5000) else { panic!() };
    // A third of a permit, and a seventh, in each second of a million, and more often than there are nanoseconds
    // between.
    for change in 1..=21_000_u64 {
        let (permits, seconds) = if change % 2 == 0 { (1, 3) } else { (1, 7) };
        epochs.change(change * 1_000_000_000, Rate::new(permits, Duration::from_secs(seconds)).unwrap(), 5000);
    }
    let mut bucket = epochs.unpack(word);
    // The first second at 1 a second, then 10,500 at a seventh and 10,499 at a third: 5000.67.
    bucket.clamp();
    assert!(bucket.is_full());
    assert_eq!(epochs.recent.len(), EXACT);
    for change in 1..=9_000_u64 {
        epochs.change((21_000 + change) * 1_000_000_000, Rate::ZERO, 6000);
    }
    assert_eq!(epochs.unpack(word).available(), 6000, "full ones are so at once");
    epochs.forget_all();
    assert!(epochs.recent.is_empty() && epochs.tags.is_empty() && epochs.at(u64::MAX).is_none());
}
