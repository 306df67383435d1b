//! What a step may reach over HTTP, and the clients that reach nothing else.
//!
//! An address is looked at where the connection is made: the client for hosts that nobody named takes only public addresses from the
//! resolver, and connects to those that it was given. So a name that gives another address the second time gains nothing.

use super::WorkError;
use flotilla_contract::host::HostPattern;
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// Reaches the hosts of the operator's list. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Web {
    hosts: Arc<[HostPattern]>,
    /// For hosts that the list names, at whatever address.
    named: Client,
    /// For all others: connects to public addresses only.
    public: Client,
}

impl Web {
    /// # Errors
    /// When the machine gives no way to check certificates.
    pub fn new(hosts: &[HostPattern]) -> Result<Self, String> {
        let client = || {
            Client::builder()
                // A proxy would look names up itself.
                .no_proxy()
                .connect_timeout(CONNECT)
                .pool_idle_timeout(Duration::from_secs(4))
                // Where a redirect leads is looked at before it is followed.
                .redirect(Policy::none())
                .user_agent(concat!("flotilla/", env!("CARGO_PKG_VERSION")))
        };
        let made = |error: reqwest::Error| super::innermost(&error);
        Ok(Self {
            hosts: hosts.into(),
            named: client().build().map_err(made)?,
            public: client()
                .dns_resolver(Arc::new(OnlyPublic))
                .build()
                .map_err(made)?,
        })
    }

    /// The hosts that it reaches.
    #[must_use]
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// The client that may reach this address. `own` is the step's own list, which narrows the operator's.
    pub(super) fn client(&self, url: &Url, own: &[HostPattern]) -> Result<&Client, WorkError> {
        if !matches!(url.scheme(), "http" | "https") {
            let scheme = url.scheme();
            return Err(WorkError::refused(format!(
                "the address has the scheme {scheme:?}; accepted are http and https"
            )));
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(WorkError::refused("the address names no host"));
        };
        // An address is not looked up, so it is looked at here. Parsing has written an IPv4 address in the one usual way.
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let public = literal.is_none_or(is_public);
        let within = |list: &[HostPattern]| list.iter().any(|one| one.names(host, port));
        let any = |list: &[HostPattern]| list.contains(&HostPattern::Public);
        if !own.is_empty() && !within(own) && !any(own) {
            return Err(WorkError::refused(format!(
                "{host}:{port} is none of the hosts of with.hosts: {}",
                listed(own)
            )));
        }
        if within(&self.hosts) {
            return Ok(&self.named);
        }
        if any(&self.hosts) && public {
            return Ok(&self.public);
        }
        let why = if any(&self.hosts) {
            "is no public address"
        } else {
            "is none of the hosts that the operator allows"
        };
        Err(WorkError::refused(format!(
            "{host}:{port} {why}; accepted are those of workflows.http_hosts in fleet.toml: {}",
            listed(&self.hosts)
        )))
    }
}

fn listed(hosts: &[HostPattern]) -> String {
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    if hosts.is_empty() {
        "none".into()
    } else {
        hosts.join(", ")
    }
}

/// Said by the resolver, and recognised in the error of a request.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is at no public address; a host that may be elsewhere is named in workflows.http_hosts in fleet.toml"
)]
pub(super) struct NotPublic(String);

/// The system's resolver, without what is not public.
struct OnlyPublic;

impl Resolve for OnlyPublic {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|found| is_public(found.ip())).collect();
            if public.is_empty() {
                return Err(io::Error::other(NotPublic(name)).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address can be reached from everywhere: what the IANA's special-purpose registries (RFC 6890 and what updates it) do not set
/// aside. Addresses that carry an IPv4 address are as that one is.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        // Multicast, reserved and broadcast.
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let part = address.segments();
    let v4 = |high: u16, low: u16| {
        is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
    };
    match part {
        // Mapped, and NAT64.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo and other protocols, and documentation.
        [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
        [0x3fff, second, ..] => second >= 0x1000,
        // Of all the rest only global unicast.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_everybody_can_reach_is_public() {
        for (address, public) in [
            ("1.1.1.1", true),
            ("172.32.0.1", true),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1111", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:1.1.1.1", true),
            ("::127.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::101:101", true),
            ("2002:7f00:1::", false),
            ("2002:101:101::", true),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2001:4860:4860::8888", true),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }

    #[test]
    fn a_request_goes_where_both_lists_let_it() {
        let list = |texts: &[&str]| -> Vec<HostPattern> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        for (operator, own, url, reached) in [
            (&["*"][..], &[][..], "https://example.com/", true),
            (&["*"], &[], "http://127.0.0.1/", false),
            (&["*"], &[], "http://2130706433/", false),
            (&["*"], &[], "http://0x7f.1/", false),
            (&["*"], &[], "http://[::1]/", false),
            (&["*"], &[], "http://[::ffff:10.0.0.1]/", false),
            (&["*", "127.0.0.1:80"], &[], "http://127.0.0.1/", true),
            (&["*", "127.0.0.1:80"], &[], "http://127.0.0.1:81/", false),
            (&["example.com"], &[], "https://example.org/", false),
            (&[], &[], "https://example.org/", false),
            (&["*"], &["example.com"], "https://example.org/", false),
            (&["*"], &["*.example.org"], "https://a.example.org/", true),
            (&["example.com"], &["*"], "https://example.org/", false),
            (&["*"], &[], "ftp://example.org/", false),
        ] {
            let web = Web::new(&list(operator)).unwrap();
            let url = Url::parse(url).unwrap();
            assert_eq!(
                web.client(&url, &list(own)).is_ok(),
                reached,
                "{operator:?} {own:?} {url}"
            );
        }
    }
}
