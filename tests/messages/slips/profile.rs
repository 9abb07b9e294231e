//! A profile for a run that has a rule already, and a profile with two.
//!
//! error: this run has a rule for its errors already
//! note: say `.profile(..)` or `.by_failure()` before `.when(..)`
//! note: of two profiles only the second may have a rule

use relent::{Policy, Profile, retry};

async fn work() -> Result<(), u8> {
    Ok(())
}

pub fn slips() {
    let calls = Profile::new(Policy::new()).when(|_: &u8| true);
    drop(retry(async |_| work().await).when(|_| true).profile(&calls));
    drop(calls.when(|_: &u8| false));
}
