//! Peer URLs, written as etcd writes them.

use std::fmt;

use relent::ConfigError;

/// The peer URLs of one member: what identifies it before it has an id.
///
/// Etcd takes `http` and `https` URLs with a host, a port and nothing after it, trims them, sorts them, and then
/// compares them as text: `https://[::1]:2380` and `https://[0::1]:2380` are two URLs to it. The same here, with two
/// things refused that etcd lets pass and no operator means: the same URL twice, and an empty list.
///
/// ```
/// use relent_etcd::PeerUrls;
///
/// let urls = PeerUrls::new([" HTTPS://10.0.0.3:2380"])?;
/// assert_eq!(urls.to_string(), "https://10.0.0.3:2380");
///
/// let error = PeerUrls::new(["10.0.0.3:2380"]).unwrap_err();
/// assert_eq!(error.to_string(), "peer url 10.0.0.3:2380: it must begin with http:// or https://");
/// # Ok::<(), relent::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerUrls(Vec<String>);

impl PeerUrls {
    /// Checks and normalises.
    ///
    /// # Errors
    /// An empty list, a URL given twice, or one that etcd would not take.
    pub fn new<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, ConfigError> {
        let mut normal = urls.into_iter().map(|url| normal(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
        normal.sort_unstable();
        if normal.is_empty() {
            return Err(ConfigError::new("peer urls", "[]", "a member has at least one"));
        }
        if let Some(pair) = normal.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(ConfigError::new(
                "peer url",
                pair.first().map_or("", String::as_str),
                "it must not be given twice",
            ));
        }
        Ok(Self(normal))
    }

    /// The URLs, sorted.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Whether a member with these peer URLs is the one that is meant: it has any of them.
    #[must_use]
    pub fn identify(&self, others: &[String]) -> bool {
        others.iter().any(|other| self.0.contains(other))
    }

    /// Those of the URLs that a member does not have.
    pub(crate) fn missing_from(&self, others: &[String]) -> Vec<String> {
        self.0.iter().filter(|url| !others.contains(url)).cloned().collect()
    }
}

/// The URLs, with commas between.
impl fmt::Display for PeerUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

fn normal(given: &str) -> Result<String, ConfigError> {
    let wrong = |rule: &str| ConfigError::new("peer url", given, rule);
    let trimmed = given.trim();
    let (scheme, rest) = trimmed.split_once("://").ok_or_else(|| wrong("it must begin with http:// or https://"))?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(wrong("it must begin with http:// or https://"));
    }
    if rest.contains(['/', '?', '#', '@']) {
        return Err(wrong("it must end after the port"));
    }
    let (host, port) = rest.rsplit_once(':').ok_or_else(|| wrong("it must have the form scheme://host:port"))?;
    match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
        Some(Some(address)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {}
        Some(_) => return Err(wrong("between brackets it must have an IPv6 address")),
        None if host.is_empty() => return Err(wrong("it must have a host")),
        None if host.contains(':') => return Err(wrong("an IPv6 address must stand in brackets")),
        None if host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')) => {}
        None => return Err(wrong("its host must consist of letters, digits, dots, hyphens and underscores")),
    }
    let digits = port.chars().all(|c| c.is_ascii_digit());
    if !digits || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(wrong("its port must be a number from 1 to 65535"));
    }
    Ok(format!("{scheme}://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ones_are_written_as_etcd_writes_them() {
        for (given, written) in [
            ("http://10.0.0.3:2380", "http://10.0.0.3:2380"),
            ("  https://a.b:1\n", "https://a.b:1"),
            ("HtTp://Node-1.local:65535", "http://Node-1.local:65535"),
            ("https://[::1]:2380", "https://[::1]:2380"),
        ] {
            assert_eq!(PeerUrls::new([given]).unwrap().as_slice(), [written], "{given}");
        }
        let two = PeerUrls::new(["http://b:1", "http://a:1"]).unwrap();
        assert_eq!(two.to_string(), "http://a:1,http://b:1");
        assert!(two.identify(&["http://c:1".into(), "http://b:1".into()]));
        assert!(!two.identify(&["http://c:1".into()]));
        assert_eq!(two.missing_from(&["http://b:1".into()]), ["http://a:1"]);
    }

    #[test]
    fn bad_ones_are_named_with_the_rule() {
        for (given, rule) in [
            ("", "begin"),
            ("10.0.0.3:2380", "begin"),
            ("ftp://a:1", "begin"),
            ("unix://a:1", "begin"),
            ("http://a", "form"),
            ("http://:1", "host"),
            ("http://a:", "port"),
            ("http://a:x", "port"),
            ("http://a:0", "port"),
            ("http://a:+1", "port"),
            ("http://a:65536", "port"),
            ("http://a:1/", "end"),
            ("http://a:1/x", "end"),
            ("http://a:1?x", "end"),
            ("http://u@a:1", "end"),
            ("http://::1:2380", "brackets"),
            ("http://[::x]:2380", "brackets"),
            ("http://[::1:2380", "brackets"),
            ("http://a b:1", "letters"),
        ] {
            let error = PeerUrls::new([given]).unwrap_err();
            assert!(error.rule().contains(rule), "{given}: {error}");
            assert_eq!(error.value(), given);
        }
        assert_eq!(
            PeerUrls::new(Vec::<String>::new()).unwrap_err().to_string(),
            "peer urls []: a member has at least one"
        );
        let twice = PeerUrls::new(["http://a:1", "http://b:1", "HTTP://a:1"]).unwrap_err();
        assert_eq!(twice.to_string(), "peer url http://a:1: it must not be given twice");
    }
}
