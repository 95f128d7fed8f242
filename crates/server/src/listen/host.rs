//! The header `Host`: there once, and in the form of RFC 9112, section 3.2. No host is known by its name here, but what
//! stands between a client and this server may choose by it, and must not be in doubt.

use std::net::Ipv6Addr;

use hyper::header::HOST;
use hyper::{Request, Version};

use crate::problem::{Problem, kind};

/// What is wrong with the host that a head names. HTTP/2 names it in another way, and HTTP/1.0 need not.
pub fn wrong_host<B>(request: &Request<B>) -> Option<Box<Problem>> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let detail = match (request.version(), hosts.next(), hosts.next()) {
        (Version::HTTP_2, ..) | (Version::HTTP_09 | Version::HTTP_10, None, _) => return None,
        (_, Some(host), None) if is_host(host.as_bytes()) => return None,
        (_, Some(_), None) => "must be a name or an address, with :port if it has one",
        _ => "must be there once",
    };
    Some(Problem::field(&kind::MALFORMED_HEAD, "Host", detail))
}

/// Whether this may be the header's value. An empty one may: it says that the address has no host.
pub fn is_host(value: &[u8]) -> bool {
    if value.is_empty() {
        return true;
    }
    let (is_name, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let (address, port) = cut(rest, b']');
            let address = str::from_utf8(address).ok();
            let right = address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
            match port {
                // What follows is nothing, or a colon and the port.
                Some([]) => (right, None),
                Some([b':', port @ ..]) => (right, Some(port)),
                _ => return false,
            }
        }
        None => {
            let (name, port) = cut(value, b':');
            (is_name(name), port)
        }
    };
    is_name && port.is_none_or(is_port)
}

/// What comes before the first such byte, and what comes after it.
fn cut(bytes: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|b| *b == at) {
        Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
        None => (bytes, None),
    }
}

/// A name or an IPv4 address: no part between dots is empty, but that a name may end with a dot.
fn is_name(name: &[u8]) -> bool {
    let mut before = b'.';
    for b in name {
        let fits = match b {
            b'.' => before != b'.',
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => true,
            _ => b"-_~%!$&'()*+,;=".contains(b),
        };
        if !fits {
            return false;
        }
        before = *b;
    }
    !name.is_empty()
}

/// A port may be left out after its colon.
fn is_port(port: &[u8]) -> bool {
    let digit = |number: u32, b: &u8| {
        let digit = b.is_ascii_digit().then(|| u32::from(b - b'0'))?;
        Some(number * 10 + digit).filter(|number| *number <= u32::from(u16::MAX))
    };
    port.iter().try_fold(0, digit).is_some()
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn hosts_are_names_or_addresses_with_a_port() {
        for right in [
            "",
            "t",
            "localhost:7070",
            "a.b.example",
            "a.",
            "my_box:1",
            "10.0.0.1:65535",
            "[::1]",
            "[::1]:80",
            "t:",
        ] {
            assert!(is_host(right.as_bytes()), "{right}");
        }
        for wrong in [
            "a b",
            "a..b",
            ".a",
            ".",
            ":80",
            "a:b",
            "a:65536",
            "a:99999999999999999999",
            "a:-1",
            "a:1:2",
            "a/b",
            "u@a",
            "a\tb",
            "[::1",
            "[::1]80",
            "[x]",
            "::1",
            "ä",
        ] {
            assert!(!is_host(wrong.as_bytes()), "{wrong}");
        }
    }
}
