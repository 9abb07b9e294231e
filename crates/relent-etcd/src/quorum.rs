//! Whether a change of membership leaves a quorum of the members that can vote.

/// The voters of a cluster, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Voters {
    /// All of them: more than half must agree on everything.
    pub(crate) all: u32,
    /// Those that can: they have started, and as far as is known they run.
    pub(crate) able: u32,
}

/// A change of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    /// A new voter, which has not started yet.
    AddVoter,
    /// A voter goes; whether it was able.
    RemoveVoter {
        /// It has started, and as far as is known it runs.
        able: bool,
    },
}

impl Voters {
    /// So many voters, of which so many are able.
    pub(crate) const fn new(all: u32, able: u32) -> Self {
        Self { all, able: if able < all { able } else { all } }
    }

    /// How many must agree: more than half of all.
    pub(crate) const fn quorum(self) -> u32 {
        match self.all.checked_div(2) {
            Some(half) => half.saturating_add(1),
            None => 1,
        }
    }

    /// Whether enough are able.
    pub(crate) const fn have_quorum(self) -> bool {
        self.able >= self.quorum()
    }

    /// The voters after a change.
    pub(crate) const fn after(self, change: Change) -> Self {
        let (all, able) = match change {
            Change::AddVoter => (self.all.saturating_add(1), self.able),
            Change::RemoveVoter { able: true } => (self.all.saturating_sub(1), self.able.saturating_sub(1)),
            Change::RemoveVoter { able: false } => (self.all.saturating_sub(1), self.able),
        };
        Self::new(all, able)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_loses_quorum() {
        let lost = |all, able, change| !Voters::new(all, able).after(change).have_quorum();
        assert!(lost(1, 1, Change::AddVoter), "two voters, one of them not started");
        assert!(!lost(2, 2, Change::AddVoter));
        assert!(!lost(3, 3, Change::AddVoter));
        assert!(lost(3, 2, Change::AddVoter), "four voters, two able");
        assert!(lost(1, 1, Change::RemoveVoter { able: true }), "no voter left");
        assert!(!lost(2, 2, Change::RemoveVoter { able: true }));
        assert!(lost(3, 2, Change::RemoveVoter { able: true }));
        assert!(!lost(3, 2, Change::RemoveVoter { able: false }));
    }

    proptest! {
        #[test]
        fn one_that_is_not_able_never_costs_a_quorum_by_going(all in 1_u32..100, able in 0_u32..100) {
            let voters = Voters::new(all, able);
            prop_assume!(voters.have_quorum());
            let smaller = voters.after(Change::RemoveVoter { able: false });
            prop_assert!(voters.able == voters.all || smaller.have_quorum());
        }

        #[test]
        fn two_quorums_always_share_a_member(all in 1_u32..1000) {
            prop_assert!(Voters::new(all, 0).quorum() * 2 > all);
        }
    }
}
