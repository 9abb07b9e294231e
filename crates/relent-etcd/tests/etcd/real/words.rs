//! What etcd really answers, against the table; and each operation once, untroubled.

use relent::Change;
use relent_etcd::{CallError, CallErrorClass, Cluster, EtcdCluster, MemberError, classify};

use super::server::{Server, Version, eventually, ms, with_url};

fn text(error: impl std::borrow::Borrow<CallError>) -> (CallErrorClass, String) {
    let error = error.borrow();
    let CallError::Answered { code, message } = error else { panic!("{error}") };
    assert!(classify::find(message).is_some(), "{message} ({code}) is not in the table");
    let known = classify::find(message).unwrap();
    let (class, known_text) = (error.class(), known.text.to_owned());
    println!("{message} ({code}): {class:?}");
    assert_eq!(known.code, *code, "{message}");
    (class, known_text)
}

async fn answers_are_in_the_table(version: Version) {
    let mut server = Server::start(version, 3).await;
    let cluster = EtcdCluster::new([server.nodes[0].client_url()], etcd_client::ConnectOptions::new()).unwrap();
    let endpoint = cluster.endpoints()[0].clone();
    let url = |port: u16| [format!("http://127.0.0.1:{port}")];

    // Etcd has only just started: for five seconds it adds no member.
    let (class, said) = text(cluster.add(&endpoint, &url(1), true).await.unwrap_err());
    assert_eq!((class, said.as_str()), (CallErrorClass::Later, "unhealthy cluster"));
    let learner = eventually("settled", async || cluster.add(&endpoint, &url(1), true).await.ok()).await;

    let (class, said) = text(cluster.add(&endpoint, &url(2), true).await.unwrap_err());
    assert_eq!((class, said.as_str()), (CallErrorClass::Later, "too many learner members in cluster"));
    let (class, said) = text(cluster.add(&endpoint, &url(1), false).await.unwrap_err());
    assert_eq!(class, CallErrorClass::Look, "{said}");
    tokio::time::sleep(ms(1100)).await;
    let (class, said) = text(cluster.add(&endpoint, &url(1), false).await.unwrap_err());
    assert_eq!((class, said.as_str()), (CallErrorClass::Look, "Peer URLs already exists"));
    let (class, said) = text(cluster.promote(&endpoint, learner).await.unwrap_err());
    assert_eq!(
        (class, said.as_str()),
        (CallErrorClass::Later, "can only promote a learner member which is in sync with leader")
    );
    let voter = cluster.status(&endpoint).await.unwrap().id;
    let (class, said) = text(cluster.promote(&endpoint, voter).await.unwrap_err());
    assert_eq!((class, said.as_str()), (CallErrorClass::Look, "can only promote a learner member"));
    for error in [cluster.promote(&endpoint, 7).await.unwrap_err(), cluster.remove(&endpoint, 7).await.unwrap_err()] {
        assert_eq!(text(error), (CallErrorClass::Look, "member not found".to_owned()));
    }
    cluster.remove(&endpoint, learner).await.unwrap();
    let (class, said) = text(cluster.remove(&endpoint, learner).await.unwrap_err());
    assert_eq!((class, said.as_str()), (CallErrorClass::Look, "member not found"));
    let (class, said) = text(cluster.add(&endpoint, &["nonsense".to_owned()], false).await.unwrap_err());
    assert_eq!((class, said.as_str()), (CallErrorClass::Decided, "given member URLs are invalid"));

    // A learner that runs answers only for itself.
    let at = server.new_node();
    let peer_url = server.nodes[at].peer_url();
    let members = server.members();
    members.ensure_learner([&peer_url]).unwrap().every(ms(100)).await.unwrap();
    server.join(at).await;
    let learner = server.nodes[at].client_url();
    let status = eventually("the learner answers", async || cluster.status(&learner).await.ok()).await;
    assert!(status.learner);
    let (class, said) = text(cluster.barrier(&learner).await.unwrap_err());
    let (class_of_list, said_of_list) = text(cluster.agreed_members(&learner).await.unwrap_err());
    assert_eq!((class_of_list, &said_of_list), (class, &said));
    assert_eq!((class, said.as_str()), (CallErrorClass::Elsewhere, "rpc not supported for learner"));

    // One voter of three down: no member is added.
    server.kill(2);
    // Etcd takes a moment to notice.
    tokio::time::sleep(ms(1000)).await;
    let (class, said) = text(cluster.add(&endpoint, &url(3), false).await.unwrap_err());
    assert_eq!((class, said.as_str()), (CallErrorClass::Later, "unhealthy cluster"));
}

#[tokio::test]
async fn answers_of_3_4_are_in_the_table() {
    answers_are_in_the_table(Version::V34).await;
}

#[tokio::test]
async fn answers_of_3_5_are_in_the_table() {
    answers_are_in_the_table(Version::V35).await;
}

#[tokio::test]
async fn the_last_voter_stays() {
    for version in Version::BOTH {
        let server = Server::start(version, 1).await;
        let cluster = EtcdCluster::new([server.nodes[0].client_url()], etcd_client::ConnectOptions::new()).unwrap();
        let endpoint = cluster.endpoints()[0].clone();
        let id = cluster.status(&endpoint).await.unwrap().id;
        let (class, said) = text(cluster.remove(&endpoint, id).await.unwrap_err());
        assert_eq!(
            (class, said.as_str()),
            (CallErrorClass::Later, "re-configuration failed due to not enough started members")
        );

        let members = server.members();
        let refused = members.ensure_removed(id).unwrap().await.unwrap_err();
        assert!(refused.is_fatal() && refused.attempts() == 1, "{refused}");
        let refused = members.ensure_voter(["http://127.0.0.1:1"]).unwrap().await.unwrap_err();
        assert!(matches!(refused.last_error(), Some(MemberError::WouldLoseQuorum { .. })), "{refused}");
        assert_eq!(members.list().await.unwrap().len(), 1);
    }
}

async fn a_life(version: Version) {
    let mut server = Server::start(version, 3).await;
    let members = server.members();
    let at = server.new_node();
    let url = server.nodes[at].peer_url();

    let learner = members.ensure_learner([&url]).unwrap().every(ms(100)).await.unwrap();
    assert_eq!(learner.change, Change::Applied);
    let again = members.ensure_learner([&url]).unwrap().await.unwrap();
    assert_eq!((again.change, again.value.id), (Change::AlreadySo, learner.value.id));
    let early = members.ensure_promoted(url.as_str()).unwrap().every(ms(50)).finish_within(ms(500)).await.unwrap_err();
    assert!(matches!(early.last_error(), Some(MemberError::NotStarted(_))), "{early}");

    server.join(at).await;
    let promoted = members.ensure_voter([&url]).unwrap().every(ms(50)).await.unwrap();
    assert_eq!(
        (promoted.change, promoted.value.id, promoted.value.learner),
        (Change::Applied, learner.value.id, false)
    );
    let wrong = members.ensure_learner([&url]).unwrap().await.unwrap_err();
    assert!(matches!(wrong.last_error(), Some(MemberError::IsVoter(_))) && wrong.attempts() == 1, "{wrong}");
    assert_eq!(server.healthy().await.members.len(), 4);

    let gone = members.ensure_removed(learner.value.id).unwrap().every(ms(100)).await.unwrap();
    assert_eq!(gone.value.removed.unwrap().id, learner.value.id);
    let (count, _) = with_url(&members.list().await.unwrap(), &url);
    assert_eq!(count, 0);
    let again = members.ensure_removed(learner.value.id).unwrap().await.unwrap();
    assert_eq!(again.change, Change::AlreadySo);
}

#[tokio::test]
async fn a_life_on_3_4() {
    a_life(Version::V34).await;
}

#[tokio::test]
async fn a_life_on_3_5() {
    a_life(Version::V35).await;
}
