//! Which hosts a request may go to.

use std::{fmt, str::FromStr};

/// One entry of a list of hosts: `*`, `example.com`, `*.example.com`, `[::1]` or an IPv4 address, each but `*` with `:PORT` where only that
/// port is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `*`: every host whose addresses are public.
    Public,
    /// Hosts by their name, at whatever address.
    Named {
        /// In lower case; an IPv6 address stands in brackets.
        host: String,
        /// Whether the hosts below this name are meant, instead of itself.
        below: bool,
        /// Only this port.
        port: Option<u16>,
    },
}

impl HostPattern {
    /// Whether a host is meant by its name. `host` is as it stands in an address: in lower case, an IPv6 address in brackets.
    #[must_use]
    pub fn names(&self, host: &str, port: u16) -> bool {
        let Self::Named {
            host: named,
            below,
            port: only,
        } = self
        else {
            return false;
        };
        // A name may end with the dot of the root.
        let host = host.strip_suffix('.').unwrap_or(host);
        let same = if *below {
            host.strip_suffix(named.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            host == named
        };
        same && only.is_none_or(|only| only == port)
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no host; accepted are *, example.com, *.example.com, 127.0.0.1, [::1], each but * also with :PORT"
            )
        };
        if text == "*" {
            return Ok(Self::Public);
        }
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        // The colons of an IPv6 address stand before its bracket.
        let colon = name.rfind(':').filter(|at| !name[*at..].contains(']'));
        let (host, port) = match colon {
            Some(at) => {
                let port = name[at + 1..].parse().map_err(|_| wrong())?;
                (&name[..at], Some(port))
            }
            None => (name, None),
        };
        let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match inside {
            Some(inside) if !below => {
                let address: std::net::Ipv6Addr = inside.parse().map_err(|_| wrong())?;
                format!("[{address}]")
            }
            _ => host.to_ascii_lowercase(),
        };
        let plain = (inside.is_some() && !below)
            || host.split('.').all(|label| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
        if !plain || host.len() > 253 || port == Some(0) {
            return Err(wrong());
        }
        Ok(Self::Named { host, below, port })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("*"),
            Self::Named { host, below, port } => {
                let below = if *below { "*." } else { "" };
                write!(f, "{below}{host}")?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::HostPattern;

    #[test]
    fn a_list_names_hosts() {
        for (pattern, host, port, named) in [
            ("*", "example.com", 443, false),
            ("example.com", "example.com", 443, true),
            ("Example.COM", "example.com.", 80, true),
            ("example.com", "a.example.com", 443, false),
            ("example.com", "notexample.com", 443, false),
            ("*.example.com", "a.b.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*.example.com", ".example.com", 443, false),
            ("*.example.com", "notexample.com", 443, false),
            ("localhost:3000", "localhost", 3000, true),
            ("localhost:3000", "localhost", 22, false),
            ("[::1]:80", "[::1]", 80, true),
            ("[0:0::1]", "[::1]", 80, true),
            ("127.0.0.1", "127.0.0.1", 1, true),
        ] {
            let read: HostPattern = pattern.parse().unwrap();
            assert_eq!(read.names(host, port), named, "{pattern} {host}:{port}");
            assert_eq!(read.to_string().parse(), Ok(read), "{pattern}");
        }
        for wrong in [
            "", "*.", "**", "a b", "http://a", "a/b", "a:", "a:x", "a:0", "a:70000", "::1", "[x]",
            "*.[::1]", "a..b",
        ] {
            let said = wrong.parse::<HostPattern>();
            assert!(said.is_err_and(|why| why.contains("accepted")), "{wrong:?}");
        }
    }
}
