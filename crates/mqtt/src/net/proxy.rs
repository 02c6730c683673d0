//! The PROXY protocol, versions 1 and 2: a proxy says before anything else for whom it connects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1.
const LINE_MAX: usize = 107;
/// Longest header of version 2 that is read: addresses and some extensions.
const HEADER_MAX: usize = 4096;

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Its bytes.
    pub(super) length: usize,
    /// Whom the proxy connects for; `None` = itself (a health check), or unknown.
    pub(super) source: Option<SocketAddr>,
}

/// Reads a header of either version; `None` while it is not complete.
pub(super) fn read(input: &[u8]) -> Result<Option<Header>, &'static str> {
    let begins = |with: &[u8]| with.starts_with(input.get(..with.len()).unwrap_or(input));
    if begins(SIGNATURE) {
        return version_2(input);
    }
    if begins(b"PROXY ") {
        return version_1(input);
    }
    Err("no PROXY header")
}

fn version_1(input: &[u8]) -> Result<Option<Header>, &'static str> {
    let wrong = "malformed PROXY header";
    let Some(end) = input.windows(2).take(LINE_MAX - 1).position(|w| w == b"\r\n") else {
        return if input.len() >= LINE_MAX { Err(wrong) } else { Ok(None) };
    };
    let line = input.get(..end).and_then(|l| std::str::from_utf8(l).ok()).ok_or(wrong)?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, target, source_port, target_port] => {
            let source: IpAddr = source.parse().map_err(|_| wrong)?;
            let target: IpAddr = target.parse().map_err(|_| wrong)?;
            let port: u16 = source_port.parse().map_err(|_| wrong)?;
            target_port.parse::<u16>().map_err(|_| wrong)?;
            if source.is_ipv4() != (*family == "TCP4") || source.is_ipv4() != target.is_ipv4() {
                return Err(wrong);
            }
            Some(SocketAddr::new(source, port))
        }
        _ => return Err(wrong),
    };
    Ok(Some(Header { length: end + 2, source }))
}

fn version_2(input: &[u8]) -> Result<Option<Header>, &'static str> {
    let wrong = "malformed PROXY header";
    let Some(fixed) = input.get(..16) else { return Ok(None) };
    let &[.., version_command, family, high, low] = fixed else { return Err(wrong) };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if version_command >> 4 != 2 || length > HEADER_MAX {
        return Err(wrong);
    }
    let Some(body) = input.get(16..length) else { return Ok(None) };
    let port = |at: usize| body.get(at..at + 2).and_then(|p| p.try_into().ok()).map(u16::from_be_bytes);
    let source = match (version_command & 0x0f, family) {
        (0, _) => None,
        (1, 0x11) => {
            let ip: [u8; 4] = body.get(..4).and_then(|a| a.try_into().ok()).ok_or(wrong)?;
            Some(SocketAddr::new(Ipv4Addr::from(ip).into(), port(8).ok_or(wrong)?))
        }
        (1, 0x21) => {
            let ip: [u8; 16] = body.get(..16).and_then(|a| a.try_into().ok()).ok_or(wrong)?;
            Some(SocketAddr::new(Ipv6Addr::from(ip).into(), port(32).ok_or(wrong)?))
        }
        (1, 0x00 | 0x31) => None,
        _ => return Err(wrong),
    };
    Ok(Some(Header { length, source }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, body].concat()
    }

    #[test]
    fn both_versions_name_the_client() {
        let v4_body = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0x07, 0x5b];
        let v6_body =
            [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16], &[0, 9, 0, 1]];
        for (bytes, source) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 1883\r\n".to_vec(), Some("192.0.2.7:8080")),
            (b"PROXY TCP6 2001:db8::1 ::1 9 1\r\n".to_vec(), Some("[2001:db8::1]:9")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2(1, 0x11, &v4_body), Some("192.0.2.7:8080")),
            (v2(1, 0x11, &[&v4_body[..], b"\x04\0\x01x"].concat()), Some("192.0.2.7:8080")),
            (v2(1, 0x21, &v6_body.concat()), Some("[2001:db8::1]:9")),
            (v2(0, 0, &[]), None),
        ] {
            let whole = Header { length: bytes.len(), source: source.map(|s| s.parse().unwrap()) };
            let with_more = [&bytes[..], b"\x10"].concat();
            assert_eq!(read(&with_more), Ok(Some(whole)), "{bytes:?}");
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Ok(None), "{cut} of {bytes:?}");
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 120]].concat();
        for bytes in [
            b"\x10\x0c\0\x04MQTT".to_vec(),
            b"PROXY TCP4 1.2.3.4\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 1\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 1\r\n".to_vec(),
            long,
            v2(1, 0x11, &[1, 2, 3]),
            v2(2, 0x11, &[0; 12]),
            v2(0, 0, &[0; 5000]),
        ] {
            assert!(read(&bytes).is_err(), "{bytes:?}");
        }
    }
}
