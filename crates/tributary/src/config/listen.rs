//! Addresses to listen on.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Splits `port`, `host`, `host:port`, `[v6]` or `[v6]:port`; the host defaults to 127.0.0.1.
///
/// # Errors
/// What is wrong with the text.
pub fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is not an address: expected PORT, HOST or HOST:PORT");
    if text.is_empty() {
        return Err(wrong());
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let port = text.parse().map_err(|_| format!("{text} is not a port: 0 to 65535"))?;
        return Ok(("127.0.0.1".into(), port));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some("")).ok_or_else(wrong)?)
        }
        // A bare IPv6 address has more than one colon.
        None if text.matches(':').count() > 1 => (text, ""),
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = match port {
        "" => default_port,
        port => port.parse().map_err(|_| format!("{port} in {text:?} is not a port: 0 to 65535"))?,
    };
    Ok((host.to_string(), port))
}

/// An IPv6 address in brackets, others as they are.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_string() }
}

/// The socket address that a text names.
///
/// # Errors
/// What is wrong with the text, or that the host is not known.
pub fn resolve(text: &str, default_port: u16) -> Result<SocketAddr, String> {
    let (host, port) = host_and_port(text, default_port)?;
    resolve_host(&host, port)
}

/// The first address of a host.
///
/// # Errors
/// That the host is not known.
pub fn resolve_host(host: &str, port: u16) -> Result<SocketAddr, String> {
    let unknown = |why: String| format!("host {host:?} is not known here: {why}");
    let mut addresses = (host, port).to_socket_addrs().map_err(|e| unknown(e.to_string()))?;
    addresses.next().ok_or_else(|| unknown("it has no address".into()))
}

/// The first address of a host that is (`Some(true)`) or is not an IPv6 one.
///
/// # Errors
/// That the host is not known, or has no such address.
pub fn resolve_host_in(host: &str, port: u16, ipv6: Option<bool>) -> Result<SocketAddr, String> {
    let unknown = |why: String| format!("host {host:?} is not known here: {why}");
    let mut addresses = (host, port).to_socket_addrs().map_err(|e| unknown(e.to_string()))?;
    let found = addresses.find(|a| ipv6.is_none_or(|v6| a.is_ipv6() == v6));
    found.ok_or_else(|| unknown("it has no address of that kind".into()))
}

/// Whether only this machine can reach a host (by address or name); an empty host is every interface.
pub fn is_loopback(host: &str) -> bool {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return ip.is_loopback();
    }
    !host.is_empty() && (host, 0).to_socket_addrs().is_ok_and(|mut all| all.all(|a| a.ip().is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_every_form() {
        let ok = |text: &str| host_and_port(text, 7).expect("an address");
        assert_eq!(ok("1883"), ("127.0.0.1".into(), 1883));
        assert_eq!(ok("0.0.0.0:1"), ("0.0.0.0".into(), 1));
        assert_eq!(ok("localhost"), ("localhost".into(), 7));
        assert_eq!(ok("[::1]:9"), ("::1".into(), 9));
        assert_eq!(ok("::1"), ("::1".into(), 7));
        assert_eq!(ok(":5"), (String::new(), 5));
        for wrong in ["", "70000", "a:b", "[::1", "[::1]x"] {
            assert!(host_and_port(wrong, 7).is_err(), "{wrong}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        assert!(is_loopback("127.0.0.1") && is_loopback("::1") && is_loopback("localhost"));
        assert!(!is_loopback("0.0.0.0") && !is_loopback("") && !is_loopback("192.0.2.1"));
    }
}
