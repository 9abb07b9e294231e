//! The sentence of an error that cannot be told.
//!
//! error: `Mute` is neither an error nor a text
//! note: implement `std::error::Error` for it, or make it a text with `.map_error(|error| ..)`

#[derive(Debug)]
pub struct Mute;

pub async fn slips() {
    let gave_up = relent::retry(async |_| Err::<(), _>(Mute)).await.unwrap_err();
    println!("{}", gave_up.sentence());
}
