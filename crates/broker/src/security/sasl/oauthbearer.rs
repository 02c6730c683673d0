//! OAUTHBEARER (RFC 7628): a signed token (JWT) says who the client is, and until when.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use client::security::jaas::JaasEntry;
use client::security::store;
use meta::config::split_list;
use rustls::RootCertStore;
use serde_json::Value;

use super::Step;
use super::endpoint::Endpoint;
use super::jwks::{self, KeyFile, KeyUrl, Keys, Refresh};
use crate::config::ConfigProblem;
use crate::security::{ListenerValues, problem};

const URL: &str = "sasl.oauthbearer.jwks.endpoint.url";

/// How tokens are checked.
#[derive(Debug)]
pub(super) struct OauthConfig {
    keys: Keys,
    issuer: Option<String>,
    audience: Vec<String>,
    skew_ms: i64,
    user_claim: String,
}

impl OauthConfig {
    /// Reads the settings of a listener, and the keys they name.
    ///
    /// # Errors
    /// One entry for each wrong key.
    pub(super) fn new(values: &ListenerValues<'_>) -> Result<Self, Vec<ConfigProblem>> {
        let of = |key: &str| values.find_of("oauthbearer", key);
        let Some((key, url)) = of(URL) else {
            return Err(vec![problem(
                URL,
                "OAUTHBEARER is enabled, and nothing says which keys sign tokens",
            )]);
        };
        let keys = keys(values, &url).map_err(|why| vec![problem(&key, why)])?;
        let skew = of("sasl.oauthbearer.clock.skew.seconds").and_then(|(_, text)| text.parse::<i64>().ok());
        let audience = of("sasl.oauthbearer.expected.audience").map(|(_, text)| text).unwrap_or_default();
        Ok(Self {
            keys,
            issuer: of("sasl.oauthbearer.expected.issuer").map(|(_, text)| text),
            audience: split_list(&audience).map(str::to_owned).collect(),
            skew_ms: skew.unwrap_or(30).saturating_mul(1000),
            user_claim: of("sasl.oauthbearer.sub.claim.name").map_or_else(|| "sub".into(), |(_, text)| text),
        })
    }

    /// The user of a token and when the token ends.
    fn check(&self, token: &str, now_ms: i64) -> Result<(String, i64), &'static str> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("not a signed token");
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64url");
        let json =
            |part: &str| serde_json::from_slice::<Value>(&decode(part)?).map_err(|_| "not a JSON object");
        let header_value = json(header)?;
        let algorithm = header_value.get("alg").and_then(Value::as_str).ok_or("no algorithm")?;
        let id = header_value.get("kid").and_then(Value::as_str);
        let signed = token.get(..header.len() + 1 + claims.len()).ok_or("not a signed token")?;
        if !jwks::verify(&self.keys.keys(id), id, algorithm, signed.as_bytes(), &decode(signature)?) {
            return Err("no known key made its signature");
        }
        let claims = json(claims)?;
        self.check_claims(&claims, now_ms)
    }

    fn check_claims(&self, claims: &Value, now_ms: i64) -> Result<(String, i64), &'static str> {
        // Seconds, perhaps with a fraction.
        #[allow(clippy::cast_possible_truncation)]
        let time = |name: &str| claims.get(name).and_then(Value::as_f64).map(|s| (s * 1000.0) as i64);
        let expires_ms = time("exp").ok_or("it does not say when it expires")?;
        if now_ms >= expires_ms.saturating_add(self.skew_ms) {
            return Err("it has expired");
        }
        let latest = now_ms.saturating_add(self.skew_ms);
        if time("nbf").is_some_and(|from| from > latest) || time("iat").is_some_and(|from| from > latest) {
            return Err("it is not valid yet");
        }
        let issuer = claims.get("iss").and_then(Value::as_str);
        if self.issuer.is_some() && self.issuer.as_deref() != issuer {
            return Err("another issuer is expected");
        }
        let is_expected =
            |value: &Value| value.as_str().is_some_and(|a| self.audience.iter().any(|x| x == a));
        let for_us = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(is_expected),
            Some(one) => is_expected(one),
            None => false,
        };
        if !self.audience.is_empty() && !for_us {
            return Err("it is for another audience");
        }
        let user = claims.get(&self.user_claim).and_then(Value::as_str).map(str::trim);
        match user.filter(|user| !user.is_empty()) {
            Some(user) => Ok((user.to_owned(), expires_ms)),
            None => Err("it names no user"),
        }
    }
}

/// The keys at a URL: of a file, or of an identity provider.
fn keys(values: &ListenerValues<'_>, url: &str) -> Result<Keys, String> {
    if let Some(path) = url.strip_prefix("file:") {
        let path = PathBuf::from(format!("/{}", path.trim_start_matches('/')));
        return Ok(Keys::File(KeyFile::open(path)?));
    }
    let ms = |key: &str, default: u64| {
        let given = values.find_of("oauthbearer", key).and_then(|(_, text)| text.parse().ok());
        Duration::from_millis(given.unwrap_or(default))
    };
    let refresh = Refresh {
        every: ms("sasl.oauthbearer.jwks.endpoint.refresh.ms", 3_600_000),
        retry: ms("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", 100),
        retry_max: ms("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", 10_000),
    };
    let (connect, read) =
        (ms("sasl.login.connect.timeout.ms", 10_000), ms("sasl.login.read.timeout.ms", 10_000));
    let endpoint = Endpoint::new(url, || authorities(values), connect, read)?;
    Ok(Keys::Url(KeyUrl::open(endpoint, refresh)?))
}

/// Whom an https URL is trusted by: the truststore that the JAAS entry names, as in Kafka, or the system's authorities.
fn authorities(values: &ListenerValues<'_>) -> Result<RootCertStore, String> {
    let entry = match values.find_of("oauthbearer", "sasl.jaas.config") {
        Some((_, text)) => JaasEntry::parse(&text)?.options,
        None => BTreeMap::new(),
    };
    let Some(path) = entry.get("ssl.truststore.location") else {
        return client::security::system_authorities().ok_or_else(|| {
            "the system trusts nobody, and ssl.truststore.location in the JAAS entry is not set".into()
        });
    };
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let password = entry.get("ssl.truststore.password").map(String::as_str);
    let mut roots = RootCertStore::empty();
    for authority in store::authorities(&bytes, password).map_err(|why| format!("{path}: {why}"))? {
        roots.add(authority).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(roots)
}

/// The server's side of one exchange.
#[derive(Debug, Default)]
pub(super) struct OauthServer {
    /// The client was told that its token is not good, and says so in return before the end.
    refused: bool,
}

impl OauthServer {
    pub(super) fn step(&mut self, config: &OauthConfig, message: &[u8], now_ms: i64) -> Step {
        const FAILED: &str = "Authentication failed during authentication due to invalid credentials with SASL \
                              mechanism OAUTHBEARER";
        if self.refused {
            return Step::Failed(format!("{FAILED}: {{\"status\":\"invalid_token\"}}"));
        }
        let Some((token, authorize)) = parse(message) else {
            return Step::Failed("Invalid OAUTHBEARER client first message".into());
        };
        match config.check(token, now_ms) {
            Ok((user, expires_ms)) if authorize.is_empty() || authorize == user => {
                Step::Done { answer: Bytes::new(), user, expires_ms: Some(expires_ms) }
            }
            Ok(_) => Step::Failed("Authentication failed: Client requested an authorization id that is different from the token's \
                 principal name".to_owned()),
            Err(why) => {
                tracing::info!(why, "token refused");
                self.refused = true;
                Step::Continue(Bytes::from_static(b"{\"status\":\"invalid_token\"}"))
            }
        }
    }
}

/// `n,[a=authzid],^Aauth=Bearer TOKEN^A[key=value^A]^A`: the token and the authorization id.
fn parse(message: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(message).ok()?;
    let rest = text.strip_prefix("n,")?;
    let (authorize, rest) = rest.split_once(',')?;
    let authorize = authorize.strip_prefix("a=").unwrap_or(authorize);
    let pairs = rest.strip_prefix('\u{1}')?.strip_suffix("\u{1}\u{1}")?;
    let token = pairs.split('\u{1}').find_map(|pair| {
        let value = pair.strip_prefix("auth=")?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    })?;
    (!token.is_empty()).then_some((token, authorize))
}
