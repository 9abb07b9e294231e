//! What a list of members means for what was asked for: the rules, without a call.

use std::fmt;

use relent::ConfigError;

use crate::{
    Member, MemberError, PeerUrls,
    quorum::{Change, Voters},
};

/// Which member is meant: by its id or by any of its peer URLs.
///
/// By a URL, it is the member that has it when it is first looked at: one that is added under the same URL afterwards
/// is another, and is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Which(Named);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Named {
    Id(u64),
    Urls(PeerUrls),
}

impl TryFrom<u64> for Which {
    type Error = ConfigError;

    /// # Errors
    /// No member has the id 0.
    fn try_from(id: u64) -> Result<Self, ConfigError> {
        if id == 0 { Err(ConfigError::new("member id", id, "no member has it")) } else { Ok(Self(Named::Id(id))) }
    }
}

impl TryFrom<&Member> for Which {
    type Error = ConfigError;

    fn try_from(member: &Member) -> Result<Self, ConfigError> {
        Self::try_from(member.id)
    }
}

impl TryFrom<&str> for Which {
    type Error = ConfigError;

    fn try_from(peer_url: &str) -> Result<Self, ConfigError> {
        PeerUrls::new([peer_url]).map(|urls| Self(Named::Urls(urls)))
    }
}

impl TryFrom<PeerUrls> for Which {
    type Error = ConfigError;

    fn try_from(urls: PeerUrls) -> Result<Self, ConfigError> {
        Ok(Self(Named::Urls(urls)))
    }
}

/// `8e9e05c52164694d`, `http://10.0.0.3:2380`
impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Named::Id(id) => write!(f, "{id:x}"),
            Named::Urls(urls) => urls.fmt(f),
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Intent {
    Learner(PeerUrls),
    Voter(PeerUrls),
    /// A voter that came as a learner.
    Joined(PeerUrls),
    Promoted(Which),
    Removed(Which),
}

/// A change of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberChange {
    /// It is added.
    #[non_exhaustive]
    Add {
        /// Its peer URLs.
        peer_urls: PeerUrls,
        /// As a learner, or as a voter.
        learner: bool,
    },
    /// A learner becomes a voter.
    Promote(Member),
    /// It goes for good.
    Remove(Member),
}

/// What a list says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// It is so.
    There(Member),
    /// It is gone: the member it was, if it was seen, and the one that has its URL now.
    Gone(Option<Member>, Option<Member>),
    /// This has to be done.
    Needs(MemberChange),
    /// It cannot be done now, or never: the error knows.
    Not(MemberError),
}

/// What was asked for, and which member that turned out to be.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    intent: Intent,
    seen: Option<Member>,
    may_lose_quorum: bool,
}

impl Goal {
    pub(crate) fn new(intent: Intent, may_lose_quorum: bool) -> Self {
        Self { intent, seen: None, may_lose_quorum }
    }

    /// Reads a list. The member that is first found under a URL is the one that is meant from then on.
    pub(crate) fn view(&mut self, members: &[Member]) -> View {
        match &self.intent {
            Intent::Learner(urls) => match one_with(urls, members) {
                Err(error) => View::Not(error),
                Ok(None) => View::Needs(MemberChange::Add { peer_urls: urls.clone(), learner: true }),
                Ok(Some(member)) if member.learner => View::There(member.clone()),
                Ok(Some(member)) => View::Not(MemberError::IsVoter(Box::new(member.clone()))),
            },
            Intent::Voter(urls) => match one_with(urls, members) {
                Err(error) => View::Not(error),
                Ok(None) => {
                    let step = MemberChange::Add { peer_urls: urls.clone(), learner: false };
                    self.unless_quorum_is_lost(members, Change::AddVoter, step)
                }
                Ok(Some(member)) => promoted(member),
            },
            Intent::Joined(urls) => match one_with(urls, members) {
                Err(error) => View::Not(error),
                Ok(None) => View::Needs(MemberChange::Add { peer_urls: urls.clone(), learner: true }),
                Ok(Some(member)) => promoted(member),
            },
            Intent::Promoted(which) => match self.meant(which, members) {
                Ok(Some(member)) => {
                    let view = promoted(member);
                    self.seen = Some(member.clone());
                    view
                }
                Ok(None) => match (&self.seen, self.replacement(members)) {
                    (Some(was), Some(now)) => {
                        View::Not(MemberError::Replaced { was: was.id, now: Box::new(now.clone()) })
                    }
                    _ => View::Not(MemberError::NotFound(which.to_string())),
                },
                Err(error) => View::Not(error),
            },
            Intent::Removed(which) => match self.meant(which, members) {
                Ok(Some(member)) => {
                    let (member, able) = (member.clone(), member.started());
                    let step = MemberChange::Remove(member.clone());
                    let learner = member.learner;
                    self.seen = Some(member);
                    if learner {
                        View::Needs(step)
                    } else {
                        self.unless_quorum_is_lost(members, Change::RemoveVoter { able }, step)
                    }
                }
                Ok(None) => View::Gone(self.seen.clone(), self.replacement(members).cloned()),
                Err(error) => View::Not(error),
            },
        }
    }

    fn meant<'m>(&self, which: &Which, members: &'m [Member]) -> Result<Option<&'m Member>, MemberError> {
        let by_id = |id: u64| Ok(members.iter().find(|member| member.id == id));
        match (&self.seen, &which.0) {
            (Some(seen), _) => by_id(seen.id),
            (None, Named::Id(id)) => by_id(*id),
            (None, Named::Urls(urls)) => one_with(urls, members),
        }
    }

    /// Another member that has a URL of the one that was meant.
    fn replacement<'m>(&self, members: &'m [Member]) -> Option<&'m Member> {
        let was = self.seen.as_ref()?;
        members.iter().find(|now| now.id != was.id && now.peer_urls.iter().any(|url| was.peer_urls.contains(url)))
    }

    fn unless_quorum_is_lost(&self, members: &[Member], change: Change, step: MemberChange) -> View {
        let voters = members.iter().filter(|member| !member.learner);
        let started = voters.clone().filter(|member| member.started()).count();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let all = count(voters.count());
        let after = Voters::new(all, count(started)).after(change);
        if self.may_lose_quorum || after.have_quorum() {
            return View::Needs(step);
        }
        let once_started = match change {
            Change::RemoveVoter { .. } => Change::RemoveVoter { able: true },
            Change::AddVoter => Change::AddVoter,
        };
        let later = Voters::new(all, all).after(once_started).have_quorum();
        let advice = match (&step, later) {
            (_, true) => "first those that have never started must start",
            (MemberChange::Add { .. }, false) => "add a learner, start it and promote it",
            (_, false) => "the last voter is the cluster",
        };
        View::Not(MemberError::WouldLoseQuorum {
            change: step.to_string(),
            voters: after.all,
            able: after.able,
            quorum: after.quorum(),
            advice,
            later,
        })
    }
}

/// `adding http://10.0.0.3:2380 as a voter`, ..
impl fmt::Display for MemberChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { peer_urls, learner: true } => write!(f, "adding {peer_urls} as a learner"),
            Self::Add { peer_urls, learner: false } => write!(f, "adding {peer_urls} as a voter"),
            Self::Promote(member) => write!(f, "promoting {member}"),
            Self::Remove(member) => write!(f, "removing {member}"),
        }
    }
}

fn promoted(member: &Member) -> View {
    match (member.learner, member.started()) {
        (false, _) => View::There(member.clone()),
        (true, false) => View::Not(MemberError::NotStarted(Box::new(member.clone()))),
        (true, true) => View::Needs(MemberChange::Promote(member.clone())),
    }
}

/// The one member with these URLs.
fn one_with<'m>(urls: &PeerUrls, members: &'m [Member]) -> Result<Option<&'m Member>, MemberError> {
    let mut found = members.iter().filter(|member| urls.identify(&member.peer_urls));
    match (found.next(), found.next()) {
        (Some(one), Some(other)) => {
            Err(MemberError::TwoMembers { one: Box::new(one.clone()), other: Box::new(other.clone()) })
        }
        (Some(member), None) => match urls.missing_from(&member.peer_urls) {
            missing if missing.is_empty() => Ok(Some(member)),
            missing => Err(MemberError::UrlsDiffer { member: Box::new(member.clone()), missing }),
        },
        (None, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, learner: bool, started: bool) -> Member {
        let mut member = Member::new(id, vec![format!("http://m{id}:2380")], learner);
        member.name = if started { format!("m{id}") } else { String::new() };
        member
    }

    fn voters(count: u64) -> Vec<Member> {
        (1..=count).map(|id| member(id, false, true)).collect()
    }

    fn view(intent: Intent, members: &[Member]) -> View {
        Goal::new(intent, false).view(members)
    }

    fn urls(list: &[&str]) -> PeerUrls {
        PeerUrls::new(list).unwrap()
    }

    #[test]
    fn the_kind_is_checked() {
        let mut members = voters(3);
        members.push(member(4, true, true));
        let four = urls(&["http://m4:2380"]);
        assert_eq!(view(Intent::Learner(four.clone()), &members), View::There(members[3].clone()));
        assert_eq!(view(Intent::Voter(four.clone()), &members), View::Needs(MemberChange::Promote(members[3].clone())));
        assert_eq!(
            view(Intent::Joined(four.clone()), &members),
            View::Needs(MemberChange::Promote(members[3].clone()))
        );
        assert_eq!(
            view(Intent::Joined(four.clone()), &members[..3]),
            view(Intent::Learner(four.clone()), &members[..3])
        );
        let one = urls(&["http://m1:2380"]);
        assert_eq!(
            view(Intent::Learner(one.clone()), &members),
            View::Not(MemberError::IsVoter(Box::new(members[0].clone())))
        );
        assert_eq!(view(Intent::Voter(one), &members), View::There(members[0].clone()));
        members[3].name.clear();
        assert_eq!(
            view(Intent::Voter(four), &members),
            View::Not(MemberError::NotStarted(Box::new(members[3].clone())))
        );
    }

    #[test]
    fn any_of_the_urls_identifies() {
        let mut members = voters(3);
        members[2].peer_urls.push("http://old:2380".into());
        assert_eq!(view(Intent::Voter(urls(&["http://old:2380"])), &members), View::There(members[2].clone()));
        let more = view(Intent::Voter(urls(&["http://old:2380", "http://new:2380"])), &members);
        let missing = vec!["http://new:2380".to_owned()];
        assert_eq!(more, View::Not(MemberError::UrlsDiffer { member: Box::new(members[2].clone()), missing }));
        let both = view(Intent::Voter(urls(&["http://m1:2380", "http://m2:2380"])), &members);
        assert!(matches!(both, View::Not(MemberError::TwoMembers { .. })), "{both:?}");
    }

    #[test]
    fn added_again_under_the_same_url_is_another() {
        let mut members = voters(3);
        let mut goal = Goal::new(Intent::Removed("http://m3:2380".try_into().unwrap()), false);
        assert_eq!(goal.view(&members), View::Needs(MemberChange::Remove(members[2].clone())));
        let was = members.pop().unwrap();
        let mut again = member(9, true, false);
        again.peer_urls = was.peer_urls.clone();
        members.push(again.clone());
        assert_eq!(goal.view(&members), View::Gone(Some(was), Some(again.clone())));

        let mut goal = Goal::new(Intent::Promoted("http://m3:2380".try_into().unwrap()), false);
        assert_eq!(goal.view(&members), View::Not(MemberError::NotStarted(Box::new(again))));
        members[2].id = 10;
        assert!(matches!(goal.view(&members), View::Not(MemberError::Replaced { was: 9, .. })));
    }

    #[test]
    fn quorum_is_kept() {
        let new = || Intent::Voter(urls(&["http://new:2380"]));
        let fatal = |view: View| match view {
            View::Not(error @ MemberError::WouldLoseQuorum { .. }) => Some(error.decision() == relent::Decision::Fatal),
            _ => None,
        };
        assert_eq!(fatal(view(new(), &voters(1))), Some(true), "one of two");
        assert_eq!(fatal(view(new(), &voters(2))), None, "two of three");
        let mut members = voters(3);
        members[2].name.clear();
        assert_eq!(fatal(view(new(), &members)), Some(false), "two of four, until the third starts");
        let gone = |id: u64| Intent::Removed(id.try_into().unwrap());
        assert_eq!(fatal(view(gone(1), &voters(1))), Some(true), "no voter left");
        assert_eq!(fatal(view(gone(1), &members)), Some(false), "one of two, until the third starts");
        assert_eq!(fatal(view(gone(3), &members)), None, "that never started");
        let mut goal = Goal::new(new(), true);
        assert!(
            matches!(goal.view(&voters(1)), View::Needs(MemberChange::Add { learner: false, .. })),
            "if one insists"
        );
        assert_eq!(Which::try_from(0).unwrap_err().to_string(), "member id 0: no member has it");
    }
}
