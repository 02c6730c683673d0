//! The part of `kafka-configs` that is about users, clients and addresses: quotas and SCRAM credentials.

use client::Admin;
use client::admin::{QuotaEntity, QuotaMatch, ScramChange};
use client::security::scram::ScramMechanism;

use super::options::Options;
use super::run::{Failure, Stop};

const CLIENT_QUOTAS: [&str; 4] =
    ["consumer_byte_rate", "controller_mutation_rate", "producer_byte_rate", "request_percentage"];
const IP_QUOTAS: [&str; 1] = ["connection_creation_rate"];
const EXECUTION: &str = "java.util.concurrent.ExecutionException";
/// Iterations of a password when none are given.
const ITERATIONS: u32 = 4096;

fn illegal(message: impl Into<String>) -> Stop {
    Failure::illegal_argument(message).into()
}

/// As Java's futures tell errors.
fn thrown(error: client::Error) -> Failure {
    Failure::from(error).wrapped_in(EXECUTION)
}

/// Users, clients or addresses: `users`, `clients` or `ips`, with a name, an empty one (the default), or none (all).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientEntities(pub(super) Vec<(&'static str, Option<String>)>);

/// What is to be added and taken away.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) add: Vec<(String, String)>,
    pub(super) delete: Vec<String>,
}

impl ClientEntities {
    fn has(&self, kind: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == kind)
    }

    fn entity(&self) -> QuotaEntity {
        let part = |(kind, name): &(&str, Option<String>)| {
            (wire(kind).to_owned(), name.clone().filter(|name| !name.is_empty()))
        };
        self.0.iter().map(part).collect()
    }

    /// Names in the order of the types given, as options give them.
    pub(super) fn named(kinds: &[&'static str], own: &[Option<String>], options: &Options) -> Self {
        let mut names = options
            .in_order(&["entity-name", "entity-default"])
            .map(|(_, value)| value.unwrap_or_default().to_owned());
        let of = |own: &Option<String>| own.clone().or_else(|| names.next());
        let names: Vec<Option<String>> = own.iter().map(of).collect();
        Self(kinds.iter().copied().zip(names).collect())
    }

    /// Carries changes out.
    pub(super) async fn alter(&self, admin: &Admin, changes: Changes) -> Result<(), Stop> {
        let is_scram = |name: &str| ScramMechanism::from_name(name).is_some();
        let known: &[&str] = if self.has("ips") { &IP_QUOTAS } else { &CLIENT_QUOTAS };
        let users_alone = self.0.len() == 1 && self.has("users");
        let names = || changes.add.iter().map(|(name, _)| name).chain(&changes.delete);
        let unknown: Vec<&str> = names()
            .map(String::as_str)
            .filter(|name| !(known.contains(name) || users_alone && is_scram(name)))
            .collect();
        if !unknown.is_empty() {
            let what = match (self.has("ips"), users_alone) {
                (true, _) => "Only connection quota configs can be added for 'ips'",
                (false, true) => "Only quota and SCRAM credential configs can be added for 'users'",
                (false, false) => "Only quota configs can be added for 'clients'",
            };
            return Err(illegal(format!(
                "{what} using --bootstrap-server. Unexpected config names: {}",
                unknown.join(",")
            )));
        }
        if names().any(|name| is_scram(name)) {
            let Some((_, Some(user))) = self.0.first() else { return Err(illegal("No user was named")) };
            if user.is_empty() {
                return Err(illegal(
                    "The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using \
                     --bootstrap-server.",
                ));
            }
            if names().any(|name| !is_scram(name)) {
                return Err(illegal(
                    "Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using \
                     --bootstrap-server.",
                ));
            }
            let changes = scram_changes(&changes)?;
            admin.alter_user_scram_credentials(user, &changes).await.map_err(thrown)?;
        } else {
            let changes = quota_changes(&changes)?;
            admin.alter_client_quotas(&self.entity(), &changes, false).await.map_err(thrown)?;
        }
        if let Some((kind, name)) = self.0.first() {
            match name.as_deref().unwrap_or_default() {
                "" => println!("Completed updating default config for {kind} in the cluster."),
                name => println!(
                    "Completed updating config for {} {name}.",
                    kind.strip_suffix('s').unwrap_or(kind)
                ),
            }
        }
        Ok(())
    }

    /// Shows quotas, and credentials where they are asked for by user alone.
    pub(super) async fn describe(&self, admin: &Admin) -> Result<(), Stop> {
        let filter: Vec<(&str, QuotaMatch)> = self
            .0
            .iter()
            .map(|(kind, name)| {
                let wanted = match name.as_deref() {
                    None => QuotaMatch::Any,
                    Some("") => QuotaMatch::Default,
                    Some(name) => QuotaMatch::Name(name.to_owned()),
                };
                (wire(kind), wanted)
            })
            .collect();
        for quotas in admin.describe_client_quotas(&filter, true).await.map_err(thrown)? {
            let part = |kind: &str, shown: &str| {
                let (_, name) = quotas.entity.iter().find(|(known, _)| known == kind)?;
                Some(match name {
                    Some(name) => format!("{shown} '{name}'"),
                    None => format!("the default {shown}"),
                })
            };
            let entity: Vec<String> =
                [part("user", "user-principal"), part("client-id", "client-id"), part("ip", "ip")]
                    .into_iter()
                    .flatten()
                    .collect();
            let values: Vec<String> =
                quotas.values.iter().map(|(key, value)| format!("{key}={}", java_double(*value))).collect();
            println!("Quota configs for {} are {}", entity.join(", "), values.join(", "));
        }
        // Credentials have no default, and belong to no client.
        if !self.has("users") || self.0.len() > 1 {
            return Ok(());
        }
        let users: Vec<String> = match self.0.first().and_then(|(_, name)| name.clone()) {
            Some(name) if name.is_empty() => return Ok(()),
            Some(name) => vec![name],
            None => Vec::new(),
        };
        for (user, told) in admin.describe_user_scram_credentials(&users).await.map_err(thrown)? {
            let infos = match told {
                Ok(infos) => infos,
                Err(error) if error.code() == Some(kafka_codec::ErrorCode::ResourceNotFound) => continue,
                Err(error) => return Err(thrown(error).into()),
            };
            let infos: Vec<String> = infos
                .iter()
                .map(|(mechanism, iterations)| format!("{}=iterations={iterations}", mechanism.name()))
                .collect();
            println!("SCRAM credential configs for user-principal '{user}' are {}", infos.join(", "));
        }
        Ok(())
    }
}

/// The word that the protocol has for a type of entity.
fn wire(kind: &str) -> &'static str {
    match kind {
        "users" => "user",
        "clients" => "client-id",
        _ => "ip",
    }
}

fn quota_changes(changes: &Changes) -> Result<Vec<(String, Option<f64>)>, Stop> {
    let mut all: Vec<(String, Option<f64>)> = changes.delete.iter().map(|key| (key.clone(), None)).collect();
    for (key, value) in &changes.add {
        let number: f64 = value
            .parse()
            .map_err(|_| illegal(format!("Cannot parse quota configuration value for {key}: {value}")))?;
        all.push((key.clone(), Some(number)));
    }
    Ok(all)
}

fn scram_changes(changes: &Changes) -> Result<Vec<ScramChange>, Stop> {
    let mut all = Vec::new();
    for name in &changes.delete {
        all.extend(ScramMechanism::from_name(name).map(|mechanism| ScramChange::Delete { mechanism }));
    }
    for (name, value) in &changes.add {
        let Some(mechanism) = ScramMechanism::from_name(name) else { continue };
        // The value is a secret: it stays out of messages.
        let invalid =
            || illegal(format!("Invalid credential property {name}: expected [iterations=N,]password=…"));
        let (iterations, rest) = match value.strip_prefix("iterations=") {
            None => (ITERATIONS, value.as_str()),
            Some(rest) => {
                let (count, rest) = rest.split_once(',').ok_or_else(invalid)?;
                (count.parse().map_err(|_| invalid())?, rest)
            }
        };
        let password = rest.strip_prefix("password=").ok_or_else(invalid)?.to_owned();
        if iterations < ITERATIONS {
            return Err(illegal(format!(
                "Iterations {iterations} is less than the minimum {ITERATIONS} required for {name}"
            )));
        }
        all.push(ScramChange::Set { mechanism, iterations, password });
    }
    Ok(all)
}

/// A number as Java writes it: `1000.0`, from ten million on `1.0E7`.
fn java_double(value: f64) -> String {
    if value != 0.0 && (value.abs() >= 1e7 || value.abs() < 1e-3) {
        let text = format!("{value:E}");
        return match text.split_once('E') {
            Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
            _ => text,
        };
    }
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_java() {
        let cases = [(1000.0, "1000.0"), (12.5, "12.5"), (1e7, "1.0E7"), (12_345_678.0, "1.2345678E7")];
        for (value, text) in cases {
            assert_eq!(java_double(value), text);
        }
    }

    #[test]
    fn credentials_are_read_from_brackets() {
        let of = |value: &str| {
            let add = vec![("SCRAM-SHA-256".to_owned(), value.to_owned())];
            scram_changes(&Changes { add, delete: Vec::new() })
        };
        let Ok(changes) = of("iterations=8192,password=a,b") else { panic!("refused") };
        assert!(
            matches!(&changes[0], ScramChange::Set { iterations: 8192, password, .. } if password == "a,b")
        );
        assert!(of("password=x").is_ok());
        for wrong in ["x", "iterations=1,password=x", "iterations=a,password=x", "iterations=8192"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
