//! What a person reads of the errors of this crate, by `{}` and by what `unwrap()` and `fn main() -> Result` print.
//!
//! `texts.txt` is for a person to read. After a change, `RENEW=1 cargo test` writes it anew.

use std::{error::Error, fmt::Write, time::Duration};

use relent_etcd::{CallError, Code, Member, MemberError, Members, classify, model::Model};

#[path = "../../../../tests/engine/snapshot.rs"]
#[allow(unreachable_pub, reason = "the tests of other crates share it")]
mod snapshot;

/// What an error says to every reporter.
fn error(table: &mut String, what: &str, error: &(dyn Error + 'static)) {
    let text = error.to_string();
    assert_eq!(format!("{error:?}"), text, "{what}");
    let whole = relent::error::chain(error).to_string();
    writeln!(table, "\n{what}\n  {:11} {text}", "{}, {:?}").unwrap();
    assert_eq!(whole, text, "a cause is told once");
    for dump in ["Answered", "Call {", "Member {", "\n", "Some("] {
        assert!(!whole.contains(dump), "{what}: {whole}");
    }
}

fn call(call: &'static str, error: CallError) -> MemberError {
    MemberError::Call { call, endpoint: "http://etcd-1:2379".to_owned(), error }
}

/// Every answer of etcd, as a member operation tells it.
fn answers(table: &mut String) {
    for known in classify::MESSAGES {
        let answered = CallError::Answered { code: known.code, message: format!("etcdserver: {}", known.text) };
        let failed = call("member add", answered);
        assert!(failed.to_string().contains(known.text), "{failed}");
        error(table, &format!("{:?}", known.class), &failed);
    }
    for other in [
        CallError::NotSent("tcp connect error: Connection refused (os error 111)".to_owned()),
        CallError::NoAnswer("nothing within 1s".to_owned()),
        CallError::OtherMember("at its client url answers another member: 7".to_owned()),
        CallError::Untrusted("received fatal alert: CertificateRequired".to_owned()),
        CallError::Answered { code: Code::Unknown, message: "raft: stopped".to_owned() },
    ] {
        error(table, "another", &call("member list", other));
    }
}

fn states(table: &mut String) {
    let member = |id| Box::new(Member::new(id, vec![format!("http://etcd-{id}:2380")], id > 3));
    for state in [
        MemberError::WouldLoseQuorum {
            change: "removing it".to_owned(),
            voters: 2,
            able: 1,
            quorum: 2,
            advice: "those that do not answer must run first",
            later: true,
        },
        MemberError::IsVoter(member(1)),
        MemberError::NotFound("4d".to_owned()),
        MemberError::Replaced { was: 3, now: member(4) },
        MemberError::UrlsDiffer { member: member(1), missing: vec!["http://etcd-9:2380".to_owned()] },
        MemberError::TwoMembers { one: member(1), other: member(2) },
        MemberError::NotStarted(member(4)),
        MemberError::NotAnswering { member: member(4), error: CallError::NoAnswer("nothing within 1s".to_owned()) },
    ] {
        error(table, "a state", &state);
    }
}

#[tokio::test(start_paused = true)]
async fn read_by_a_person() {
    let mut table =
        "What is read of the errors of relent-etcd. `fn main() -> Result` prints `Error: ` and `{:?}`.\n".to_owned();
    answers(&mut table);
    states(&mut table);
    // The end of a run.
    let members = Members::new(Model::new(3).client()).unwrap();
    let never = members.ensure_joined(["http://etcd-4:2380"]).unwrap().finish_within(Duration::from_secs(5));
    let gave_up = never.await.unwrap_err();
    assert!(!format!("{gave_up:?}").contains("Member {"), "{gave_up:?}");
    writeln!(table, "\nthe end of a run\n  {:11} {gave_up}\n  {:11} {gave_up:?}", "{}", "{:?}").unwrap();
    snapshot::compare("tests/etcd/texts.txt", &table);
}
