//! Writes that were done and answered as if they were not, and reads that are no ConfigMap: by proxies, by clients that
//! repeat writes on their own, by a server that stumbles.

use relent::fleet::Trouble;

use super::*;

const OTHER: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"other","namespace":"default","uid":"u","resourceVersion":"99999999"},"data":{"record":"relent fleet 1\nsettled\n"}}"#;

fn answers() -> Vec<(String, Fault)> {
    let mut all: Vec<_> = [400, 401, 403, 404, 408, 409, 410, 422, 429, 500, 502, 503, 504]
        .into_iter()
        .map(|code| (code.to_string(), Fault::status(code)))
        .collect();
    for text in ["{}", "[]", "null", "<html>Sign in</html>", r#"{"kind":"Status","status":"Success"}"#, OTHER] {
        all.push((text.to_owned(), Fault::text(200, text)));
    }
    all.push(("a page".to_owned(), Fault::text(404, "404 page not found")));
    all.push(("lost".to_owned(), Fault::lose_answer()));
    all.push(("hangs".to_owned(), Fault::hang()));
    all
}

type Heard = Arc<Mutex<Vec<String>>>;

fn listening(client: Client) -> (FleetMember, Heard) {
    let heard = Heard::default();
    let told = Arc::clone(&heard);
    let fleet = Fleet::new(ledger(client), "pod").rate(Rate::per_second(100)).burst(50).ttl(S(5)).unwrap();
    let fleet = fleet.on_event(move |event| match event {
        FleetEvent::Trouble(Trouble::SameId) => told.lock().unwrap().push("the same id".to_owned()),
        FleetEvent::Trouble(trouble) => told.lock().unwrap().push(trouble.to_string()),
        FleetEvent::NoShare => told.lock().unwrap().push("no share".to_owned()),
        _ => {}
    });
    (fleet.join().unwrap(), heard)
}

async fn settled(server: &ApiServer) {
    ledger(server.client()).compare_and_swap(None, SETTLED.into()).await.unwrap();
}

/// Its own write is its own, whatever was answered: it is no other process, and the share is kept.
#[tokio::test(start_paused = true)]
async fn a_write_that_was_done_is_its_own() {
    for (what, fault) in answers() {
        let server = ApiServer::new();
        settled(&server).await;
        let (member, heard) = listening(server.client());
        hungry(member.limiter(), &Arc::default());
        sleep(S(10)).await;
        assert_eq!(member.share().rate, Rate::per_second(100), "{what}");
        heard.lock().unwrap().clear();
        for _ in 0..3 {
            server.inject(fault.clone().after_applying().verb(Verb::Patch).times(1));
            sleep(S(10)).await;
        }
        let heard = heard.lock().unwrap();
        let lost = heard.iter().find(|text| ["the same id", "no share"].contains(&text.as_str()));
        assert!(lost.is_none() && member.share().rate == Rate::per_second(100), "{what}: {heard:?}");
        assert!(heard.iter().all(|text| !text.contains("Status {") && !text.contains('\n')), "{what}: {heard:?}");
    }
}

/// What is read and no ConfigMap is not believed: nothing is written over it, and it is told with the ConfigMap's name.
#[tokio::test(start_paused = true)]
async fn what_is_read_and_no_config_map_is_none() {
    for (what, fault) in answers().into_iter().filter(|(what, _)| what != "404") {
        let server = ApiServer::new();
        settled(&server).await;
        let (member, heard) = listening(server.client());
        hungry(member.limiter(), &Arc::default());
        sleep(S(10)).await;
        heard.lock().unwrap().clear();
        let before = text(&server.client()).await;
        let odd = server.inject(fault.verb(Verb::Get));
        sleep(S(60)).await;
        odd.lift();
        assert!(text(&server.client()).await.starts_with("relent fleet 1\nsettled"), "{what}: {before}");
        let told = heard.lock().unwrap().clone();
        let named = told.iter().filter(|text| text.contains("\"fleet-limit\"")).count();
        assert!(named > 0 || told.iter().any(|text| text.starts_with("no answer within")), "{what}: {told:?}");
        sleep(S(20)).await;
        assert_eq!(member.share().rate, Rate::per_second(100), "{what}: {:?}", heard.lock().unwrap());
    }
}
