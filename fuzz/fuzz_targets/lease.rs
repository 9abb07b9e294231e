//! Two candidates on one lock, driven by any bytes: two terms are never valid at once, fences grow, nothing waits in the past.
#![no_main]

use relent::{
    leader::Timing,
    policy::lease::{Holder, Lease, Record, Step, Write, Wrote},
};

#[derive(Clone, Copy)]
struct Stored {
    version: u128,
    beat: u128,
    holder: Option<usize>,
}

struct Candidate {
    lease: Lease,
    call: Option<(Option<Write>, u64, Option<Answer>)>,
}

#[derive(Clone, Copy)]
enum Answer {
    Look(Option<Stored>),
    Wrote(Wrote),
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let timing = Timing::default();
    let length = 15_000_000_000;
    let seed = bytes.first().copied().map(u64::from);
    let mut candidates = [0, 1].map(|salt| Candidate { lease: Lease::new(timing, seed.map(|s| s + salt)), call: None });
    let (mut now, mut revision, mut fence) = (0_u64, 1_u128, 0_u128);
    let mut stored = Some(Stored { version: 1, beat: 0, holder: None });
    for byte in bytes.iter().skip(1) {
        let index = usize::from(byte & 1);
        let candidate = &mut candidates[index];
        match (byte >> 1) & 7 {
            0 => now += u64::from(byte >> 4) * 700_000_000,
            1 => now += u64::from(byte >> 4) * 10_000_000 + 1,
            2 if candidate.call.is_none() => match candidate.lease.next(now) {
                Step::Look => candidate.call = Some((None, now, None)),
                Step::Write(write) => candidate.call = Some((Some(write), now, None)),
                Step::Wait(until) => {
                    let dropped = candidate.lease.lost().is_some_and(|(_, at)| at <= now);
                    assert!(until > now || dropped, "waits for {until} at {now}");
                }
                _ => {}
            },
            // The call reaches the lock; its answer is not there yet.
            3 => {
                if let Some((write, _, answer @ None)) = &mut candidate.call {
                    *answer = Some(match write {
                        None => Answer::Look(stored),
                        Some(write) if stored.map(|stored| stored.version) != write.over() => {
                            Answer::Wrote(Wrote::Refused)
                        }
                        Some(write) => {
                            revision += 1;
                            let holder = (!matches!(write, Write::Release { .. })).then_some(index);
                            stored = Some(Stored { version: revision, beat: revision, holder });
                            Answer::Wrote(Wrote::Done { version: revision })
                        }
                    });
                }
            }
            // The answer comes, or the call is cut.
            4 | 5 => {
                let Some((write, sent, answer)) = candidate.call.take() else { continue };
                let led = candidate.lease.tenure().is_some();
                match (write, answer.filter(|_| byte & 2 == 0)) {
                    (None, Some(Answer::Look(stored))) => {
                        let record = stored.map(|stored| {
                            let holder = match stored.holder {
                                None => Holder::Nobody,
                                Some(holder) if holder == index => Holder::Me,
                                Some(_) => Holder::Other,
                            };
                            Record::new(stored.version, stored.beat, holder, length)
                        });
                        candidate.lease.looked(now, Some(record));
                    }
                    (None, _) => candidate.lease.looked(now, None),
                    (Some(write), Some(Answer::Wrote(wrote))) => candidate.lease.wrote(write, sent, now, wrote),
                    (Some(write), _) => candidate.lease.wrote(write, sent, now, Wrote::Unknown),
                }
                if let (false, Some(tenure)) = (led, candidate.lease.tenure()) {
                    assert!(tenure.fence > fence, "fence {} after {fence}", tenure.fence);
                    fence = tenure.fence;
                }
            }
            6 => {
                if let Some((write, sent, _)) = candidate.call.take() {
                    match write {
                        None => candidate.lease.looked(now, None),
                        Some(write) => candidate.lease.wrote(write, sent, now, Wrote::Unknown),
                    }
                }
                candidate.lease.ended(now, byte & 16 == 0);
                candidate.lease.campaign(now);
            }
            _ if byte & 0xf0 == 0xf0 => {
                revision += 1;
                stored = None;
            }
            _ => {
                candidate.lease.tick(now);
                candidate.lease.campaign(now);
            }
        }
        let valid =
            candidates.iter().filter(|candidate| candidate.lease.valid_until().is_some_and(|until| now < until));
        assert!(valid.count() <= 1, "two valid terms at {now}");
    }
});
