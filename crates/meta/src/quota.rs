//! Client quotas: whose they are, and what they limit.

use std::collections::BTreeMap;

use kafka_codec::messages::{ClientQuotaRecord, client_quota_record};

/// What an entity can be named by (Kafka's own words).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QuotaEntityType {
    /// `client-id`.
    ClientId,
    /// `ip`.
    Ip,
    /// `user`.
    User,
}

impl QuotaEntityType {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientId => "client-id",
            Self::Ip => "ip",
            Self::User => "user",
        }
    }

    /// What a word on the wire means.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::ClientId, Self::Ip, Self::User].into_iter().find(|kind| kind.name() == name)
    }
}

/// Whose a quota is; a part without a name is the default of its type.
pub type QuotaEntity = BTreeMap<QuotaEntityType, Option<String>>;

/// What is limited, by Kafka's names.
pub type Quotas = BTreeMap<String, f64>;

/// Bytes a second that may be produced.
pub const PRODUCER_BYTE_RATE: &str = "producer_byte_rate";
/// Bytes a second that may be fetched.
pub const CONSUMER_BYTE_RATE: &str = "consumer_byte_rate";
/// Percent of one core's time that requests may take.
pub const REQUEST_PERCENTAGE: &str = "request_percentage";
/// Partitions a second that may be created or deleted.
pub const CONTROLLER_MUTATION_RATE: &str = "controller_mutation_rate";
/// Connections a second that an address may open.
pub const CONNECTION_CREATION_RATE: &str = "connection_creation_rate";

/// The entity that a record names.
///
/// # Errors
/// A sentence for a type that Kafka does not have.
pub fn entity_of(record: &ClientQuotaRecord) -> Result<QuotaEntity, String> {
    let mut entity = QuotaEntity::new();
    for part in &record.entity {
        let Some(kind) = QuotaEntityType::from_name(&part.entity_type) else {
            return Err(format!("quota of unknown entity type {}", part.entity_type));
        };
        entity.insert(kind, part.entity_name.clone());
    }
    Ok(entity)
}

/// The record that sets a quota, or removes it.
pub fn record(entity: &QuotaEntity, key: &str, value: Option<f64>) -> ClientQuotaRecord {
    let part = |(kind, name): (&QuotaEntityType, &Option<String>)| client_quota_record::EntityData {
        entity_type: kind.name().to_owned(),
        entity_name: name.clone(),
        ..client_quota_record::EntityData::default()
    };
    ClientQuotaRecord {
        entity: entity.iter().map(part).collect(),
        key: key.to_owned(),
        value: value.unwrap_or_default(),
        remove: value.is_none(),
        ..ClientQuotaRecord::default()
    }
}

/// The quota that holds for a client, by Kafka's order of precedence: user and client id, user, client id, each by name
/// before its default. Answers also which parts of the entity make up the group that shares it.
pub fn effective(
    quotas: &BTreeMap<QuotaEntity, Quotas>,
    user: &str,
    client_id: &str,
    key: &str,
) -> Option<(f64, QuotaScope)> {
    use QuotaEntityType::{ClientId, User};
    if quotas.is_empty() {
        return None;
    }
    let users = [Some(Some(user)), Some(None), None];
    let clients = [Some(Some(client_id)), Some(None), None];
    for user in users {
        for client in clients {
            let part = |kind, name: Option<Option<&str>>| name.map(|name| (kind, name.map(str::to_owned)));
            let entity: QuotaEntity =
                [part(User, user), part(ClientId, client)].into_iter().flatten().collect();
            if entity.is_empty() {
                continue;
            }
            if let Some(value) = quotas.get(&entity).and_then(|quotas| quotas.get(key)) {
                return Some((*value, QuotaScope { user: user.is_some(), client_id: client.is_some() }));
            }
        }
    }
    None
}

/// Who shares a quota: all connections of one user, of one client id, or of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuotaScope {
    /// Each user has one of its own.
    pub user: bool,
    /// Each client id has one of its own.
    pub client_id: bool,
}

/// The rate at which an address may connect, by name before the default.
pub fn connection_rate(quotas: &BTreeMap<QuotaEntity, Quotas>, ip: &str) -> Option<f64> {
    [Some(ip.to_owned()), None].into_iter().find_map(|name| {
        let entity = QuotaEntity::from([(QuotaEntityType::Ip, name)]);
        quotas.get(&entity)?.get(CONNECTION_CREATION_RATE).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(user: Option<Option<&str>>, client: Option<Option<&str>>) -> QuotaEntity {
        let mut entity = QuotaEntity::new();
        if let Some(user) = user {
            entity.insert(QuotaEntityType::User, user.map(Into::into));
        }
        if let Some(client) = client {
            entity.insert(QuotaEntityType::ClientId, client.map(Into::into));
        }
        entity
    }

    #[test]
    fn the_most_particular_quota_holds() {
        let mut quotas = BTreeMap::new();
        let mut set = |entity: QuotaEntity, value: f64| {
            quotas.insert(entity, Quotas::from([(PRODUCER_BYTE_RATE.to_owned(), value)]));
        };
        set(entity(Some(Some("u")), Some(Some("c"))), 1.0);
        set(entity(Some(Some("u")), Some(None)), 2.0);
        set(entity(Some(Some("u")), None), 3.0);
        set(entity(Some(None), Some(Some("c"))), 4.0);
        set(entity(Some(None), None), 6.0);
        set(entity(None, Some(Some("c"))), 7.0);
        let of = |user: &str, client: &str| effective(&quotas, user, client, PRODUCER_BYTE_RATE).unwrap();
        assert_eq!(of("u", "c"), (1.0, QuotaScope { user: true, client_id: true }));
        assert_eq!(of("u", "d"), (2.0, QuotaScope { user: true, client_id: true }));
        assert_eq!(of("v", "c").0, 4.0);
        assert_eq!(of("v", "d"), (6.0, QuotaScope { user: true, client_id: false }));
        assert!(effective(&quotas, "u", "c", CONSUMER_BYTE_RATE).is_none());
    }
}
