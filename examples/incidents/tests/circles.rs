//! No two files need each other: the `use` declarations of each crate, file by file, have no circle. What a module only
//! re-exports counts for the file that defines it; modules of tests do not count. And inside `relent` nothing is
//! imported by way of lib.rs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

type Module = Vec<String>;

/// Modules with what they import and what they re-export.
#[derive(Default)]
struct Crate {
    imports: BTreeMap<Module, BTreeSet<Module>>,
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Crate {
    fn read(root: &Path) -> Self {
        let mut read = Self::default();
        read.folder(root, &mut Vec::new());
        read
    }

    fn folder(&mut self, folder: &Path, module: &mut Module) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                module.push(name);
                self.folder(&path, module);
                module.pop();
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let is_folder = name == "mod" || (name == "lib" && module.is_empty());
                let file = if is_folder { module.clone() } else { [&module[..], &[name]].concat() };
                self.file(&fs::read_to_string(&path).unwrap(), &file);
            }
        }
    }

    fn file(&mut self, text: &str, module: &Module) {
        let lines = text.lines().map(|line| line.split("//").next().unwrap());
        let code: Vec<&str> = lines.take_while(|line| *line != "mod tests {").collect();
        let (imports, exports) =
            (self.imports.entry(module.clone()).or_default(), self.exports.entry(module.clone()).or_default());
        for statement in code.join("\n").split(';') {
            // What stands before it is attributes, or the end of another item.
            let Some(at) = statement.rfind("use ").filter(|at| *at == 0 || statement[..*at].ends_with([' ', '\n']))
            else {
                continue;
            };
            let is_export = statement[..at].trim_end().rsplit('\n').next().unwrap().trim_start().starts_with("pub");
            for path in paths(&statement[at + 4..]) {
                let Some(path) = absolute(&path, module) else { continue };
                match path.last() {
                    Some(name) if name == "*" => {}
                    Some(name) if is_export => _ = exports.insert(name.clone(), path.clone()),
                    _ => _ = imports.insert(path),
                }
            }
        }
    }

    /// The file that has what a path names.
    fn home(&self, path: &Module, depth: usize) -> Option<Module> {
        let length = (0..=path.len()).rev().find(|length| self.imports.contains_key(&path[..*length]))?;
        let module = path[..length].to_vec();
        let export = path.get(length).and_then(|name| self.exports[&module].get(name));
        match export {
            Some(export) if depth > 0 => self.home(export, depth - 1),
            _ => Some(module),
        }
    }

    fn needs(&self, module: &Module) -> BTreeSet<Module> {
        let homes = self.imports[module].iter().filter_map(|path| self.home(path, 8));
        homes.filter(|home| home != module && !home.is_empty()).collect()
    }

    /// Every file that is needed by one that it needs, however far away.
    fn circles(&self) -> Vec<String> {
        let needs: BTreeMap<_, _> = self.imports.keys().map(|module| (module, self.needs(module))).collect();
        let mut found = Vec::new();
        for start in self.imports.keys() {
            let (mut seen, mut left) = (BTreeSet::new(), vec![start.clone()]);
            while let Some(next) = left.pop() {
                left.extend(needs[&next].iter().filter(|need| seen.insert((*need).clone())).cloned());
            }
            if seen.contains(start) {
                found.push(start.join("::"));
            }
        }
        found
    }
}

/// The paths of a tree such as `a::{b, c::{d, e as f}}`.
fn paths(tree: &str) -> Vec<Module> {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        return vec![path.split("::").map(|part| part.trim().to_owned()).collect()];
    };
    let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
    let head: Module = head.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| paths(part)).map(|path| [&head[..], &path].concat()).collect()
}

/// From the root of the crate; `None` for what is another crate's.
fn absolute(path: &Module, module: &Module) -> Option<Module> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let path = match path.first()?.as_str() {
        "crate" => path[1..].to_vec(),
        "self" => [&module[..], &path[1..]].concat(),
        "super" => [&module[..module.len().checked_sub(ups)?], &path[ups..]].concat(),
        _ => return None,
    };
    Some(path.into_iter().filter(|part| part != "self").collect())
}

#[test]
fn files_do_not_need_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for source in ["src", "crates/relent-k8s/src", "crates/relent-etcd/src", "crates/relent-apiserver/src"] {
        let all = Crate::read(&root.join(source));
        assert!(all.imports.len() > 10 && all.imports.values().map(BTreeSet::len).sum::<usize>() > 50, "{source}");
        assert_eq!(all.circles(), [""; 0], "{source}");
    }
}

#[test]
fn inside_the_core_nothing_is_imported_through_its_root() {
    let core = Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src"));
    let from_root = |path: &&Module| path.len() == 1 && path[0].starts_with(char::is_uppercase);
    let found = core.imports.iter().flat_map(|(module, paths)| {
        paths.iter().filter(from_root).map(|path| format!("{} of {}", path[0], module.join("::")))
    });
    assert_eq!(found.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_circle_is_found() {
    let mut small = Crate::default();
    let module = |name: &str| vec![name.to_owned()];
    small.file("pub use self::b::Thing;\nmod a;\nmod b;", &Vec::new());
    small.file("use crate::Thing;\npub struct Other;", &module("a"));
    small.file("//! use crate::x;\nuse super::{\n    a::{Other as Another},\n};\npub struct Thing;", &module("b"));
    assert_eq!(small.circles(), ["a", "b"]);
    small.file("use std::fmt;", &module("c"));
    assert_eq!(small.circles(), ["a", "b"]);
}
