//! Controllers of others on this server: kube's own examples, written anew, and its runtime under faults.
#![allow(clippy::disallowed_methods, unreachable_pub)]

#[path = "../../examples/controller/main.rs"]
mod example;

mod documents;
mod faults;
mod generators;

#[test]
fn the_example_plays() {
    example::main();
}
