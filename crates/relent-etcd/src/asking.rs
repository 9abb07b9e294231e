//! Asking members how they are, and whose answer it is.

use std::{future::poll_fn, task::Poll, time::Duration};

use crate::{CallError, Cluster, Member, MemberStatus, time};

/// Why there is no answer of a member's.
pub(super) struct Silence(pub(super) CallError);

impl Silence {
    /// Whether it looks as if it did not run: nothing listens, nothing answers, or only others do. What answers
    /// anything runs; and where the way to it is not known to this process, nothing is known about it.
    pub(super) fn means_down(&self) -> bool {
        matches!(&self.0, CallError::NotSent(_) | CallError::NoAnswer(_) | CallError::OtherMember(_))
    }
}

/// One that is asked.
struct Asked<'m> {
    member: &'m Member,
    answer: Result<MemberStatus, Silence>,
    /// Others have answered for it.
    again: bool,
}

/// Asks members themselves, at their own client URLs: one answer for each, in their order.
///
/// An answer counts for the member that it comes from, by whichever URL it came, and if it says the same of its kind as
/// the list: several members may advertise one URL, of a Service or a virtual address. Where others answer, it is asked
/// again: as many times as there are members, if that takes no longer than `each`.
pub(super) async fn ask<C: Cluster>(
    cluster: &C,
    members: &[&Member],
    all: usize,
    each: Duration,
) -> Vec<Result<MemberStatus, Silence>> {
    let start = time::now();
    let unasked = || Err(Silence(CallError::NotSent("it was not asked".to_owned())));
    let mut asked: Vec<_> = members.iter().map(|member| Asked { member, answer: unasked(), again: true }).collect();
    for round in 0..=all {
        let open = asked.iter().filter(|asked| asked.again);
        let said = join(open.map(|asked| statuses(cluster, asked.member, each, round > 0))).await;
        let mut heard = Vec::new();
        for (asked, said) in asked.iter_mut().filter(|asked| asked.again).zip(said) {
            match said {
                Err(silence) => (asked.answer, asked.again) = (Err(silence), false),
                Ok(statuses) => {
                    asked.answer = Err(others(&statuses));
                    heard.extend(statuses);
                }
            }
        }
        for asked in &mut asked {
            if let Some(status) = heard.iter().find(|status| status.id == asked.member.id) {
                (asked.answer, asked.again) = (same_kind(asked.member, status), false);
            }
        }
        let passed = time::now().saturating_duration_since(start);
        if passed >= each || !asked.iter().any(|asked| asked.again) {
            break;
        }
    }
    asked.into_iter().map(|asked| asked.answer).collect()
}

/// What answers at the member's URLs: until it does itself.
async fn statuses<C: Cluster>(
    cluster: &C,
    member: &Member,
    each: Duration,
    anew: bool,
) -> Result<Vec<MemberStatus>, Silence> {
    let mut last = Silence(CallError::NotSent("it names no client url".to_owned()));
    let mut statuses = Vec::new();
    for url in &member.client_urls {
        let status = async { if anew { cluster.status_anew(url).await } else { cluster.status(url).await } };
        match time::within(each, status).await {
            Some(Ok(status)) => {
                let own = status.id == member.id;
                statuses.push(status);
                if own {
                    break;
                }
            }
            Some(Err(error)) => last = Silence(error),
            None => last = Silence(CallError::NoAnswer(format!("nothing within {each:?}"))),
        }
    }
    if statuses.is_empty() { Err(last) } else { Ok(statuses) }
}

fn others(statuses: &[MemberStatus]) -> Silence {
    let ids: Vec<_> = statuses.iter().map(|status| format!("{:x}", status.id)).collect();
    Silence(CallError::OtherMember(format!("at its client url answers another member: {}", ids.join(", "))))
}

fn same_kind(member: &Member, status: &MemberStatus) -> Result<MemberStatus, Silence> {
    if status.learner == member.learner {
        return Ok(status.clone());
    }
    let kind = if status.learner { "learner" } else { "voter" };
    Err(Silence(CallError::OtherMember(format!("it answers that it is a {kind}"))))
}

/// All of them at once.
async fn join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs: Vec<_> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs).filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(ready) = future.as_mut().poll(cx) {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
