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

/// How long a pod with these tolerations tolerates these taints.
///
/// Only taints with the effect `NoExecute` count. One that is not tolerated evicts at once; else the shortest
/// `tolerationSeconds` of the tolerations that are used counts, where each taint uses the first that fits.
/// This is the rule of the Kubernetes documentation ("Taints and Tolerations", taint based evictions).
///
/// ```
/// use std::time::Duration;
/// use k8s_openapi::api::core::v1::{Taint, Toleration};
/// use relent::k8s::eviction::{Tolerated, tolerated};
///
/// let taint = Taint { key: "gone".into(), effect: "NoExecute".into(), ..Taint::default() };
/// let for_five = Toleration { operator: Some("Exists".into()), toleration_seconds: Some(5), ..Toleration::default() };
/// assert_eq!(tolerated(&[taint.clone()], &[]), Tolerated::For(Duration::ZERO));
/// assert_eq!(tolerated(&[taint], &[for_five]), Tolerated::For(Duration::from_secs(5)));
/// assert_eq!(tolerated(&[], &[]), Tolerated::Forever);
/// ```
#[must_use]
pub fn tolerated(taints: &[Taint], tolerations: &[Toleration]) -> Tolerated {
    let mut shortest = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let Some(toleration) = tolerations.iter().find(|toleration| fits(toleration, taint)) else {
            return Tolerated::For(Duration::ZERO);
        };
        // Negative is zero: at once.
        let seconds = toleration.toleration_seconds.map(|seconds| u64::try_from(seconds).unwrap_or(0));
        shortest = match (shortest, seconds) {
            (Some(shortest), Some(seconds)) => Some(seconds.min(shortest)),
            (shortest, seconds) => shortest.or(seconds),
        };
    }
    shortest.map_or(Tolerated::Forever, |seconds| Tolerated::For(Duration::from_secs(seconds)))
}

fn fits(toleration: &Toleration, taint: &Taint) -> bool {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if set(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    let key = set(&toleration.key);
    if key.as_ref().is_some_and(|key| *key != taint.key) {
        return false;
    }
    match set(&toleration.operator).as_deref() {
        Some("Exists") => true,
        // An empty key goes with `Exists` alone.
        None | Some("Equal") => {
            key.is_some() && toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("")
        }
        Some(_) => false,
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
}
