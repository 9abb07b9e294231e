//! What can be a name, before it becomes a part of a path.

use relent::ConfigError;

/// The longest name of an object.
pub(crate) const LONGEST: usize = 253;

/// Whether this can be the name of most kinds: a DNS subdomain (RFC 1123) of at most 253 bytes, as every API server
/// asks of Leases, ConfigMaps, Pods and namespaces.
pub(crate) fn check(setting: &'static str, name: &str) -> Result<(), ConfigError> {
    let refused = |value: &dyn std::fmt::Display, rule: &str| Err(ConfigError::new(setting, value, rule));
    if name.is_empty() {
        return refused(&"\"\"", "it must not be empty");
    }
    if name.len() > LONGEST {
        return refused(&format_args!("of {} bytes", name.len()), "it must have at most 253 bytes");
    }
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !name.bytes().all(|byte| is_alphanumeric(byte) || matches!(byte, b'-' | b'.')) {
        return refused(&format_args!("{name:?}"), "it must consist of a-z, 0-9, hyphens and dots");
    }
    let ends_well = |part: &str| {
        let (first, last) = (part.bytes().next(), part.bytes().next_back());
        first.is_some_and(is_alphanumeric) && last.is_some_and(is_alphanumeric)
    };
    if !name.split('.').all(ends_well) {
        return refused(&format_args!("{name:?}"), "each part between dots must begin and end with a letter or digit");
    }
    Ok(())
}

/// Why this cannot be the name of any kind: kinds differ in what they allow, but each name is one part of a path. In a
/// request it would ask for something else, such as a subresource.
pub(crate) fn why_no_part(name: &str) -> Option<String> {
    let names_another = matches!(name, "" | "." | "..") || name.contains(['/', '%', '?', '#']);
    let unwritable = name.chars().any(|c| c.is_whitespace() || c.is_control());
    (names_another || unwritable).then(|| format!("{name:?} cannot be the name of an object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_name() {
        for name in ["a", "0", "web-0", "a.b", "kube-root-ca.crt", "a--b", &"a".repeat(253)] {
            assert_eq!(check("name", name).err(), None, "{name}");
            assert_eq!(why_no_part(name), None, "{name}");
        }
        for (name, says) in [
            ("", "name \"\": it must not be empty"),
            ("..", "name \"..\": each part between dots must begin and end with a letter or digit"),
            ("a..b", "name \"a..b\": each part between dots must begin and end with a letter or digit"),
            ("-a", "name \"-a\": each part between dots must begin and end with a letter or digit"),
            ("a-.b", "name \"a-.b\": each part between dots must begin and end with a letter or digit"),
            ("Web", "name \"Web\": it must consist of a-z, 0-9, hyphens and dots"),
            ("a/b", "name \"a/b\": it must consist of a-z, 0-9, hyphens and dots"),
            ("a b\n", "name \"a b\\n\": it must consist of a-z, 0-9, hyphens and dots"),
            ("ü", "name \"ü\": it must consist of a-z, 0-9, hyphens and dots"),
            (&"a".repeat(254), "name of 254 bytes: it must have at most 253 bytes"),
        ] {
            assert_eq!(check("name", name).unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn what_is_one_part_of_a_path() {
        // Roles have such names.
        for name in ["system:controller:job", "a_b", "Web", "x=y"] {
            assert_eq!(why_no_part(name), None, "{name}");
        }
        for name in ["", ".", "..", "a/b", "web/status", "..%2fx", "web?watch=1", "web#", "a b", "a\n"] {
            assert!(why_no_part(name).is_some(), "{name}");
        }
        assert_eq!(why_no_part("a/b").unwrap(), "\"a/b\" cannot be the name of an object");
    }
}
