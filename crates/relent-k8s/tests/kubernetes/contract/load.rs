//! Many at once.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::join_all;
use serde_json::json;

use super::{
    super::world::{World, revision},
    Ran, facts,
};

facts![of_sixteen_writers_one_wins, a_watch_sees_everything_once];

const ROUNDS: u32 = 200;
const WRITERS: u32 = 16;

/// Conditional writes with one revision: in each round exactly one is done.
async fn of_sixteen_writers_one_wins(world: Arc<World>) -> Ran {
    let mut lease = world.post(&world.leases(""), json!({ "metadata": { "name": "a" } })).await.is(201).body.clone();
    let path = world.leases("/a");
    for round in 0..ROUNDS {
        let writes = (0..WRITERS).map(|writer| {
            let mut wish = lease.clone();
            wish["spec"]["holderIdentity"] = format!("{round}-{writer}").into();
            let (world, path) = (world.clone(), path.clone());
            tokio::spawn(async move { world.put(&path, &wish).await })
        });
        let answers: Vec<_> = join_all(writes).await.into_iter().map(Result::unwrap).collect();
        let won: Vec<_> = answers.iter().filter(|answer| answer.code == 200).collect();
        assert_eq!(won.len(), 1, "round {round}");
        for lost in answers.iter().filter(|answer| answer.code != 200) {
            lost.fails(409, "Conflict", "the object has been modified");
        }
        let now = world.get(&path).await;
        assert_eq!(now.body, won[0].body);
        lease = now.body;
    }
    Ran::Yes
}

/// Eight write; one watches: each write is seen once, in the order of the revisions, and nothing else is.
async fn a_watch_sees_everything_once(world: Arc<World>) -> Ran {
    let start = world.map("start").await.revision();
    let path =
        world.core(&format!("configmaps?watch=true&resourceVersion={start}&labelSelector=load&timeoutSeconds=300"));
    let mut watch = world.watch(&path).await;
    let writers = (0..8).map(|writer| {
        let world = world.clone();
        tokio::spawn(async move {
            let mut written = Vec::new();
            for turn in 0..20 {
                let name = format!("w{writer}-{}", turn % 3);
                let labels = json!({ "load": "yes" });
                let made = world
                    .post(
                        &world.core("configmaps"),
                        json!({ "metadata": { "name": name, "labels": labels }, "data": { "turn": turn.to_string() } }),
                    )
                    .await;
                written.push((made.is(201).revision(), "ADDED", turn));
                let object = world.core(&format!("configmaps/{name}"));
                let changed = world.patch("merge", &object, json!({ "data": { "more": "yes" } })).await;
                written.push((changed.is(200).revision(), "MODIFIED", turn));
                world.delete(&object).await.is(200);
            }
            written
        })
    });
    let writers = tokio::spawn(join_all(writers));
    let (mut last, mut seen, mut alive) = (start, HashMap::new(), HashMap::new());
    for _ in 0..8 * 20 * 3 {
        let (kind, object) = watch.change().await;
        let at = revision(&object);
        assert!(at > last, "{at} after {last}");
        last = at;
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let was = alive.insert(name, kind != "DELETED").unwrap_or(false);
        assert_eq!(was, kind != "ADDED", "{kind} {object}");
        seen.insert(at, (kind, object["data"]["turn"].clone()));
    }
    for (at, kind, turn) in writers.await.unwrap().into_iter().flat_map(Result::unwrap) {
        assert_eq!(seen.remove(&at), Some((kind.to_owned(), turn.to_string().into())), "revision {at}");
    }
    assert!(seen.values().all(|(kind, _)| kind == "DELETED"));
    Ran::Yes
}
