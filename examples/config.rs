//! A policy in a configuration file, and what it would do: `cargo run --example config --features serde`.

use relent::{Policy, retry};

#[derive(serde::Deserialize)]
struct Config {
    fetch: Policy,
    watch: Policy,
}

const FILE: &str = r#"
fetch = "backoff exponential 50ms..1s, attempt_timeout 2s, finish_within 30s"

[watch]
every = "5s"
attempt_timeout = "1s"
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config: Config = toml::from_str(FILE)?;
    println!("{}\n\n{}", config.fetch.plan(), config.watch);
    let answer = retry(async |attempt| if attempt.number() < 3 { Err("busy") } else { Ok("here") });
    println!("\n{}", answer.policy(&config.fetch).boxed().await?);
    let wrong = toml::from_str::<Config>("fetch = 'every 5'\nwatch = ''").map(|config| config.watch);
    println!("{}", wrong.unwrap_err()); // what is wrong, where, and how to write it
    Ok(())
}
