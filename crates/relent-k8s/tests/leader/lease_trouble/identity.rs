//! One identity in two processes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use kube::Client;
use relent_apiserver::{ApiServer, Fault};
use relent_k8s::LeaseLock;
use tokio::{task::JoinHandle, time::sleep};

use super::{MS, S, Said, Terms, leases, lock, released, stands};
use crate::{random_numbers, schedules};

/// A client whose connection can be cut without touching the others.
fn cuttable(server: &ApiServer, cut: &Arc<AtomicBool>) -> Client {
    let (server, cut) = (server.clone(), Arc::clone(cut));
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (cut, mut server) = (Arc::clone(&cut), server.clone());
        async move {
            if cut.load(Ordering::SeqCst) {
                return Err::<_, tower::BoxError>("no route to host".into());
            }
            tower::Service::call(&mut server, request).await
        }
    });
    Client::new(service, "default")
}

/// A StatefulSet's pod on a node that is cut off is deleted by force, and started elsewhere under its name. The node comes back.
#[tokio::test(start_paused = true)]
async fn the_same_identity_does_not_lead_beside_itself_after_a_partition() {
    for was_there in [true, false] {
        for seed in 0..3 {
            let (server, terms, said) = (ApiServer::new(), Terms::default(), Said::default());
            if was_there {
                released(&server).await;
            }
            let cut = Arc::new(AtomicBool::new(false));
            let old = LeaseLock::new(cuttable(&server, &cut), "default", "demo").unwrap();
            let all = [stands(old, "web-0", 0, &terms, &said), {
                sleep(S(20 + seed)).await;
                cut.store(true, Ordering::SeqCst);
                stands(lock(&server), "web-0", 1, &terms, &said)
            }];
            sleep(S(60)).await;
            cut.store(false, Ordering::SeqCst);
            sleep(S(3_600)).await;
            assert_eq!(terms.check(), [0, 1], "was there: {was_there}");
            assert_eq!(terms.leads_now(), Some(1));
            all.iter().for_each(JoinHandle::abort);
        }
    }
}

/// Two processes of one identity on a server in every kind of trouble.
#[tokio::test(start_paused = true)]
async fn the_same_identity_never_leads_beside_itself() {
    for seed in 0..schedules(25) {
        let (server, terms, said) = (ApiServer::new(), Terms::default(), Said::default());
        let mut random = random_numbers(seed);
        let cuts = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
        let all: Vec<_> = (0..2)
            .map(|number| {
                let lock = LeaseLock::new(cuttable(&server, &cuts[number]), "default", "demo").unwrap();
                stands(lock, "web-0", number, &terms, &said)
            })
            .collect();
        for _ in 0..25 {
            sleep(MS(random() % 12_000)).await;
            let calls = random() % 8;
            match random() % 8 {
                0 => drop(server.inject(Fault::hang().path("**/leases*/**").times(calls))),
                1 | 2 => drop(server.inject(Fault::lose_answer().path("**/leases*/**").times(calls))),
                3 => drop(server.inject(Fault::status(403).path("**/leases*/**").times(calls))),
                4 => drop(
                    server.inject(Fault::delay(MS(random() % 8_000)).detached().path("**/leases*/**").times(calls)),
                ),
                5 => drop(cuts[(calls % 2) as usize].fetch_not(Ordering::SeqCst)),
                6 => drop(tokio::time::timeout(S(1), leases(&server).delete("demo", &Default::default())).await),
                _ => server.lift_faults(),
            }
        }
        assert!(all.iter().all(|run| !run.is_finished()));
        terms.check();
        all.iter().for_each(JoinHandle::abort);
    }
}
