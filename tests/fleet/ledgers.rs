//! Ledgers that misbehave at any of their calls, and records that were written by hand.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use relent::fleet::{FleetEvent, FleetMember, Ledger, LedgerError, MemoryLedger, Stored, StoredStream};
use tokio::time::{Instant, sleep};

use super::support::{BURST, RATE, TTL, VALID, fleet, hungry, joined, keeps_the_law, stopped_for};

/// What a call does.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// It takes so long before it is done, or after it. The member may drop it meanwhile.
    SlowBefore(Duration),
    SlowAfter(Duration),
    /// The process is stopped for so long before it is done, or after it.
    StopBefore(Duration),
    StopAfter(Duration),
    /// It never answers, and a write is done so much later, whether the member still waits for it or not.
    Later(Duration),
    /// A read answers what was there at the first read, a write that there was a conflict.
    Old,
    Panic,
}

/// A ledger whose call of that number does something else.
struct Odd {
    ledger: MemoryLedger,
    first: Mutex<Option<Option<Stored>>>,
    calls: AtomicUsize,
    at: usize,
    act: Act,
}

type Called<'c, T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send + 'c>>;

impl Odd {
    fn new(ledger: &MemoryLedger, at: usize, act: Act) -> Self {
        Self { ledger: ledger.clone(), first: Mutex::default(), calls: AtomicUsize::new(0), at, act }
    }

    async fn call<T>(
        &self,
        call: Called<'_, T>,
        later: impl Future<Output = ()> + Send + 'static,
    ) -> Result<T, LedgerError> {
        if self.calls.fetch_add(1, Ordering::Relaxed) != self.at {
            return call.await;
        }
        match self.act {
            Act::SlowBefore(length) => {
                sleep(length).await;
                call.await
            }
            Act::SlowAfter(length) => {
                let answer = call.await;
                sleep(length).await;
                answer
            }
            Act::StopBefore(length) => {
                stopped_for(length);
                call.await
            }
            Act::StopAfter(length) => {
                let answer = call.await;
                stopped_for(length);
                answer
            }
            Act::Later(length) => {
                tokio::spawn(async move {
                    sleep(length).await;
                    later.await;
                });
                std::future::pending().await
            }
            Act::Old => Err(LedgerError::conflict("the record has changed")),
            Act::Panic => panic!("a bug"),
        }
    }
}

impl Ledger for Odd {
    fn name(&self) -> String {
        "odd".to_owned()
    }

    async fn read(&self) -> Result<Option<Stored>, LedgerError> {
        let is_old = matches!(self.act, Act::Old) && self.calls.load(Ordering::Relaxed) == self.at;
        let found = self.call(Box::pin(self.ledger.read()), async {}).await;
        let first = self.first.lock().unwrap().clone();
        match (first, found) {
            (Some(first), Err(_)) if is_old => Ok(first),
            (None, Ok(found)) => {
                *self.first.lock().unwrap() = Some(found.clone());
                Ok(found)
            }
            (_, found) => found,
        }
    }

    async fn compare_and_swap(&self, over: Option<u128>, text: String) -> Result<u128, LedgerError> {
        let (ledger, again) = (self.ledger.clone(), text.clone());
        let later = async move { drop(ledger.compare_and_swap(over, again).await) };
        self.call(Box::pin(self.ledger.compare_and_swap(over, text)), later).await
    }
}

/// One member has an odd ledger, two have not; all take what they can get, and one of them crashes.
async fn survives(at: usize, act: Act) {
    let ledger = MemoryLedger::new();
    let granted = Arc::default();
    let odd = fleet(Odd::new(&ledger, at, act)).join().unwrap();
    let [other, third] = [(); 2].map(|()| fleet(ledger.clone()).join().unwrap());
    let members = [&odd, &other, &third];
    members.iter().for_each(|member| drop(hungry(member.limiter(), &granted)));
    for _ in 0..16 {
        sleep(Duration::from_secs(1)).await;
        // As the first act after whatever it was.
        while odd.limiter().try_acquire(1).is_ok() {
            granted.lock().unwrap().push(Instant::now());
        }
    }
    drop(third);
    sleep(TTL * 3).await;
    let shares = [&odd, &other].map(|member| member.share().rate.permits());
    assert_eq!(shares, [RATE / 2; 2], "call {at}, {act:?}");
    keeps_the_law(&granted.lock().unwrap(), RATE, BURST);
}

#[tokio::test(start_paused = true)]
async fn any_call_may_do_anything() {
    let lengths = [VALID * 95 / 100, TTL * 3 / 2];
    let acts = lengths.into_iter().flat_map(|length| {
        let slow = [Act::SlowBefore(length), Act::SlowAfter(length), Act::Later(length)];
        slow.into_iter().chain([Act::StopBefore(length), Act::StopAfter(length)])
    });
    for act in acts.chain([Act::Old, Act::Panic, Act::Later(Duration::from_secs(2))]) {
        for at in 0..6 {
            survives(at, act).await;
        }
    }
}

/// A write of a member that was dropped is done afterwards: its share lies idle until it lapses, and no longer.
#[tokio::test(start_paused = true)]
async fn a_write_outlives_its_member() {
    let ledger = MemoryLedger::new();
    let other = joined(&ledger).await;
    let granted = Arc::default();
    hungry(other.limiter(), &granted);
    let gone = fleet(Odd::new(&ledger, 3, Act::Later(Duration::from_secs(2)))).join().unwrap();
    hungry(gone.limiter(), &granted);
    sleep(Duration::from_secs(4)).await;
    drop(gone);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(ledger.text().unwrap().matches("member").count(), 2);
    sleep(TTL * 2).await;
    assert_eq!(ledger.text().unwrap().matches("member").count(), 1);
    assert_eq!(other.share().rate.permits(), RATE);
    keeps_the_law(&granted.lock().unwrap(), RATE, BURST);
}

/// What a hand can do to the record.
#[derive(Clone, Debug)]
enum Edit {
    Drop(usize),
    Double(usize),
    Swap(usize, usize),
    /// Another digit at the end of a word.
    Digit(usize, usize, u8),
    Word(usize, usize, &'static str),
    /// The record as it was at the start.
    Old,
    Cut(usize),
    Empty,
}

fn edit() -> impl Strategy<Value = Edit> {
    let (line, word) = (0_usize..8, 0_usize..20);
    let words = ["-1/s", "0/s", "1e9/s", "99999999999999999999", "member", "settled", "unsettled", "0", "rate", "10s"];
    prop_oneof![
        1 => line.clone().prop_map(Edit::Drop),
        1 => line.clone().prop_map(Edit::Double),
        1 => (line.clone(), line.clone()).prop_map(|(one, other)| Edit::Swap(one, other)),
        3 => (line.clone(), word.clone(), 0_u8..10).prop_map(|(line, word, digit)| Edit::Digit(line, word, digit)),
        3 => (line.clone(), word, prop::sample::select(words.to_vec())).prop_map(|(line, word, text)| Edit::Word(line, word, text)),
        2 => Just(Edit::Old),
        1 => (0_usize..400).prop_map(Edit::Cut),
        1 => Just(Edit::Empty),
    ]
}

fn edited(text: &str, old: &str, edit: &Edit) -> String {
    let mut lines: Vec<Vec<String>> = text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect();
    let at = |line: usize, lines: &[Vec<String>]| line.checked_rem(lines.len()).unwrap_or(0);
    match *edit {
        Edit::Old => return old.to_owned(),
        Edit::Cut(length) => return text.chars().take(length).collect(),
        Edit::Empty => return String::new(),
        _ if lines.is_empty() => {}
        Edit::Drop(line) => drop(lines.remove(at(line, &lines))),
        Edit::Double(line) => lines.push(lines[at(line, &lines)].clone()),
        Edit::Swap(one, other) => {
            let (one, other) = (at(one, &lines), at(other, &lines));
            lines.swap(one, other);
        }
        Edit::Digit(line, word, digit) => {
            let line = at(line, &lines);
            let word = word % lines[line].len();
            lines[line][word].push_str(&digit.to_string());
        }
        Edit::Word(line, word, text) => {
            let line = at(line, &lines);
            let word = word % lines[line].len();
            lines[line][word] = text.to_owned();
        }
    }
    lines.into_iter().map(|line| line.join(" ") + "\n").collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever was written into the record: no member ends, none has more than the limit that any record said, and
    /// once the record is deleted they share it again.
    #[test]
    fn a_hand_can_write_anything(edits in prop::collection::vec((edit(), 0_u64..12_000), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let ledger = MemoryLedger::new();
            let join = || fleet(ledger.clone()).want(relent::Rate::per_second(RATE)).join().unwrap();
            let members: [FleetMember; 3] = [(); 3].map(|()| join());
            sleep(TTL).await;
            let old = ledger.text().unwrap();
            for (edit, pause) in &edits {
                ledger.put(edited(&ledger.text().unwrap_or_default(), &old, edit));
                sleep(Duration::from_millis(*pause)).await;
            }
            ledger.delete();
            sleep(Duration::from_secs(60)).await;
            let shares = members.each_ref().map(|member| (member.share().rate.permits(), member.share().burst));
            let rates = shares.map(|(permits, _)| permits);
            assert!(rates.iter().max().unwrap() - rates.iter().min().unwrap() <= 1, "{edits:?}: {shares:?}\n{:?}", ledger.text());
            assert_eq!(shares.iter().map(|(_, burst)| burst).sum::<u32>(), BURST);
        });
    }
}

/// A store whose versions go back, as a backup's do.
#[derive(Clone, Default)]
struct Restorable(Arc<Mutex<(u128, Option<Stored>)>>);

impl Ledger for Restorable {
    fn name(&self) -> String {
        "restorable".to_owned()
    }

    async fn read(&self) -> Result<Option<Stored>, LedgerError> {
        Ok(self.0.lock().unwrap().1.clone())
    }

    async fn compare_and_swap(&self, over: Option<u128>, text: String) -> Result<u128, LedgerError> {
        let (version, stored) = &mut *self.0.lock().unwrap();
        if stored.as_ref().map(|stored| stored.version) != over {
            return Err(LedgerError::conflict("the record has changed"));
        }
        *version += 1;
        *stored = Some(Stored::new(*version, text));
        Ok(*version)
    }

    fn watch(&self) -> StoredStream {
        MemoryLedger::empty().watch()
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_store_is_learned() {
    let ledger = Restorable::default();
    ledger.compare_and_swap(None, "relent fleet 1\nsettled\n".to_owned()).await.unwrap();
    let events = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&events);
    let tell = move |event: &FleetEvent| *heard.lock().unwrap() += &format!("{event:?}\n");
    let one = fleet(ledger.clone()).on_event(tell).join().unwrap();
    hungry(one.limiter(), &Arc::default());
    sleep(TTL).await;
    let backup = ledger.0.lock().unwrap().clone();
    let other = fleet(ledger.clone()).join().unwrap();
    hungry(other.limiter(), &Arc::default());
    sleep(TTL * 2).await;
    assert_eq!([&one, &other].map(|member| member.share().rate.permits()), [RATE / 2; 2]);
    *ledger.0.lock().unwrap() = backup;
    // Whoever comes first notices it, and nothing grows.
    sleep(TTL).await;
    assert!(ledger.0.lock().unwrap().1.as_ref().unwrap().text.contains("unsettled"));
    assert!(events.lock().unwrap().contains("Unsettled"));
    assert!([&one, &other].iter().all(|member| member.share().rate.permits() <= RATE / 2));
    sleep(Duration::from_secs(40)).await;
    assert_eq!([&one, &other].map(|member| member.share().rate.permits()), [RATE / 2; 2]);
}

/// A record has room for a thousand; one more writes nothing until others have lapsed.
#[tokio::test(start_paused = true)]
async fn a_full_record_takes_no_other() {
    let ledger = MemoryLedger::new();
    let line = |number| format!("member m_{number} share 0/s burst 0 want 0/s ttl 10s states 100/s burst 50 beat 1\n");
    ledger.put((0..1_000).fold("relent fleet 1\nsettled 0 write 1\n".to_owned(), |text, number| text + &line(number)));
    let member = fleet(ledger.clone()).join().unwrap();
    sleep(TTL / 2).await;
    assert_eq!((member.share().burst, ledger.calls().1), (0, 0));
    let refused = member.limiter().try_acquire(1).unwrap_err().to_string();
    let said = "the limiter has waited for a first share of the fleet in memory for 5s: 1000 members are as many as a record can have";
    assert_eq!(refused, said);
    sleep(TTL * 2).await;
    assert_eq!((member.share().rate.permits(), member.share().burst, member.share().members), (RATE, BURST, 1));
}
