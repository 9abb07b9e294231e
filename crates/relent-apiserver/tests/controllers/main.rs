//! Controllers of others on this server: kube's own examples, written anew, and its runtime under faults.
#![allow(clippy::disallowed_methods, unreachable_pub)]

#[path = "../../examples/controller.rs"]
#[allow(dead_code)]
mod generator;

mod documents;
mod faults;

#[tokio::test(start_paused = true)]
async fn the_example_plays() {
    generator::play().await;
}
