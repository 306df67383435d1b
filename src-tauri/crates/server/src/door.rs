//! Who gets in: `Host` and `Origin`, the token, one-time keys and browser sessions.

use axum::http::{HeaderMap, header};
use std::{
    collections::VecDeque,
    fmt::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

/// How long a one-time key may lie about.
const KEY_LIFE: Duration = Duration::from_secs(5 * 60);
/// Keys outstanding; the oldest gives way.
const MAX_KEYS: usize = 16;
/// Browser sessions; the oldest gives way. They live as long as the engine.
const MAX_SESSIONS: usize = 256;

/// 192 random bits in hexadecimal.
pub(crate) fn secret() -> Result<String, getrandom::Error> {
    random_hex::<24>()
}

/// A name that joins log lines and events of one operation.
pub(crate) fn correlation() -> String {
    // Without entropy a correlation is merely not unique.
    random_hex::<6>().unwrap_or_default()
}

fn random_hex<const N: usize>() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes
        .iter()
        .fold(String::with_capacity(2 * N), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
}

/// The state behind the door of one listener.
#[derive(Clone)]
pub(crate) struct Door {
    addr: SocketAddr,
    token: Arc<str>,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    keys: VecDeque<(String, Instant)>,
    sessions: VecDeque<String>,
}

/// What a request proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The token of `engine.json`.
    Token,
    /// A browser's session.
    Session,
}

/// Why a request may not even ask.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Foreign {
    #[error("the Host header is missing or does not name this listener")]
    Host,
    #[error("the Origin header names another site")]
    Origin,
}

impl Door {
    pub(crate) fn new(addr: SocketAddr, token: &str) -> Self {
        Self {
            addr,
            token: token.into(),
            held: Arc::default(),
        }
    }

    /// A new key for `/?t=KEY`.
    pub(crate) fn new_key(&self) -> Result<String, getrandom::Error> {
        let key = secret()?;
        let mut held = self.held();
        if held.keys.len() == MAX_KEYS {
            held.keys.pop_front();
        }
        held.keys
            .push_back((key.clone(), Instant::now() + KEY_LIFE));
        Ok(key)
    }

    /// Takes a key, once, and gives a session for it.
    pub(crate) fn exchange(&self, key: &str) -> Result<Option<String>, getrandom::Error> {
        let mut held = self.held();
        let now = Instant::now();
        held.keys.retain(|(_, until)| *until > now);
        let Some(place) = held.keys.iter().position(|(known, _)| same(known, key)) else {
            return Ok(None);
        };
        let session = secret()?;
        held.keys.remove(place);
        if held.sessions.len() == MAX_SESSIONS {
            held.sessions.pop_front();
        }
        held.sessions.push_back(session.clone());
        Ok(Some(session))
    }

    /// What the headers prove, if anything.
    pub(crate) fn entry(&self, headers: &HeaderMap) -> Option<Entry> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            // A wrong token is not made good by a cookie.
            let token = value.to_str().ok()?.strip_prefix("Bearer ")?;
            return same(&self.token, token).then_some(Entry::Token);
        }
        let name = self.cookie_name();
        let held = self.held();
        let offered = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(';'));
        let mut sessions =
            offered.filter_map(|pair| pair.trim().strip_prefix(&name)?.strip_prefix('='));
        sessions
            .any(|offered| held.sessions.iter().any(|known| same(known, offered)))
            .then_some(Entry::Session)
    }

    /// Whether this is the token of `engine.json`.
    pub(crate) fn is_token(&self, offered: &str) -> bool {
        same(&self.token, offered)
    }

    /// The `Set-Cookie` of a session. Cookies do not tell ports apart, so the name does.
    pub(crate) fn cookie(&self, session: &str) -> String {
        format!(
            "{}={session}; Path=/; HttpOnly; SameSite=Strict",
            self.cookie_name()
        )
    }

    /// Whether the request was meant for this listener and comes from no other site.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(), Foreign> {
        let host = headers
            .get(header::HOST)
            .and_then(|v| v.to_str().ok())
            .ok_or(Foreign::Host)?;
        if !self.is_ours(host) {
            return Err(Foreign::Host);
        }
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(());
        };
        let origin = origin
            .to_str()
            .ok()
            .and_then(|o| o.strip_prefix("http://"))
            .ok_or(Foreign::Origin)?;
        if origin.eq_ignore_ascii_case(host) {
            Ok(())
        } else {
            Err(Foreign::Origin)
        }
    }

    /// Re-binding needs a name; so beside `localhost` only addresses are accepted, and only those that we listen on.
    fn is_ours(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (host, Some(80)),
        };
        if port != Some(self.addr.port()) {
            return false;
        }
        let listens = self.addr.ip();
        let loopback = listens.is_loopback() || listens.is_unspecified();
        if name.eq_ignore_ascii_case("localhost") {
            return loopback;
        }
        let Ok(ip) = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
        else {
            return false;
        };
        listens.is_unspecified()
            || ip == listens
            || (loopback && ip == IpAddr::from(Ipv4Addr::LOCALHOST))
    }

    fn cookie_name(&self) -> String {
        format!("flotilla_{}", self.addr.port())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn door(addr: &str) -> Door {
        Door::new(addr.parse().unwrap(), "the-token")
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn host_and_origin() {
        let check = |addr: &str, host: &str, origin: Option<&str>, want: Result<(), Foreign>| {
            let mut pairs = vec![("host", host)];
            pairs.extend(origin.map(|o| ("origin", o)));
            assert_eq!(
                door(addr).admit(&headers(&pairs)),
                want,
                "{addr} {host} {origin:?}"
            );
        };
        check("127.0.0.1:3000", "127.0.0.1:3000", None, Ok(()));
        check(
            "127.0.0.1:3000",
            "LocalHost:3000",
            Some("http://localhost:3000"),
            Ok(()),
        );
        check("[::1]:3000", "[::1]:3000", None, Ok(()));
        check("127.0.0.1:80", "localhost", None, Ok(()));
        check("127.0.0.1:3000", "127.0.0.1:3001", None, Err(Foreign::Host));
        check("127.0.0.1:3000", "127.0.0.1", None, Err(Foreign::Host));
        check(
            "127.0.0.1:3000",
            "evil.example:3000",
            None,
            Err(Foreign::Host),
        );
        check(
            "127.0.0.1:3000",
            "127.0.0.1.evil.example:3000",
            None,
            Err(Foreign::Host),
        );
        check(
            "127.0.0.1:3000",
            "127.0.0.1:3000",
            Some("http://evil.example"),
            Err(Foreign::Origin),
        );
        check(
            "127.0.0.1:3000",
            "127.0.0.1:3000",
            Some("http://127.0.0.1:5173"),
            Err(Foreign::Origin),
        );
        check(
            "127.0.0.1:3000",
            "127.0.0.1:3000",
            Some("null"),
            Err(Foreign::Origin),
        );
        // Where another address is served, addresses are accepted and names are still not.
        check(
            "10.1.2.3:3000",
            "10.1.2.3:3000",
            Some("http://10.1.2.3:3000"),
            Ok(()),
        );
        check("10.1.2.3:3000", "localhost:3000", None, Err(Foreign::Host));
        check("0.0.0.0:3000", "10.9.9.9:3000", None, Ok(()));
        check(
            "0.0.0.0:3000",
            "evil.example:3000",
            None,
            Err(Foreign::Host),
        );
        assert_eq!(
            door("127.0.0.1:3000").admit(&HeaderMap::new()),
            Err(Foreign::Host)
        );
    }

    #[test]
    fn token_and_sessions() {
        let door = door("127.0.0.1:3000");
        assert_eq!(
            door.entry(&headers(&[("authorization", "Bearer the-token")])),
            Some(Entry::Token)
        );
        assert_eq!(
            door.entry(&headers(&[("authorization", "Bearer the-tokem")])),
            None
        );
        assert_eq!(
            door.entry(&headers(&[("authorization", "the-token")])),
            None
        );
        assert_eq!(door.entry(&HeaderMap::new()), None);

        let key = door.new_key().unwrap();
        assert_eq!(door.exchange("something else").unwrap(), None);
        let session = door.exchange(&key).unwrap().unwrap();
        assert_eq!(door.exchange(&key).unwrap(), None, "a key works once");
        assert_ne!(session, key);
        let cookie = format!("other=1; flotilla_3000={session}");
        assert_eq!(
            door.entry(&headers(&[("cookie", &cookie)])),
            Some(Entry::Session)
        );
        assert_eq!(
            door.entry(&headers(&[("cookie", &format!("flotilla_3001={session}"))])),
            None
        );
        assert_eq!(
            door.entry(&headers(&[
                ("cookie", &cookie),
                ("authorization", "Bearer wrong")
            ])),
            None
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_expires() {
        let door = door("127.0.0.1:3000");
        let key = door.new_key().unwrap();
        tokio::time::advance(KEY_LIFE).await;
        assert_eq!(door.exchange(&key).unwrap(), None);
    }
}
