//! `examples/plan/main.rs`.

#[path = "../../examples/plan/main.rs"]
#[allow(dead_code)]
mod plan;

#[test]
fn a_policy_is_answered_with_its_plan() {
    let (text, code) = plan::answer("every 50ms, start_within 350ms, attempt_timeout 10s");
    assert_eq!(code, 0);
    assert!(text.contains("8 attempts, ended at 350ms by start_within"), "{text}");
    assert!(text.contains("at worst it takes 10.35s"), "{text}");
    assert!(text.contains("warning: a call that hangs gets no second try"), "{text}");
}

#[test]
fn nothing_is_answered_with_usage_and_plans() {
    let (text, code) = plan::answer("  ");
    assert_eq!(code, 0);
    assert!(text.starts_with("usage: "), "{text}");
    assert_eq!(text.matches("calls fail at once").count(), 5, "{text}");
}

#[test]
fn nonsense_is_answered_with_what_is_wrong() {
    let (text, code) = plan::answer("every 50");
    assert_eq!(code, 2);
    assert_eq!(text, "every 50: write a duration as `350ms`, `1.5s`, `1h30m` or `forever`\n");
}
