//! Each path that ARCHITECTURE.md and CONTRIBUTING.md name is there, and so is each target of `--test`.

use std::{collections::BTreeSet, fs, path::Path};

/// Every file and folder of the repository, with `/` before each part: `/src/run/core/start.rs`.
fn tree(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == "target" || name == ".git" {
                continue;
            }
            found.insert(format!("/{}", path.strip_prefix(root).unwrap().to_str().unwrap()));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn spelled_out(path: &str) -> Vec<String> {
    let Some(((before, rest), after)) =
        path.split_once('{').and_then(|(before, rest)| Some(((before, rest), rest.split_once('}')?.1)))
    else {
        return vec![path.to_owned()];
    };
    let choices = rest.split_once('}').unwrap().0;
    choices.split(',').map(|choice| format!("{before}{choice}{after}")).collect()
}

/// The words of a page's code, line by line.
fn code(page: &str) -> Vec<Vec<&str>> {
    // Three backticks are as odd as one.
    let spans = page.split('`').skip(1).step_by(2);
    spans.flat_map(str::lines).map(|line| line.split_whitespace().collect()).collect()
}

fn is_path(word: &str) -> bool {
    let of_path = |c: char| c.is_ascii_alphanumeric() || "_-./{},".contains(c);
    let is_file = Path::new(word).extension().is_some_and(|extension| extension == "rs");
    word.chars().all(of_path) && (word.contains('/') || is_file)
}

/// From the root on where it begins with one of the root's folders; else it is the end of a path, as
/// `schedule/stop.rs`.
fn is_there(path: &str, tree: &BTreeSet<String>) -> bool {
    let path = format!("/{}", path.trim_end_matches('/'));
    let first = path[1..].split('/').next().unwrap();
    let of_root = tree.contains(&format!("/{first}")) && path[1..].contains('/');
    if of_root { tree.contains(&path) } else { tree.iter().any(|known| known.ends_with(&path)) }
}

#[test]
fn what_the_pages_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let tree = tree(&root);
    let (mut paths, mut targets, mut missing) = (0, 0, Vec::new());
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for line in code(&text) {
            for word in line.iter().map(|word| word.trim_end_matches([',', ':', ';', '.'])).filter(|word| is_path(word))
            {
                for path in spelled_out(word) {
                    paths += 1;
                    if !is_there(&path, &tree) {
                        missing.push(format!("{page}: {path}"));
                    }
                }
            }
            for target in line.windows(2).filter(|pair| pair[0] == "--test").map(|pair| pair[1]) {
                targets += 1;
                let files = [format!("tests/{target}.rs"), format!("tests/{target}/main.rs")];
                if !files.iter().any(|file| is_there(file, &tree)) {
                    missing.push(format!("{page}: --test {target}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(paths > 80 && targets > 3, "{paths} paths, {targets} targets");
}

#[test]
fn what_is_not_there_is_found() {
    let tree = ["/src", "/src/run", "/src/run/end.rs", "/tests", "/tests/run"].map(str::to_owned).into();
    for there in ["src/run/end.rs", "run/end.rs", "end.rs", "run/", "tests/run"] {
        assert!(is_path(there) && is_there(there, &tree), "{there}");
    }
    for gone in ["src/end.rs", "run/tell.rs", "tests/end.rs", "nd.rs"] {
        assert!(is_path(gone) && !is_there(gone, &tree), "{gone}");
    }
    assert_eq!(spelled_out("a/{b,c}.rs"), ["a/b.rs", "a/c.rs"]);
    assert_eq!(code("x `a b` y\n```sh\nc\n```\n `d`"), [vec!["a", "b"], vec!["sh"], vec!["c"], vec!["d"]]);
}
