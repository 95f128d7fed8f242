//! Where a webhook may lead: to https anywhere but where no receiver is, and to plain http on this machine.
//!
//! What counts is the address that is connected to, not the name that was given: it is looked
//! up for each connection, checked, and then used, so a name can't change its meaning in between.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hyper::Uri;

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// Which addresses may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Where http without TLS may lead.
    pub plain: Networks,
    /// Where https may lead.
    pub secure: Networks,
}

/// Addresses, from fewest to most. Those of link-local services, such as the metadata of clouds, are in none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Networks {
    /// Nowhere.
    None,
    /// This machine.
    Loopback,
    /// What is reached over the internet: neither this machine nor a private network.
    Public,
    /// All.
    All,
}

impl Networks {
    /// Whether an address is among them.
    #[must_use]
    pub fn allow(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if is_never(address) {
            return false;
        }
        match self {
            Networks::None => false,
            Networks::Loopback => address.is_loopback(),
            Networks::Public => !address.is_loopback() && !is_private(address),
            Networks::All => true,
        }
    }
}

/// Addresses of nobody, of many, or of services that belong to the machine's own surroundings.
fn is_never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_broadcast() || v4.is_multicast() || v4.octets()[0] == 0
        }
        IpAddr::V6(v6) => {
            let metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            let first = v6.segments()[0];
            v6.is_unspecified() || v6.is_multicast() || first & 0xffc0 == 0xfe80 || v6 == metadata
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // The last is that of carriers' own networks (RFC 6598).
            v4.is_private() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.segments()[0] & 0xfe00 == 0xfc00,
    }
}

/// A URL, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Whether it is https.
    pub secure: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Host and port as in the header `Host`.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(url: &str) -> Result<Target, &'static str> {
        const RULE: &str = "must be https://host[:port]/path (or http:// to this machine), without user and fragment";
        if url.len() > URL_BYTES_MAX {
            return Err("must be at most 2048 bytes long");
        }
        let uri: Uri = url.parse().map_err(|_| RULE)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(RULE),
        };
        let authority = uri.authority().ok_or(RULE)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if authority.as_str().contains('@') || host.is_empty() || url.contains('#') {
            return Err(RULE);
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => Some(if secure { 443 } else { 80 }),
            _ => authority.port_u16().filter(|port| *port > 0),
        };
        let port = port.ok_or("must have a port from 1 to 65535, or none")?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Target {
            secure,
            host: host.to_owned(),
            port,
            authority: authority.to_string(),
            path: path.to_owned(),
        })
    }

    /// The addresses that it leads to now and may.
    ///
    /// # Errors
    /// The name is not known, or none of its addresses is allowed.
    pub async fn resolve(&self, policy: Policy) -> Result<Vec<SocketAddr>, String> {
        let networks = if self.secure { policy.secure } else { policy.plain };
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|e| format!("{}: {e}", self.host))?.collect();
        let count = found.len();
        let allowed: Vec<SocketAddr> =
            found.into_iter().filter(|address| networks.allow(address.ip())).collect();
        match allowed.is_empty() {
            true => Err(format!("{}: none of its {count} addresses is allowed here", self.host)),
            false => Ok(allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_what_they_say() {
        let rows = [
            // address, loopback, public, all
            ("127.0.0.1", true, false, true),
            ("::1", true, false, true),
            ("::ffff:127.0.0.1", true, false, true),
            ("10.1.2.3", false, false, true),
            ("192.168.0.1", false, false, true),
            ("100.64.0.1", false, false, true),
            ("fd12::1", false, false, true),
            ("93.184.216.34", false, true, true),
            ("2606:4700::1", false, true, true),
            ("169.254.169.254", false, false, false),
            ("::ffff:169.254.169.254", false, false, false),
            ("fe80::1", false, false, false),
            ("fd00:ec2::254", false, false, false),
            ("0.0.0.0", false, false, false),
            ("255.255.255.255", false, false, false),
            ("224.0.0.1", false, false, false),
        ];
        for (address, loopback, public, all) in rows {
            let ip: IpAddr = address.parse().unwrap();
            let allowed =
                [Networks::Loopback, Networks::Public, Networks::All].map(|n| n.allow(ip));
            assert_eq!(allowed, [loopback, public, all], "{address}");
            assert!(!Networks::None.allow(ip));
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        let target = Target::parse("https://example.org/hook?x=1").unwrap();
        assert_eq!((target.secure, target.port), (true, 443));
        assert_eq!((target.host.as_str(), target.path.as_str()), ("example.org", "/hook?x=1"));
        let target = Target::parse("http://[::1]:8080").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 8080));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("[::1]:8080", "/"));
        let wrong =
            ["", "example.org", "ftp://x/", "https://", "https://u@x/", "https://x/#a", "/x"];
        let ports = ["https://x:0/", "https://x:99999/", "https://x:/", "https://[::1]:65536/"];
        for url in wrong.into_iter().chain(ports) {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
