//! The incidents that this crate is for, played: `cargo run --example incidents --features demo -- configmap`.
//!
//! Each scene says what the original did, shows what we do, and checks it: the exit code is 1 if anything is off.
#![allow(clippy::disallowed_methods)]

#[cfg(feature = "etcd")]
#[path = "../../../crates/relent-etcd/tests/etcd/real/around.rs"]
#[allow(dead_code, clippy::pedantic)]
mod around;
mod configmap;
mod etcd;
mod leader;
mod operation;
mod queue;
#[cfg(feature = "etcd")]
#[path = "../../../crates/relent-etcd/tests/etcd/real/server.rs"]
#[allow(dead_code, clippy::pedantic)]
mod server;
mod stage;

use std::{path::PathBuf, process::ExitCode};

use stage::{Failed, Stage};

const USAGE: &str = "\
cargo run --example incidents --features demo -- [SCENE..] [--kubeconfig FILE] [--real]

  SCENE              configmap, etcd, leader, operation, queue, or all (default: all)
  --kubeconfig FILE  play what can be played on that cluster; nothing in it is changed but what the scene made
  --real             play what can be played in real time, on servers that are started for it
";

/// What was asked for.
pub(crate) struct Options {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) real: bool,
}

struct Scene {
    name: &'static str,
    title: &'static str,
    play: fn(&Options, &mut Stage) -> Result<(), Failed>,
}

/// A scene is one file beside this one and one entry here.
const SCENES: &[Scene] = &[
    Scene { name: "configmap", title: "a ConfigMap with a short retry", play: configmap::play },
    Scene { name: "etcd", title: "a member is added, and the answer is lost", play: etcd::play },
    Scene { name: "leader", title: "a timing that cannot be, and an election", play: leader::play },
    Scene { name: "operation", title: "an annotation that is never taken away", play: operation::play },
    Scene { name: "queue", title: "timed work that is changed while it runs", play: queue::play },
];

fn main() -> ExitCode {
    let (options, scenes) = match read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut stage = Stage::default();
    for scene in scenes {
        stage.scene(scene.name, scene.title);
        if let Err(failed) = (scene.play)(&options, &mut stage) {
            stage.failed(scene.name, &failed);
        }
    }
    stage.close()
}

/// Reads the arguments.
fn read(arguments: impl Iterator<Item = String>) -> Result<(Options, Vec<&'static Scene>), String> {
    let mut options = Options { kubeconfig: None, real: false };
    let mut scenes: Vec<&Scene> = Vec::new();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--real" => options.real = true,
            "--kubeconfig" => {
                options.kubeconfig = Some(arguments.next().ok_or("--kubeconfig needs a file")?.into());
            }
            "all" => scenes.extend(SCENES),
            name => {
                let known = SCENES.iter().find(|scene| scene.name == name);
                scenes.push(known.ok_or_else(|| format!("no scene and no option: {name}"))?);
            }
        }
    }
    if scenes.is_empty() {
        scenes.extend(SCENES);
    }
    Ok((options, scenes))
}
