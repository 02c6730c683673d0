//! TLS on one listener: certificates and keys in PEM or PKCS12, read again when their files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use client::security::store;
use meta::config::split_list;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;

use super::distinguished_name::{self, PrincipalRules};
use super::{ListenerValues, problem};
use crate::config::ConfigProblem;

/// How often files are looked at, when connections come.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether clients show a certificate (`ssl.client.auth`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientAuth {
    None,
    Requested,
    Required,
}

/// Where certificates, keys or authorities come from.
#[derive(Clone)]
enum Pem {
    File(PathBuf),
    Text(String),
}

impl Pem {
    fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::File(path) => std::fs::read(path).map_err(|error| format!("{}: {error}", path.display())),
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Text(_) => None,
        }
    }
}

/// What a listener's TLS is made of.
struct Sources {
    /// Key and certificate chain; one file may hold both.
    key: Pem,
    chain: Pem,
    authorities: Option<Pem>,
    passwords: Passwords,
    client_auth: ClientAuth,
    versions: Vec<&'static rustls::SupportedProtocolVersion>,
    suites: Vec<rustls::SupportedCipherSuite>,
}

/// What opens stores and keys.
struct Passwords {
    keystore: Option<String>,
    key: Option<String>,
    truststore: Option<String>,
}

impl Sources {
    fn load(&self) -> Result<Arc<rustls::ServerConfig>, String> {
        let (chain, key) = self.identity()?;
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.clone_from(&self.suites);
        let provider = Arc::new(provider);
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .map_err(|error| error.to_string())?;
        let builder = if self.client_auth == ClientAuth::None {
            builder.with_no_client_auth()
        } else {
            let authorities = self.authorities.as_ref().ok_or("ssl.client.auth needs a truststore")?;
            let mut roots = RootCertStore::empty();
            let authorities = store::authorities(&authorities.read()?, self.passwords.truststore.as_deref())
                .map_err(|error| format!("truststore: {error}"))?;
            for authority in authorities {
                roots.add(authority).map_err(|error| format!("truststore: {error}"))?;
            }
            let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if self.client_auth == ClientAuth::Requested {
                verifier = verifier.allow_unauthenticated();
            }
            builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| error.to_string())?;
        // A resumed session would bring an old certificate's name with it.
        if self.client_auth != ClientAuth::None {
            config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }

    fn identity(&self) -> Result<store::Identity, String> {
        let Passwords { keystore, key, .. } = &self.passwords;
        match (&self.chain, &self.key) {
            (Pem::File(_), Pem::File(_)) => {
                store::identity(&self.key.read()?, keystore.as_deref(), key.as_deref())
            }
            (chain, private) => Ok((
                store::certificates(&chain.read()?)?,
                store::private_key(&private.read()?, key.as_deref())?,
            )),
        }
    }

    /// When each file was changed last.
    fn state(&self) -> Vec<Option<SystemTime>> {
        [Some(&self.key), Some(&self.chain), self.authorities.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(Pem::path)
            .map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok())
            .collect()
    }
}

struct Watched {
    looked: Instant,
    state: Vec<Option<SystemTime>>,
}

/// TLS on one listener.
pub(crate) struct TlsConfig {
    sources: Sources,
    current: ArcSwap<rustls::ServerConfig>,
    watched: Mutex<Watched>,
    rules: PrincipalRules,
    client_auth: ClientAuth,
}

impl std::fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConfig").field("client_auth", &self.client_auth).finish_non_exhaustive()
    }
}

impl TlsConfig {
    /// Reads the settings of a listener, and the certificates they name.
    ///
    /// # Errors
    /// One entry for each wrong key.
    pub(crate) fn new(values: &ListenerValues<'_>) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut take = |result: Result<_, ConfigProblem>| match result {
            Ok(found) => Some(found),
            Err(wrong) => {
                problems.push(wrong);
                None
            }
        };
        let key_and_chain = take(key_and_chain(values).map(Some)).flatten();
        let authorities = location(values, "truststore", "ssl.truststore.certificates");
        let authorities = take(authorities.map(|found| found.map(|pem| (pem.clone(), pem)))).flatten();
        let rules = values.text("ssl.principal.mapping.rules").unwrap_or_else(|| "DEFAULT".into());
        let rules = PrincipalRules::parse(&rules)
            .map_err(|why| problems.push(problem("ssl.principal.mapping.rules", why)))
            .ok();
        let client_auth = match values.text("ssl.client.auth").as_deref() {
            Some("required") => ClientAuth::Required,
            Some("requested") => ClientAuth::Requested,
            _ => ClientAuth::None,
        };
        let versions = versions(values).map_err(|wrong| problems.push(wrong)).ok();
        let suites = suites(values).map_err(|wrong| problems.push(wrong)).ok();
        let (Some((key, chain)), Some(rules), Some(versions), Some(suites)) =
            (key_and_chain, rules, versions, suites)
        else {
            return Err(problems);
        };
        let passwords = Passwords {
            keystore: values.text("ssl.keystore.password"),
            key: values.text("ssl.key.password"),
            truststore: values.text("ssl.truststore.password"),
        };
        let authorities = authorities.map(|(pem, _)| pem);
        let sources = Sources { key, chain, authorities, passwords, client_auth, versions, suites };
        let state = sources.state();
        match sources.load() {
            Ok(config) if problems.is_empty() => Ok(Self {
                sources,
                current: ArcSwap::new(config),
                watched: Mutex::new(Watched { looked: Instant::now(), state }),
                rules,
                client_auth,
            }),
            Ok(_) => Err(problems),
            Err(why) => {
                problems.push(problem("ssl.keystore.location", why));
                Err(problems)
            }
        }
    }

    /// Whether every client shows a certificate.
    pub(crate) fn requires_certificate(&self) -> bool {
        self.client_auth == ClientAuth::Required
    }

    /// The configuration for a new connection. Files that cannot be read any more, or do not fit together, leave the
    /// certificate that was there.
    pub(crate) fn current(&self) -> Arc<rustls::ServerConfig> {
        let mut watched = self.watched.lock();
        if watched.looked.elapsed() >= LOOK_EVERY {
            watched.looked = Instant::now();
            let state = self.sources.state();
            if state != watched.state {
                watched.state = state;
                match self.sources.load() {
                    Ok(config) => {
                        tracing::info!("certificates were read again");
                        self.current.store(config);
                    }
                    Err(why) => tracing::error!(why, "certificates not read again: the old ones stay"),
                }
            }
        }
        drop(watched);
        self.current.load_full()
    }

    /// Who showed a certificate; `None` = nobody did.
    ///
    /// # Errors
    /// The certificate has a name that no rule covers.
    pub(crate) fn principal(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Option<String>, String> {
        let Some(certificate) = chain.and_then(<[_]>::first) else { return Ok(None) };
        let name = distinguished_name::subject(certificate).ok_or("its certificate has no subject")?;
        let user = self.rules.apply(&name).ok_or_else(|| format!("No rules apply to {name}"))?;
        Ok(Some(format!("User:{user}")))
    }
}

fn versions(
    values: &ListenerValues<'_>,
) -> Result<Vec<&'static rustls::SupportedProtocolVersion>, ConfigProblem> {
    let key = "ssl.enabled.protocols";
    let text = values.text(key).unwrap_or_default();
    let mut versions = Vec::new();
    for name in split_list(&text) {
        match name {
            "TLSv1.2" => versions.push(&rustls::version::TLS12),
            "TLSv1.3" => versions.push(&rustls::version::TLS13),
            other => return Err(problem(key, format!("{other} is not supported: TLSv1.2 and TLSv1.3 are"))),
        }
    }
    if versions.is_empty() {
        return Err(problem(key, "names no version"));
    }
    Ok(versions)
}

/// The cipher suites of `ssl.cipher.suites`, by the names of the standard; all when it names none.
fn suites(values: &ListenerValues<'_>) -> Result<Vec<rustls::SupportedCipherSuite>, ConfigProblem> {
    let known = rustls::crypto::ring::ALL_CIPHER_SUITES;
    let key = "ssl.cipher.suites";
    let text = values.text(key).unwrap_or_default();
    let mut chosen = Vec::new();
    for name in split_list(&text) {
        // rustls writes TLS13_AES_… where the standard says TLS_AES_….
        let is_it = |suite: &&rustls::SupportedCipherSuite| {
            suite.suite().as_str().is_some_and(|own| own.replacen("TLS13_", "TLS_", 1) == name)
        };
        match known.iter().find(is_it) {
            Some(suite) => chosen.push(*suite),
            None => return Err(problem(key, format!("{name} is not spoken here"))),
        }
    }
    Ok(if chosen.is_empty() { known.to_vec() } else { chosen })
}

fn key_and_chain(values: &ListenerValues<'_>) -> Result<(Pem, Pem), ConfigProblem> {
    let inline = values.find("ssl.keystore.key").zip(values.find("ssl.keystore.certificate.chain"));
    if let Some(((_, key), (_, chain))) = inline {
        return Ok((Pem::Text(lines(&key)), Pem::Text(lines(&chain))));
    }
    match location(values, "keystore", "ssl.keystore.certificate.chain")? {
        Some(pem) => Ok((pem.clone(), pem)),
        None => Err(problem(
            "ssl.keystore.location",
            "TLS needs a key and a certificate: ssl.keystore.location (PEM or PKCS12), or ssl.keystore.key and \
             ssl.keystore.certificate.chain",
        )),
    }
}

/// A keystore or truststore, inline or as a file. What the file is shows when it is read, whatever its type is said
/// to be.
fn location(values: &ListenerValues<'_>, what: &str, inline: &str) -> Result<Option<Pem>, ConfigProblem> {
    if what == "truststore"
        && let Some((_, text)) = values.find(inline)
    {
        return Ok(Some(Pem::Text(lines(&text))));
    }
    let Some((key, location)) = values.find(&format!("ssl.{what}.location")) else { return Ok(None) };
    let path = PathBuf::from(&location);
    if !path.exists() {
        return Err(problem(&key, format!("{location} is not there")));
    }
    Ok(Some(Pem::File(path)))
}

/// PEM on one line, as properties files carry it, gets its line feeds back.
fn lines(text: &str) -> String {
    if text.trim().lines().count() > 1 {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut rest = text.trim();
    while let Some(begin) = rest.find("-----BEGIN ") {
        let Some(after) = rest.get(begin..) else { break };
        let Some(label_end) = after.get(11..).and_then(|l| l.find("-----")).map(|at| at + 16) else { break };
        let Some((label, body)) = after.split_at_checked(label_end) else { break };
        let Some((content, tail)) = body.split_once("-----END ") else { break };
        let Some((end, tail)) = tail.split_once("-----") else { break };
        let content: String = content.split_whitespace().collect();
        out.push_str(&format!("{label}\n{content}\n-----END {end}-----\n"));
        rest = tail;
    }
    out
}
