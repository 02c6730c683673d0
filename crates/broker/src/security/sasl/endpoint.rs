//! One GET over HTTP or HTTPS, for the keys of an identity provider. It blocks, and not for long: it runs at start, and
//! on a thread of its own.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Largest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where keys are fetched.
#[derive(Clone)]
pub(super) struct Endpoint {
    url: String,
    host: String,
    port: u16,
    /// Path and query.
    target: String,
    tls: Option<Arc<ClientConfig>>,
    connect_timeout: Duration,
    read_timeout: Duration,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Endpoint").field(&self.url).finish()
    }
}

impl Endpoint {
    /// Takes a URL apart; `roots` are trusted where it is https.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(
        url: &str,
        roots: impl FnOnce() -> Result<RootCertStore, String>,
        connect_timeout: Duration,
        read_timeout: Duration,
    ) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("is not a URL")?;
        let (tls, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (None, 80),
            "https" => (Some(client_config(roots()?)?), 443),
            _ => return Err(format!("{scheme} is not a scheme that is known: http, https and file are")),
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        if authority.contains('@') {
            return Err("must not hold a user and password".into());
        }
        let target = target.split('#').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| format!("{port} is not a port"))?)
            }
            _ => (authority, default_port),
        };
        if host.is_empty() || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("is not a URL".into());
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let host = host.to_owned();
        Ok(Self { url: url.to_owned(), host, port, target, tls, connect_timeout, read_timeout })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Fetches what is there.
    ///
    /// # Errors
    /// What went wrong, and at which URL.
    pub(super) fn get(&self) -> Result<Vec<u8>, String> {
        self.try_get().map_err(|why| format!("{}: {why}", self.url))
    }

    fn try_get(&self) -> Result<Vec<u8>, String> {
        let told = |error: std::io::Error| error.to_string();
        let deadline = Instant::now() + self.connect_timeout + self.read_timeout;
        let host = self.host.trim_matches(['[', ']']);
        let mut socket = Err("the name has no address".to_owned());
        for address in (host, self.port).to_socket_addrs().map_err(told)? {
            socket = TcpStream::connect_timeout(&address, self.connect_timeout).map_err(told);
            if socket.is_ok() {
                break;
            }
        }
        let socket = socket?;
        socket.set_read_timeout(Some(self.read_timeout)).map_err(told)?;
        socket.set_write_timeout(Some(self.read_timeout)).map_err(told)?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}:{}\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
            self.target, self.host, self.port
        );
        match &self.tls {
            None => exchange(socket, &request, deadline),
            Some(config) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
                let connection =
                    ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())?;
                exchange(StreamOwned::new(connection, socket), &request, deadline)
            }
        }
    }
}

fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn exchange(mut stream: impl Read + Write, request: &str, deadline: Instant) -> Result<Vec<u8>, String> {
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    stream.flush().map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            // Servers that close without a word of TLS; the length below tells whether all is there.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.to_string()),
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(format!("its answer is larger than {ANSWER_BYTES_MAX} bytes"));
        }
        if Instant::now() > deadline {
            return Err("its answer takes too long".into());
        }
        if is_whole(&answer) {
            break;
        }
    }
    body(&answer)
}

/// The head and what follows it.
fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((std::str::from_utf8(answer.get(..at)?).ok()?, answer.get(at + 4..)?))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let is_it =
        |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    head.lines().skip(1).find(is_it).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
}

/// Whether an answer that says how long it is, is there; others end with the connection.
fn is_whole(answer: &[u8]) -> bool {
    let Some((head, body)) = split(answer) else { return false };
    let length = header(head, "content-length").and_then(|length| length.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

fn body(answer: &[u8]) -> Result<Vec<u8>, String> {
    let (head, body) = split(answer).ok_or("not an answer of HTTP")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        return Err(format!("the answer is {}", head.lines().next().unwrap_or_default()));
    }
    if header(head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return chunks(body).ok_or_else(|| "an answer in broken chunks".into());
    }
    match header(head, "content-length").map(str::parse::<usize>) {
        Some(Ok(length)) => body.get(..length).map(<[u8]>::to_vec).ok_or_else(|| "half an answer".into()),
        Some(Err(_)) => Err("an answer of no length".into()),
        None => Ok(body.to_vec()),
    }
}

fn chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Result<Endpoint, String> {
        let roots = || Ok(RootCertStore::empty());
        Endpoint::new(url, roots, Duration::from_secs(1), Duration::from_secs(1))
    }

    #[test]
    fn urls_are_taken_apart() {
        let of = |url: &str| endpoint(url).map(|e| (e.host, e.port, e.target, e.tls.is_some()));
        assert_eq!(of("http://h/keys?a=b#c"), Ok(("h".into(), 80, "/keys?a=b".into(), false)));
        assert_eq!(of("https://h:8443"), Ok(("h".into(), 8443, "/".into(), true)));
        assert_eq!(of("HTTP://[::1]:8080/k"), Ok(("[::1]".into(), 8080, "/k".into(), false)));
        for wrong in ["h/keys", "ftp://h/", "http://", "http://u:p@h/", "http://h:port/", "http://h/a b"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_are_whole_or_errors() {
        let whole = |text: &str| body(text.as_bytes()).map(|body| String::from_utf8(body).unwrap());
        assert_eq!(whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), Ok("{}".into()));
        assert_eq!(whole("HTTP/1.0 200 OK\r\n\r\n{}"), Ok("{}".into()));
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
        assert_eq!(whole(chunked), Ok("{}".into()));
        for wrong in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK",
            "",
        ] {
            assert!(whole(wrong).is_err(), "{wrong}");
        }
    }
}
