//! What `server.properties` says about SASL on one listener.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use meta::config::split_list;

use super::Mechanism;
use super::oauthbearer::OauthConfig;
use crate::config::ConfigProblem;
use crate::security::{ListenerValues, problem};
use client::security::jaas::JaasEntry;

const MECHANISMS: &str = "sasl.enabled.mechanisms";
const JAAS: &str = "sasl.jaas.config";

/// SASL on one listener.
pub(crate) struct SaslConfig {
    /// Mechanisms offered.
    pub(crate) mechanisms: Vec<Mechanism>,
    /// Passwords of PLAIN users.
    pub(super) plain_users: BTreeMap<String, String>,
    /// How tokens are checked.
    pub(super) oauth: Option<OauthConfig>,
    /// `connections.max.reauth.ms`, by mechanism in the order of `mechanisms`.
    pub(super) max_reauth_ms: Vec<i64>,
    /// `sasl.server.max.receive.size`.
    pub(crate) receive_bytes_max: usize,
    /// `connection.failed.authentication.delay.ms`.
    pub(super) failure_delay: Duration,
    /// Makes up salts for users that are not there, the same one each time.
    pub(super) secret: [u8; 32],
}

impl fmt::Debug for SaslConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslConfig").field("mechanisms", &self.mechanisms).finish_non_exhaustive()
    }
}

impl SaslConfig {
    /// Reads the settings of a listener.
    ///
    /// # Errors
    /// One entry for each wrong key.
    pub(crate) fn new(values: &ListenerValues<'_>, has_tls: bool) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut mechanisms = Vec::new();
        let (key, names) = values.find(MECHANISMS).unwrap_or_else(|| (MECHANISMS.into(), "GSSAPI".into()));
        for name in split_list(&names) {
            match Mechanism::from_name(name) {
                Some(mechanism) => mechanisms.push(mechanism),
                None => problems.push(problem(
                    &key,
                    format!(
                        "{name} is not supported; this broker knows PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and \
                         OAUTHBEARER"
                    ),
                )),
            }
        }
        let mut plain_users = BTreeMap::new();
        if mechanisms.contains(&Mechanism::Plain) {
            match plain(values) {
                Ok(users) => plain_users = users,
                Err(more) => problems.push(more),
            }
            if !has_tls {
                tracing::warn!("a listener takes PLAIN passwords without TLS: they can be read on the way");
            }
        }
        let mut oauth = None;
        if mechanisms.contains(&Mechanism::OauthBearer) {
            match OauthConfig::new(values) {
                Ok(config) => oauth = Some(config),
                Err(more) => problems.extend(more),
            }
        }
        let max_reauth_ms = mechanisms
            .iter()
            .map(|mechanism| {
                let own = values.find_of(mechanism.name(), "connections.max.reauth.ms");
                own.and_then(|(_, text)| text.parse().ok()).unwrap_or(0)
            })
            .collect();
        let delay = values.long("connection.failed.authentication.delay.ms");
        let mut secret = [0; 32];
        if getrandom::fill(&mut secret).is_err() {
            problems.push(problem(MECHANISMS, "the system gives no random numbers"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            mechanisms,
            plain_users,
            oauth,
            max_reauth_ms,
            receive_bytes_max: usize::try_from(values.long("sasl.server.max.receive.size")).unwrap_or(0),
            failure_delay: Duration::from_millis(u64::try_from(delay).unwrap_or(0)),
            secret,
        })
    }
}

fn plain(values: &ListenerValues<'_>) -> Result<BTreeMap<String, String>, ConfigProblem> {
    let Some((key, text)) = values.find_of("plain", JAAS) else {
        return Err(problem(
            "plain.sasl.jaas.config",
            "PLAIN is enabled without users: listener.name.<listener>.plain.sasl.jaas.config must name them as \
             user_<name>=\"<password>\"",
        ));
    };
    let entry = JaasEntry::parse(&text).map_err(|why| problem(&key, why))?;
    let users: BTreeMap<String, String> = entry
        .options
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("user_")?.to_owned(), value)))
        .collect();
    if users.is_empty() {
        return Err(problem(&key, "names no users: user_<name>=\"<password>\""));
    }
    Ok(users)
}
