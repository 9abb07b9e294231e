//! What an API server does, each fact once, asked of ours always and of a real one where there is one.

use std::{future::Future, io::Write, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt};
use kube::Config;
use relent_apiserver::ApiServer;

use super::world::{World, configuration, real};

mod apply;
mod custom;
mod definitions;
mod deletion;
mod eviction;
mod forms;
mod kinds;
mod lease;
mod listing;
mod load;
mod objects;
mod owners;
mod parts;
mod refusals;
mod strictness;
mod tables;
mod users;
mod watching;
mod workloads;

/// How asking went.
pub enum Ran {
    Yes,
    /// It cannot be asked there.
    No(&'static str),
}

type Asking = Pin<Box<dyn Future<Output = Ran> + Send>>;
type Fact = (&'static str, fn(Arc<World>) -> Asking);

/// Lists facts: `async fn name(world: Arc<World>) -> Ran`.
macro_rules! facts {
    ($($name:ident),* $(,)?) => {
        pub const FACTS: &[super::Fact] = &[$((concat!(module_path!(), "::", stringify!($name)), |world| Box::pin($name(world)))),*];
    };
}
use facts;

fn all() -> Vec<Fact> {
    [
        objects::FACTS,
        apply::FACTS,
        refusals::FACTS,
        lease::FACTS,
        deletion::FACTS,
        listing::FACTS,
        watching::FACTS,
        custom::FACTS,
        eviction::FACTS,
        forms::FACTS,
        definitions::FACTS,
        kinds::FACTS,
        workloads::FACTS,
        owners::FACTS,
        users::FACTS,
        strictness::FACTS,
        parts::FACTS,
        tables::FACTS,
        load::FACTS,
    ]
    .concat()
}

/// More than any fact takes on a real server.
const PATIENCE: Duration = Duration::from_secs(100);

/// The server to ask.
enum Server {
    /// In process: no socket, the paused clock.
    Ours,
    /// In process, through its port: real time.
    Port,
    Real(Box<Config>),
}

/// Asks everything of one server and says how it went; fails if any fact does not hold.
async fn ask(name: &str, server: &Server) {
    let only = std::env::var("RELENT_FACT").unwrap_or_default();
    let asked = all().into_iter().filter(|(name, _)| name.contains(&only)).map(|(name, fact)| async move {
        let name = name.split("contract::").last().unwrap_or(name).to_owned();
        let (world, _port) = match server {
            Server::Ours => (World::ours().await, None),
            Server::Port => {
                let server = ApiServer::new();
                let port = server.listen().await.expect("a port");
                let config = configuration(&port.kubeconfig()).await.expect("a kubeconfig that can be used");
                (World::through(&server, &config).await, Some(port))
            }
            Server::Real(config) => (World::on(config).await, None),
        };
        let world = Arc::new(world);
        let fact = AssertUnwindSafe(fact(world.clone())).catch_unwind();
        // A fact that hangs is named, rather than all of them waited for. No paused clock: it would run out at once.
        let ran = match server {
            Server::Ours => fact.await,
            _ => tokio::time::timeout(PATIENCE, fact).await.unwrap_or_else(|_| Err(Box::new("it hangs"))),
        };
        if world.ours.is_none() {
            world.clean_up().await;
        }
        (name, ran)
    });
    let (mut passed, mut failed, mut left_out) = (0, Vec::new(), Vec::new());
    // Several at a time where some have to wait; each has its own namespace.
    let together = if matches!(server, Server::Ours) { 1 } else { 6 };
    let mut asked = futures_util::stream::iter(asked).buffer_unordered(together);
    while let Some((name, ran)) = asked.next().await {
        match ran {
            Ok(Ran::Yes) => passed += 1,
            Ok(Ran::No(why)) => left_out.push(format!("{name}: {why}")),
            Err(_) => failed.push(name),
        }
    }
    // Not println!: the test harness would swallow it.
    let mut out = std::io::stderr();
    let _ = writeln!(
        out,
        "contract: {passed} passed, {} failed, {} not applicable on {name}",
        failed.len(),
        left_out.len()
    );
    for line in &left_out {
        let _ = writeln!(out, "contract:   not applicable there: {line}");
    }
    assert!(failed.is_empty(), "on {name}: {failed:#?}");
    assert!(passed > 0, "nothing was asked of {name}");
}

#[tokio::test(start_paused = true)]
async fn contract_in_process() {
    ask("the in-process server", &Server::Ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_through_a_port() {
    ask("the in-process server through its port", &Server::Port).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_real() {
    match real().await {
        Some(config) => ask(&config.cluster_url.to_string(), &Server::Real(Box::new(config.clone()))).await,
        None => {
            let _ = writeln!(std::io::stderr(), "contract: NOT ASKED of a real server: RELENT_KUBECONFIG is not set");
        }
    }
}
