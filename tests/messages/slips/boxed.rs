//! anyhow::Error, boxed errors and strings are no `std::error::Error`.
//!
//! error: `GaveUp<&str>` has no text and is no error by itself, because `&str` is no `std::error::Error`
//! label: `&str` is no `std::error::Error`
//! note: say `.boxed()` before `.await`, or `.map_err(GaveUp::boxed)?` after it
//! note: to print it, say `gave_up.sentence()`
//! within: ErrorElseSayBoxed` is not satisfied

pub async fn printed() {
    let gave_up = relent::retry(async |_| Err::<(), _>("busy")).await.unwrap_err();
    println!("{gave_up}");
}

pub async fn question_mark() -> anyhow::Result<()> {
    Ok(relent::retry(async |_| anyhow::Ok(())).max_attempts(2).await?)
}
