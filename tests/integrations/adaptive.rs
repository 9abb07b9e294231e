//! A rate that a server sets.

use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use relent::{Backoff, Limiter, Policy, Profile, Rate, Ratio, blocking, ensure, limiter::Adaptive, poll, retry};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq)]
enum Error {
    TooMany,
    Broken,
}

fn too_many(error: &Error) -> bool {
    *error == Error::TooMany
}

#[tokio::test(start_paused = true)]
async fn only_too_many_lowers_the_rate_and_only_answers_raise_it() {
    let limiter = Limiter::per_second(100).burst(1000);
    let adaptive = Adaptive::new(&limiter, 10..=100).unwrap().steps(5, Ratio::percent(50), SECOND).unwrap();
    let fails = |error: Error| {
        let run = retry(move |_| ready(Err::<(), _>(error.clone()))).max_attempts(1).throttle(&limiter);
        run.listen(adaptive.listener(too_many))
    };
    fails(Error::Broken).await.unwrap_err();
    assert_eq!(limiter.rate(), Rate::per_second(100));
    for _ in 0..10 {
        fails(Error::TooMany).await.unwrap_err();
    }
    assert_eq!(limiter.rate(), Rate::per_second(50), "all within one interval");
    tokio::time::advance(SECOND).await;
    fails(Error::Broken).await.unwrap_err();
    assert_eq!(limiter.rate(), Rate::per_second(50));
    // An answer that is not what is waited for is one.
    let up = poll(async |attempt| Ok::<_, Error>((attempt.number() == 4).then_some(())));
    up.every(SECOND).listen(adaptive.listener(too_many)).await.unwrap();
    assert_eq!(limiter.rate(), Rate::per_second(70));
    for _ in 0..100 {
        tokio::time::advance(SECOND).await;
        adaptive.succeeded();
    }
    assert_eq!(limiter.rate(), Rate::per_second(100));
    for _ in 0..100 {
        tokio::time::advance(SECOND).await;
        adaptive.too_many();
    }
    assert_eq!(adaptive.limiter().rate(), Rate::per_second(10));
}

#[tokio::test(start_paused = true)]
async fn it_hears_runs_of_every_verb_and_of_a_profile() {
    let limiter = Limiter::per_second(64);
    let adaptive = Adaptive::new(&limiter, 1..=64).unwrap().steps(1, Ratio::percent(50), Duration::ZERO).unwrap();
    let profile =
        Profile::new(Policy::new().max_attempts(1)).listen(adaptive.listener(too_many as fn(&Error) -> bool)).erased();
    retry(async |_| Err::<(), _>(Error::TooMany)).profile(&profile).await.unwrap_err();
    assert_eq!(limiter.rate(), Rate::per_second(32));
    blocking::retry(|_| Err::<(), _>(Error::TooMany)).profile(&profile).call().unwrap_err();
    assert_eq!(limiter.rate(), Rate::per_second(16));
    let act = ensure(async |_| Ok::<Option<()>, Error>(None), async |()| Err::<(), _>(Error::TooMany));
    act.profile(&profile).await.unwrap_err();
    assert!(limiter.rate().permits() <= 8);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let limiter = Limiter::new(Rate::per_minute(90), 1);
    let text = |made: Result<Adaptive, relent::ConfigError>| made.unwrap_err().to_string();
    let bounds = "the lower bound must be 1 or more, and not above the upper one";
    assert_eq!(text(Adaptive::new(&limiter, 0..=9)), format!("bounds 0..=9: {bounds}"));
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    let reversed = Adaptive::new(&limiter, 9..=8);
    assert_eq!(text(reversed), format!("bounds 9..=8: {bounds}"));
    let span = "it must have a rate, whose span the bounds are counted in";
    assert_eq!(text(Adaptive::new(&Limiter::unlimited(), 1..=9)), format!("limiter unlimited: {span}"));
    assert_eq!(text(Adaptive::new(&Limiter::new(Rate::ZERO, 1), 1..=9)), format!("limiter 0: {span}"));
    let steps = Adaptive::new(&limiter, 1..=9).unwrap().steps(1, Ratio::ONE, SECOND);
    assert_eq!(text(steps), "down 1: what is left of the rate must be less than all of it");
    // Within its bounds from the start, in its own span.
    assert_eq!(limiter.rate(), Rate::per_minute(9));
    let _ = Adaptive::new(&limiter, 1..=u32::MAX).unwrap();
    assert_eq!(limiter.rate(), Rate::per_minute(9));
}

/// Takes so many calls in each second and refuses the rest.
struct Server {
    bears: u32,
    began: Instant,
    /// Taken and refused, by second.
    seconds: Vec<(u32, u32)>,
}

impl Server {
    fn call(&mut self) -> Result<(), Error> {
        let second = usize::try_from(self.began.elapsed().as_secs()).unwrap();
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, (0, 0));
        }
        let (taken, refused) = &mut self.seconds[second];
        if *taken < self.bears {
            *taken += 1;
            Ok(())
        } else {
            *refused += 1;
            Err(Error::TooMany)
        }
    }
}

/// Two processes that know nothing of each other, each with as many calls as it is allowed, and a server that bears 40,
/// later 80.
#[tokio::test(start_paused = true)]
async fn clients_find_what_a_server_bears_and_share_it() {
    let server = Arc::new(Mutex::new(Server { bears: 40, began: Instant::now(), seconds: vec![] }));
    let mut clients = vec![];
    for begin in [200, 10] {
        let limiter = Limiter::per_second(begin);
        let adaptive = Adaptive::new(&limiter, 1..=200).unwrap();
        clients.push(limiter.clone());
        for _ in 0..20 {
            let (server, limiter, adaptive) = (server.clone(), limiter.clone(), adaptive.clone());
            tokio::spawn(async move {
                loop {
                    let call = retry(async |_| server.lock().unwrap().call());
                    let call = call.backoff(Backoff::fixed(Duration::ZERO)).throttle(&limiter);
                    call.listen(adaptive.listener(too_many)).await.unwrap();
                }
            });
        }
    }
    let average = |from: usize, to: usize| {
        let seconds = server.lock().unwrap().seconds[from..to].to_vec();
        let sum = seconds.iter().fold((0, 0), |sum, second| (sum.0 + second.0, sum.1 + second.1));
        let count = u32::try_from(to - from).unwrap();
        (sum.0 / count, sum.1 / count)
    };
    tokio::time::sleep(300 * SECOND).await;
    let (taken, refused) = average(100, 300);
    assert!((28..=40).contains(&taken), "{taken} of 40 taken");
    assert!(refused <= 6, "{refused} refused each second");
    server.lock().unwrap().bears = 80;
    tokio::time::sleep(300 * SECOND).await;
    let (taken, refused) = average(400, 600);
    assert!((56..=80).contains(&taken), "{taken} of 80 taken");
    assert!(refused <= 12, "{refused} refused each second");
    let rates: Vec<_> = clients.iter().map(|limiter| limiter.rate().permits()).collect();
    assert!(rates.iter().all(|rate| (14..=70).contains(rate)), "{rates:?}");
}
