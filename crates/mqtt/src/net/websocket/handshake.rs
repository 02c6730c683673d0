//! The opening handshake of both sides.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

/// What both sides add to the key before hashing it.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Headers of one request or response.
const HEADERS_MAX: usize = 64;

/// Why there is no WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The header is longer than allowed.
    TooLong,
    /// It is no HTTP.
    NotHttp,
    /// It is HTTP, but does not ask for (or accept) what MQTT needs.
    Refused(&'static str),
}

/// A request that is accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The response to send.
    pub response: Vec<u8>,
    /// Bytes of the request.
    pub consumed: usize,
}

/// A request that we sent.
#[derive(Debug)]
pub struct Request {
    /// Its bytes.
    pub bytes: Vec<u8>,
    key: String,
}

fn accept_key(key: &str) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(MAGIC);
    STANDARD.encode(context.finish())
}

/// First line, headers and their length, once the empty line is there.
type Head<'t> = (&'t str, Vec<(&'t str, &'t str)>, usize);

fn head(input: &[u8], max: usize) -> Result<Option<Head<'_>>, HandshakeError> {
    let Some(end) = input.windows(4).take(max).position(|w| w == b"\r\n\r\n") else {
        return if input.len() >= max { Err(HandshakeError::TooLong) } else { Ok(None) };
    };
    let text = input.get(..end).and_then(|h| std::str::from_utf8(h).ok()).ok_or(HandshakeError::NotHttp)?;
    let mut lines = text.split("\r\n");
    let first = lines.next().ok_or(HandshakeError::NotHttp)?;
    let headers: Option<Vec<_>> = lines
        .take(HEADERS_MAX)
        .map(|l| l.split_once(':').map(|(name, value)| (name.trim(), value.trim())))
        .collect();
    Ok(Some((first, headers.ok_or(HandshakeError::NotHttp)?, end + 4)))
}

fn values<'t>(headers: &'t [(&'t str, &'t str)], name: &'t str) -> impl Iterator<Item = &'t str> {
    headers
        .iter()
        .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
        .flat_map(|(_, v)| v.split(',').map(str::trim))
}

fn has(headers: &[(&str, &str)], name: &str, value: &str) -> bool {
    values(headers, name).any(|v| v.eq_ignore_ascii_case(value))
}

/// Looks at a client's request; `None` while it is not complete.
///
/// # Errors
/// [`HandshakeError`]; `Refused` is answered with [`refusal`](HandshakeError::response).
pub fn accept(input: &[u8], header_max: usize) -> Result<Option<Accepted>, HandshakeError> {
    use HandshakeError::Refused;
    if !input.is_empty() && !b"GET ".starts_with(input.get(..4).unwrap_or(input)) {
        return Err(HandshakeError::NotHttp);
    }
    let Some((first, headers, consumed)) = head(input, header_max)? else { return Ok(None) };
    let mut words = first.split(' ');
    let line = (words.next(), words.next(), words.next(), words.next());
    let (Some("GET"), Some(_), Some("HTTP/1.1"), None) = line else { return Err(HandshakeError::NotHttp) };
    if !has(&headers, "upgrade", "websocket") || !has(&headers, "connection", "upgrade") {
        return Err(Refused("this port speaks MQTT over WebSocket"));
    }
    if !has(&headers, "sec-websocket-version", "13") {
        return Err(Refused("WebSocket version 13 is needed"));
    }
    let key = values(&headers, "sec-websocket-key").next().unwrap_or_default();
    if STANDARD.decode(key).map(|k| k.len()) != Ok(16) {
        return Err(Refused("Sec-WebSocket-Key is not a key"));
    }
    // `mqttv3.1` is what clients of MQTT 3.1 ask for.
    let offered = |p: &&&str| values(&headers, "sec-websocket-protocol").any(|v| v == **p);
    let Some(protocol) = ["mqtt", "mqttv3.1"].iter().find(offered) else {
        return Err(Refused("the WebSocket subprotocol mqtt is needed"));
    };
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n",
        accept_key(key)
    );
    Ok(Some(Accepted { response: response.into_bytes(), consumed }))
}

impl HandshakeError {
    /// What a server answers.
    pub fn response(&self) -> Vec<u8> {
        let (status, text, more) = match self {
            Self::NotHttp => return Vec::new(),
            Self::TooLong => ("431 Request Header Fields Too Large", "the request is too long", ""),
            Self::Refused(why) => {
                ("400 Bad Request", *why, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
            }
        };
        format!(
            "HTTP/1.1 {status}\r\n{more}Connection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{text}\n",
            text.len() + 1
        )
        .into_bytes()
    }
}

/// A client's request.
///
/// # Errors
/// When the system has no randomness.
pub fn request(host: &str, path: &str, headers: &[(String, String)]) -> Result<Request, getrandom::Error> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random)?;
    let key = STANDARD.encode(random);
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n"
    );
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    text.push_str("\r\n");
    Ok(Request { bytes: text.into_bytes(), key })
}

/// Looks at a server's response: what came after it, or `None` while it is not complete.
///
/// # Errors
/// [`HandshakeError`].
pub fn check_response(request: &Request, input: &mut BytesMut) -> Result<Option<Bytes>, HandshakeError> {
    let Some((first, headers, consumed)) = head(input, 16 << 10)? else { return Ok(None) };
    if !first.starts_with("HTTP/1.1 101") {
        return Err(HandshakeError::Refused("the server does not accept WebSocket there"));
    }
    if !values(&headers, "sec-websocket-accept").any(|v| v == accept_key(&request.key)) {
        return Err(HandshakeError::Refused("the server's answer does not fit the request"));
    }
    if !has(&headers, "sec-websocket-protocol", "mqtt") {
        return Err(HandshakeError::Refused("the server does not speak MQTT there"));
    }
    let _ = input.split_to(consumed);
    Ok(Some(input.split().freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: &str = "Host: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    #[test]
    fn the_example_of_the_rfc() {
        let text = format!("GET /mqtt HTTP/1.1\r\n{HEADERS}Sec-WebSocket-Protocol: x, mqtt\r\n\r\nrest");
        let accepted = accept(text.as_bytes(), 4096).unwrap().unwrap();
        assert_eq!(accepted.consumed, text.len() - 4);
        let response = String::from_utf8(accepted.response).unwrap();
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{response}");
        assert!(response.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{response}");
        for cut in 0..accepted.consumed {
            assert_eq!(accept(&text.as_bytes()[..cut], 4096), Ok(None), "{cut}");
        }
    }

    #[test]
    fn what_is_no_mqtt_is_refused() {
        let refused = |text: &str| accept(text.as_bytes(), 4096).unwrap_err();
        assert_eq!(refused("\x10\x0c\0\x04MQTT"), HandshakeError::NotHttp);
        assert_eq!(refused("POST / HTTP/1.1\r\n\r\n"), HandshakeError::NotHttp);
        for text in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            format!("GET / HTTP/1.1\r\n{HEADERS}\r\n"),
            format!("GET / HTTP/1.1\r\n{HEADERS}Sec-WebSocket-Protocol: chat\r\n\r\n"),
            format!("GET / HTTP/1.1\r\n{}Sec-WebSocket-Protocol: mqtt\r\n\r\n", HEADERS.replace("13", "8")),
            format!("GET / HTTP/1.1\r\n{}Sec-WebSocket-Protocol: mqtt\r\n\r\n", HEADERS.replace("dGhl", "")),
        ] {
            let error = refused(&text);
            assert!(matches!(error, HandshakeError::Refused(_)), "{text}: {error:?}");
            assert!(error.response().starts_with(b"HTTP/1.1 400 "));
        }
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(5000));
        assert_eq!(refused(&long), HandshakeError::TooLong);
    }

    #[test]
    fn both_sides_agree() {
        let ours = request("h:1", "/mqtt", &[("X-A".into(), "b".into())]).unwrap();
        let accepted = accept(&ours.bytes, 4096).unwrap().unwrap();
        let mut input = BytesMut::from(&accepted.response[..]);
        input.extend_from_slice(b"more");
        assert_eq!(check_response(&ours, &mut input).unwrap().unwrap(), "more");
        let other = request("h:1", "/mqtt", &[]).unwrap();
        assert!(check_response(&other, &mut BytesMut::from(&accepted.response[..])).is_err());
    }
}
