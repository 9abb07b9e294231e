//! Counting by callgrind: one process for all rows, which writes down its counts at each call of `mark`.

use std::{collections::HashMap, env, fs, process::Command};

/// How often a row is repeated in its short and in its long run; the difference is what is counted.
pub const FEW: u64 = 50;
pub const MANY: u64 = 550;

/// Instructions and clock reads of one time of each row, by this program in that mode.
pub fn count(mode: &str, rows: usize) -> Vec<(f64, f64)> {
    let directory = env::temp_dir().join(format!("relent-counts-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let out = directory.join("out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--compress-strings=no", "--dump-before=*counts*mark*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().expect("the name of this program"))
        .arg(mode)
        .output()
        .expect("valgrind");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The first dump is what came before the first row.
    let part = |n: usize| {
        let file = directory.join(format!("out.{n}"));
        Part::read(&fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
    };
    let counts = (0..rows).map(|row| {
        let (few, many) = (part(2 * row + 2), part(2 * row + 3));
        let each = |few: u64, many: u64| (many as f64 - few as f64) / (MANY - FEW) as f64;
        (each(few.instructions, many.instructions), each(few.reads, many.reads))
    });
    let counts = counts.collect();
    _ = fs::remove_dir_all(&directory);
    counts
}

struct Part {
    instructions: u64,
    reads: u64,
}

impl Part {
    fn read(text: &str) -> Self {
        let (mut instructions, mut callee) = (0, "");
        let mut calls: HashMap<&str, u64> = HashMap::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("cfn=") {
                callee = name;
            } else if let Some(call) = line.strip_prefix("calls=") {
                let count: u64 = call.split(' ').next().and_then(|count| count.parse().ok()).expect("a count of calls");
                *calls.entry(callee).or_default() += count;
            } else if let Some(total) = line.strip_prefix("summary: ") {
                instructions = total.trim().parse().expect("a total");
            }
        }
        // libc's own function, or its symbol with a version.
        let reads = calls.iter().filter(|(name, _)| name.starts_with("clock_gettime")).map(|(_, calls)| calls).sum();
        Self { instructions, reads }
    }
}
