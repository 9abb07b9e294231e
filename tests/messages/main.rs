//! What rustc says of the usual slips, as far as this crate says it: each file in `slips` names the lines that must be
//! there.
//!
//! The rest of rustc's messages is not looked at. It changes from version to version.

use std::{collections::BTreeMap, env, fmt::Write, fs, path::Path, process::Command};

use serde_json::Value;

/// The lines of one file that stand after `//! `, or of its messages: `error: ..`, `label: ..`, `note: ..`.
type Lines = Vec<String>;

fn expected(slip: &Path) -> Lines {
    let text = fs::read_to_string(slip).unwrap();
    let header = text.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.trim().to_owned());
    let lines: Lines = header
        .filter(|line| ["error: ", "label: ", "note: ", "within: "].iter().any(|kind| line.starts_with(kind)))
        .collect();
    assert!(!lines.is_empty(), "{} names no line", slip.display());
    lines
}

/// A crate with one module a slip, that shares nothing with this package but its lock file.
fn write_crate(root: &Path, slips: &[String]) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(root.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"slips\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         anyhow = \"1.0\"\nrelent = {{ path = {:?} }}\n",
        package.to_str().unwrap()
    );
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
    fs::copy(package.join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
    let mut modules = String::new();
    for slip in slips {
        let path = package.join("tests/messages/slips").join(slip).with_extension("rs");
        writeln!(modules, "#[path = {:?}]\npub mod {slip};", path.to_str().unwrap()).unwrap();
    }
    fs::write(root.join("src/lib.rs"), modules).unwrap();
}

/// Every line of every error, by the slip that it is about.
fn said(root: &Path) -> BTreeMap<String, Lines> {
    let check = Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--offline", "--message-format=json"])
        .current_dir(root)
        .env("CARGO_TARGET_DIR", root.join("target"))
        .output()
        .unwrap();
    assert!(!check.status.success(), "the slips compile");
    let mut said = BTreeMap::<_, Lines>::new();
    for line in String::from_utf8(check.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let message = &line["message"];
        if message["level"] != "error" {
            continue;
        }
        let spans = message["spans"].as_array().unwrap();
        let Some(primary) = spans.iter().find(|span| span["is_primary"] == true) else { continue };
        let slip = Path::new(primary["file_name"].as_str().unwrap()).file_stem().unwrap().to_str().unwrap();
        let lines = said.entry(slip.to_owned()).or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        lines.extend(text(&message["message"]).map(|text| format!("error: {text}")));
        lines.extend(spans.iter().filter_map(|span| text(&span["label"])).map(|text| format!("label: {text}")));
        let children = message["children"].as_array().unwrap();
        lines.extend(
            children
                .iter()
                .filter_map(|child| Some(format!("{}: {}", child["level"].as_str()?, text(&child["message"])?))),
        );
    }
    assert!(!said.is_empty(), "{}", String::from_utf8_lossy(&check.stderr));
    said
}

#[test]
fn the_usual_slips_are_explained() {
    let slips: Vec<String> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages/slips"))
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("messages");
    write_crate(&root, &slips);
    let said = said(&root);
    let mut missing = String::new();
    for slip in &slips {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages/slips").join(slip).with_extension("rs");
        let lines = said.get(slip).map_or(&[][..], Vec::as_slice);
        for line in expected(&path) {
            let found = match line.strip_prefix("within: ") {
                Some(part) => lines.iter().any(|said| said.contains(part)),
                None => lines.contains(&line),
            };
            if !found {
                writeln!(missing, "{slip}.rs: {line}\n  of {lines:#?}").unwrap();
            }
        }
    }
    assert!(missing.is_empty(), "not said:\n{missing}");
}

/// Why runs stop, in the words of every sentence that there is: between the first colon and what follows.
#[test]
fn the_guide_knows_every_reason() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(package.join("src/guide/errors.rs")).unwrap();
    let sentences = fs::read_to_string(package.join("tests/sentences.txt")).unwrap();
    let mut reasons = 0;
    for sentence in sentences.lines().filter(|line| line.starts_with("gave up")) {
        let (_, reason) = sentence.split_once(": ").unwrap();
        let reason = reason.split([';', '(']).next().unwrap().trim();
        // Of one, of none: the same sentence.
        let reason =
            reason.replace("at most 1 act was", "at most 2 acts were").replace("at most 0 acts", "at most 2 acts");
        assert!(guide.contains(&reason), "the guide does not know \"{reason}\"");
        reasons += 1;
    }
    assert!(reasons > 100, "{reasons} sentences");
}
