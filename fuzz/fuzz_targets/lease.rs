//! Two candidates on one lock, driven by any bytes: two terms are never valid at once, fences grow, nothing waits in
//! the past.
#![no_main]

use relent::{
    leader::Timing,
    policy::lease::{Holder, Lease, ReadResult, RecordView, Step, WriteStep, WriteResult},
};

#[derive(Clone, Copy)]
struct Stored {
    version: u128,
    heartbeat: u128,
    holder: Option<usize>,
}

struct Candidate {
    lease: Lease,
    call: Option<(Option<WriteStep>, u64, Option<Answer>)>,
}

#[derive(Clone, Copy)]
enum Answer {
    Read(Option<Stored>),
    WriteResult(WriteResult),
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let timing = Timing::default();
    let length = 15_000_000_000;
    let seed = bytes.first().copied().map(u64::from);
    let mut candidates = [0, 1].map(|salt| Candidate { lease: Lease::new(timing, seed.map(|s| s + salt)), call: None });
    let (mut now, mut revision, mut fence) = (0_u64, 1_u128, 0_u128);
    let mut stored = Some(Stored { version: 1, heartbeat: 0, holder: None });
    for byte in bytes.iter().skip(1) {
        let index = usize::from(byte & 1);
        let candidate = &mut candidates[index];
        match (byte >> 1) & 7 {
            0 => now += u64::from(byte >> 4) * 700_000_000,
            1 => now += u64::from(byte >> 4) * 10_000_000 + 1,
            2 if candidate.call.is_none() => match candidate.lease.next_step(now) {
                Step::Read => candidate.call = Some((None, now, None)),
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
                        None => Answer::Read(stored),
                        Some(write) if stored.map(|stored| stored.version) != write.over() => {
                            Answer::WriteResult(WriteResult::Refused)
                        }
                        Some(write) => {
                            revision += 1;
                            let holder = (!matches!(write, WriteStep::Release { .. })).then_some(index);
                            stored = Some(Stored { version: revision, heartbeat: revision, holder });
                            Answer::WriteResult(WriteResult::Done { version: revision })
                        }
                    });
                }
            }
            // The answer comes, or the call is cut.
            4 | 5 => {
                let Some((write, sent, answer)) = candidate.call.take() else { continue };
                let led = candidate.lease.held_term().is_some();
                match (write, answer.filter(|_| byte & 2 == 0)) {
                    (None, Some(Answer::Read(stored))) => {
                        let record = stored.map(|stored| {
                            let holder = match stored.holder {
                                None => Holder::Released,
                                Some(holder) if holder == index => Holder::Own,
                                Some(_) => Holder::Other,
                            };
                            RecordView::new(stored.version, stored.heartbeat, holder, length)
                        });
                        candidate.lease.on_read(now, record.into());
                    }
                    (None, _) => candidate.lease.on_read(now, ReadResult::Failed),
                    (Some(write), Some(Answer::WriteResult(wrote))) => candidate.lease.on_written(write, sent, now, wrote),
                    (Some(write), _) => candidate.lease.on_written(write, sent, now, WriteResult::Unknown),
                }
                if let (false, Some(term)) = (led, candidate.lease.held_term()) {
                    assert!(term.fence > fence, "fence {} after {fence}", term.fence);
                    fence = term.fence;
                }
            }
            6 => {
                if let Some((write, sent, _)) = candidate.call.take() {
                    match write {
                        None => candidate.lease.on_read(now, ReadResult::Failed),
                        Some(write) => candidate.lease.on_written(write, sent, now, WriteResult::Unknown),
                    }
                }
                candidate.lease.on_work_ended(now, byte & 16 == 0);
                candidate.lease.campaign(now);
            }
            _ if byte & 0xf0 == 0xf0 => {
                revision += 1;
                stored = None;
            }
            _ => {
                candidate.lease.on_tick(now);
                candidate.lease.campaign(now);
            }
        }
        let valid =
            candidates.iter().filter(|candidate| candidate.lease.valid_until().is_some_and(|until| now < until));
        assert!(valid.count() <= 1, "two valid terms at {now}");
    }
});
