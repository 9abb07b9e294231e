//! `.by_failure()` in the wrong place, with a rule that has nothing to decide, or forgotten.
//!
//! error: there are no errors to classify here: the operation does not answer a plain `Result`
//! note: after `.by_failure()` the operation has said itself what follows: leave out `.when(..)`
//! error: this run has a listener already, for errors of another type
//! note: say `.by_failure()` first: the events after it have the plain error
//! error: this run has a rule for its errors already
//! note: say `.profile(..)` or `.by_failure()` before `.when(..)`
//! note: of a `Failure<E>`: say `.by_failure()` on the builder

use relent::{Failure, retry};

async fn work() -> Result<(), Failure<u8>> {
    Ok(())
}

pub async fn slips() {
    drop(retry(async |_| work().await).by_failure().when(|_| true));
    drop(retry(async |_| work().await).notify(|_| {}).by_failure());
    drop(retry(async |_| work().await).when(|_| true).by_failure());
    println!("{}", retry(async |_| work().await).await.unwrap_err());
}
