//! What answers in containers, as a test scripts it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::{Value, json};
use tokio::io::DuplexStream;

/// What is to be run in a container, with all that was written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exec {
    /// In which container.
    pub container: String,
    /// The program and its arguments; empty for `attach`.
    pub command: Vec<String>,
    /// What came from the caller until it closed its side.
    pub stdin: Vec<u8>,
}

/// What a program in a container has written, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Output {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) code: i32,
}

impl Output {
    /// It has written this.
    pub fn stdout(text: impl Into<Vec<u8>>) -> Self {
        Self { stdout: text.into(), ..Self::default() }
    }

    /// And this, as an error.
    pub fn stderr(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stderr = text.into();
        self
    }

    /// It ended with this code; else with 0.
    pub fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// The last word of the protocol.
    pub(super) fn status(&self) -> Value {
        if self.code == 0 {
            return json!({ "metadata": {}, "status": "Success" });
        }
        let causes = [json!({ "reason": "ExitCode", "message": self.code.to_string() })];
        json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "details": { "causes": causes },
            "message": format!("command terminated with non-zero exit code: exit status {}", self.code),
        })
    }
}

pub(super) type Runs = Arc<dyn Fn(&Exec) -> Output + Send + Sync>;
pub(super) type Takes = Arc<dyn Fn(DuplexStream) + Send + Sync>;

/// What answers in containers: by namespace and pod, and port.
#[derive(Default)]
pub(super) struct Scripts {
    pub(super) runs: BTreeMap<(String, String), Runs>,
    pub(super) ports: BTreeMap<(String, String, u16), Takes>,
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripts").field("runs", &self.runs.keys()).field("ports", &self.ports.keys()).finish()
    }
}
