//! How long a pod stays on a tainted node.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// How long a pod tolerates the `NoExecute` taints of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tolerated {
    /// Without a limit; also where there is nothing to tolerate.
    Forever,
    /// For so long; zero: it is to go at once.
    For(Duration),
}

/// How long a pod with these tolerations tolerates these taints, if all of them came now.
///
/// Only taints with the effect `NoExecute` count. One that is not tolerated evicts at once; else the shortest
/// `tolerationSeconds` of the tolerations that are used counts, where each taint uses the first that fits. This is the
/// rule of the Kubernetes documentation ("Taints and Tolerations", taint based evictions), with the operators `Lt` and
/// `Gt` (Kubernetes 1.35, alpha): the taint's value is less, or greater, than the toleration's, both as integers. An
/// operator that is not known here may mean that the pod tolerates the taint: it is not evicted for it.
///
/// ```
/// use std::time::Duration;
/// use k8s_openapi::api::core::v1::{Taint, Toleration};
/// use relent_k8s::eviction::{Tolerated, tolerated};
///
/// let taint = Taint { key: "gone".into(), effect: "NoExecute".into(), ..Taint::default() };
/// let for_five = Toleration { operator: Some("Exists".into()), toleration_seconds: Some(5), ..Toleration::default() };
/// assert_eq!(tolerated(&[taint.clone()], &[]), Tolerated::For(Duration::ZERO));
/// assert_eq!(tolerated(&[taint], &[for_five]), Tolerated::For(Duration::from_secs(5)));
/// assert_eq!(tolerated(&[], &[]), Tolerated::Forever);
/// ```
#[must_use]
pub fn tolerated(taints: &[Taint], tolerations: &[Toleration]) -> Tolerated {
    let shortest = taints.iter().filter_map(|taint| tolerated_for(taint, tolerations)).min();
    shortest.map_or(Tolerated::Forever, Tolerated::For)
}

/// How long one taint is tolerated; `None` is for ever.
pub(super) fn tolerated_for(taint: &Taint, tolerations: &[Toleration]) -> Option<Duration> {
    if taint.effect != "NoExecute" {
        return None;
    }
    for toleration in tolerations {
        match fits(toleration, taint) {
            Some(false) => {}
            // Negative is zero: at once.
            Some(true) => {
                let seconds = toleration.toleration_seconds?;
                return Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
            }
            None => return None,
        }
    }
    Some(Duration::ZERO)
}

/// Whether a toleration is for this taint; `None` if that is not known, as its operator is not.
fn fits(toleration: &Toleration, taint: &Taint) -> Option<bool> {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if set(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return Some(false);
    }
    let key = set(&toleration.key);
    if key.as_ref().is_some_and(|key| *key != taint.key) {
        return Some(false);
    }
    let (wanted, value) = (toleration.value.as_deref().unwrap_or(""), taint.value.as_deref().unwrap_or(""));
    // An empty key goes with `Exists` alone. What is no integer is neither less nor greater.
    let compare = |fits: fn(i64, i64) -> bool| match (value.parse(), wanted.parse()) {
        (Ok(value), Ok(wanted)) => key.is_some() && fits(value, wanted),
        _ => false,
    };
    match set(&toleration.operator).as_deref() {
        Some("Exists") => Some(true),
        None | Some("Equal") => Some(key.is_some() && wanted == value),
        Some("Lt") => Some(compare(|value, wanted| value < wanted)),
        Some("Gt") => Some(compare(|value, wanted| value > wanted)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref as one;

    use super::*;

    fn taint(key: &str, value: &str) -> Taint {
        Taint { key: key.into(), value: Some(value.into()), effect: "NoExecute".into(), time_added: None }
    }

    fn toleration(key: &str, operator: &str, value: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: Some(key.into()),
            operator: Some(operator.into()),
            value: Some(value.into()),
            toleration_seconds: seconds,
            effect: None,
        }
    }

    #[test]
    fn the_shortest_that_is_used_counts() {
        let seconds = |seconds| Tolerated::For(Duration::from_secs(seconds));
        let (a, b) = (taint("a", "1"), taint("b", ""));
        let a30 = toleration("a", "Equal", "1", Some(30));
        let b20 = toleration("b", "Exists", "", Some(20));
        let all = toleration("", "Exists", "", None);
        assert_eq!(tolerated(one(&a), one(&a30)), seconds(30));
        assert_eq!(tolerated(&[a.clone(), b.clone()], one(&a30)), seconds(0));
        assert_eq!(tolerated(&[a.clone(), b.clone()], &[a30.clone(), b20.clone()]), seconds(20));
        assert_eq!(tolerated(&[a.clone(), b.clone()], &[a30.clone(), all.clone()]), seconds(30));
        assert_eq!(tolerated(&[a.clone(), b.clone()], &[all.clone(), a30.clone()]), Tolerated::Forever);
        assert_eq!(tolerated(&[taint("a", "2")], &[a30]), seconds(0));
        assert_eq!(tolerated(one(&b), &[toleration("b", "", "", Some(-5))]), seconds(0));
        assert_eq!(tolerated(one(&b), &[toleration("b", "Lt", "7", None)]), seconds(0));
        let no_schedule = Taint { effect: "NoSchedule".into(), ..b };
        assert_eq!(tolerated(&[no_schedule], &[]), Tolerated::Forever);
    }

    /// KEP-5471: the taint's value stands before the operator.
    #[test]
    fn less_and_greater() {
        for (operator, wanted, value, fits) in [
            ("Gt", "750", "900", true),
            ("Gt", "900", "900", false),
            ("Gt", "950", "900", false),
            ("Lt", "950", "900", true),
            ("Lt", "900", "900", false),
            ("Lt", "750", "900", false),
            ("Gt", "-5", "-4", true),
            ("Gt", "75.0", "900", false),
            ("Gt", "", "900", false),
            ("Lt", "9", "", false),
            ("Gt", "9223372036854775808", "900", false),
        ] {
            let got = tolerated(one(&taint("sla", value)), &[toleration("sla", operator, wanted, None)]);
            let expected = if fits { Tolerated::Forever } else { Tolerated::For(Duration::ZERO) };
            assert_eq!(got, expected, "{value} {operator} {wanted}");
        }
        let for_a_while = toleration("sla", "Gt", "750", Some(60));
        assert_eq!(tolerated(one(&taint("sla", "900")), &[for_a_while]), Tolerated::For(Duration::from_secs(60)));
    }

    /// What it means is not known here; that it was meant to keep the pod is.
    #[test]
    fn an_operator_of_a_later_version_evicts_nobody() {
        let taint = taint("version", "1.35");
        let later = toleration("version", "SemverGt", "1.30", Some(5));
        assert_eq!(tolerated(one(&taint), one(&later)), Tolerated::Forever);
        let known = toleration("version", "Exists", "", Some(30));
        let seconds = Tolerated::For(Duration::from_secs(30));
        assert_eq!(tolerated(one(&taint), &[known, later.clone()]), seconds, "the first that fits is known");
        let other = Toleration { key: Some("other".into()), ..later };
        assert_eq!(tolerated(one(&taint), one(&other)), Tolerated::For(Duration::ZERO), "it is for another taint");
    }
}
