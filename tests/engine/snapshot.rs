//! Texts that are kept for a person to read.

use std::{env, fs, path::Path};

/// Compares a text with the file that is kept, or keeps it if `RENEW` is set.
#[track_caller]
pub fn compare(file: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if env::var_os("RENEW").is_some() {
        fs::write(&path, now).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let (mut kept, mut now) = (kept.lines(), now.lines());
    let mut line = 0;
    loop {
        line += 1;
        let (was, is) = (kept.next(), now.next());
        assert_eq!(was, is, "{file}:{line} differs; if it should, RENEW=1 writes it anew");
        if was.is_none() {
            break;
        }
    }
}
