//! An administrator whose changes ride over kills: topics and their configurations, the broker's configuration,
//! access control entries, credentials, quotas. What was acknowledged is there, what was removed stays away.

use std::sync::Arc;
use std::time::Duration;

use client::admin::{
    AclBinding, AclBindingFilter, AclOperation, AclPatternType, AclPermissionType, AclResourceType,
    AlterConfigOp, ConfigResource, ConfigSource, CreateTopicsOptions, NewTopic, QuotaMatch, ScramChange,
};
use client::security::scram::ScramMechanism;
use client::{Admin, AdminConfig, Error};
use kafka_codec::ErrorCode;
use testkit::history::{Op, Outcome, Process, Value};

use super::Drivers;

/// What is set and removed.
#[derive(Clone, Copy, Debug)]
enum Setting {
    /// A topic, made and deleted; the value is its `retention.ms`.
    Topic,
    /// `max.message.bytes` of a topic that stays.
    TopicConfig,
    /// `message.max.bytes` of all brokers.
    BrokerConfig,
    /// An entry about a topic; the value is the user.
    Acl,
    /// A credential; the value is its iterations.
    Scram,
    /// A user's produce quota.
    Quota,
}

const SETTINGS: [Setting; 6] = [
    Setting::Topic,
    Setting::TopicConfig,
    Setting::BrokerConfig,
    Setting::Acl,
    Setting::Scram,
    Setting::Quota,
];
/// The topic of [`Setting::TopicConfig`].
pub const CONFIGURED: &str = "configured";
const MADE: &str = "made";
/// Iterations of a SCRAM credential lie between 4096 and 16384.
const SCRAM_VALUES: Value = 12_000;

/// Changes and looks until told to stop, then looks once more.
pub async fn run(drivers: Drivers, process: Process) {
    let mut config = AdminConfig::new(&drivers.kafka.to_string()).expect("config");
    config.client.reconnect_backoff = Duration::from_millis(20);
    config.client.reconnect_backoff_max = Duration::from_millis(100);
    config.client.request_timeout = Duration::from_secs(5);
    let admin = Admin::new(config).expect("admin");
    let mut number = 0;
    while !drivers.stopping() {
        number += 1;
        let value = (!(number + process as Value).is_multiple_of(4)).then_some(number);
        for setting in SETTINGS {
            // A topic is deleted before it is made anew.
            let first = matches!(setting, Setting::Topic).then_some(None);
            for value in first.into_iter().chain([value]) {
                let op = drivers.recorder.begin(process, Op::Set { name: name(setting), value });
                match set(&admin, setting, value).await {
                    Ok(()) => drivers.recorder.sent(op, None),
                    Err(e) => println!("{setting:?} to {value:?}: {e}"),
                }
            }
            look(&drivers, &admin, process, false).await;
        }
    }
    look(&drivers, &admin, process, true).await;
    admin.close().await;
}

fn name(setting: Setting) -> Arc<str> {
    format!("{setting:?}").into()
}

async fn look(drivers: &Drivers, admin: &Admin, process: Process, must: bool) {
    for setting in SETTINGS {
        let op = drivers.recorder.begin(process, Op::Look);
        match find(admin, setting).await {
            Ok(found) => {
                let found = found.into_iter().map(|value| (name(setting), value)).collect();
                drivers.recorder.end(op, Outcome::Found(found));
            }
            Err(e) => assert!(!must, "{setting:?}: {e}"),
        }
    }
}

/// The only answer of a call that asked for one thing.
fn only<K, T>(each: Vec<(K, Result<T, Error>)>) -> Result<T, Error> {
    each.into_iter().next().expect("an answer").1
}

/// A request that was carried out before the kill finds its work done when it is sent again.
fn or_done(outcome: Result<(), Error>, done: ErrorCode) -> Result<(), Error> {
    outcome.or_else(|e| if e.code() == Some(done) { Ok(()) } else { Err(e) })
}

fn quota() -> Vec<(String, Option<String>)> {
    vec![("user".to_string(), Some("limited".to_string()))]
}

fn resource(setting: Setting) -> ConfigResource {
    match setting {
        Setting::BrokerConfig => ConfigResource::broker(None),
        Setting::TopicConfig => ConfigResource::topic(CONFIGURED),
        _ => ConfigResource::topic(MADE),
    }
}

fn config_name(setting: Setting) -> &'static str {
    match setting {
        Setting::BrokerConfig => "message.max.bytes",
        Setting::TopicConfig => "max.message.bytes",
        _ => "retention.ms",
    }
}

const SMALLEST: Value = 1_048_588;

async fn set(admin: &Admin, setting: Setting, value: Option<Value>) -> Result<(), Error> {
    match setting {
        Setting::Topic => {
            let Some(value) = value else {
                let gone = only(admin.delete_topics(&[MADE.to_string()]).await?);
                return or_done(gone, ErrorCode::UnknownTopicOrPartition);
            };
            let mut topic = NewTopic::new(MADE, Some(2), Some(1));
            topic.configs = vec![(config_name(setting).to_string(), (SMALLEST + value).to_string())];
            let made = only(admin.create_topics(&[topic], CreateTopicsOptions::default()).await?);
            or_done(made.map(|_| ()), ErrorCode::TopicAlreadyExists)
        }
        Setting::TopicConfig | Setting::BrokerConfig => {
            let name = config_name(setting).to_string();
            let change = match value {
                Some(value) => AlterConfigOp::Set(name, (SMALLEST + value).to_string()),
                None => AlterConfigOp::Delete(name),
            };
            only(admin.incremental_alter_configs(&[(resource(setting), vec![change])], false).await?)
        }
        Setting::Acl => {
            if let Some(value) = value {
                let created = admin.create_acls(&[entry(value)]).await?;
                created.into_iter().collect::<Result<Vec<()>, Error>>()?;
            }
            // Everybody but the new one goes.
            let others = admin.describe_acls(&entries()).await?.into_iter();
            let others = others.filter(|found| value.is_none_or(|value| *found != entry(value)));
            let others: Vec<AclBindingFilter> = others.map(exactly).collect();
            for removed in admin.delete_acls(&others).await? {
                removed?;
            }
            Ok(())
        }
        Setting::Scram => {
            let mechanism = ScramMechanism::Sha256;
            let change = match value {
                Some(value) => {
                    let iterations = u32::try_from(4096 + value % SCRAM_VALUES).expect("small");
                    ScramChange::Set { mechanism, iterations, password: "secret".into() }
                }
                None => ScramChange::Delete { mechanism },
            };
            let changed = admin.alter_user_scram_credentials("someone", &[change]).await;
            if value.is_some() { changed } else { or_done(changed, ErrorCode::ResourceNotFound) }
        }
        Setting::Quota => {
            let change = [("producer_byte_rate".to_string(), value.map(|value| value as f64))];
            admin.alter_client_quotas(&quota(), &change, false).await
        }
    }
}

/// What is there; of access control entries, each.
async fn find(admin: &Admin, setting: Setting) -> Result<Vec<Option<Value>>, Error> {
    let found = match setting {
        Setting::Topic | Setting::TopicConfig | Setting::BrokerConfig => {
            let described = only(admin.describe_configs(&[resource(setting)], false).await?);
            let entries = match described {
                Err(e) if e.code() == Some(ErrorCode::UnknownTopicOrPartition) => return Ok(vec![None]),
                other => other?,
            };
            // (A topic without a value of its own shows the broker's.)
            let own = match setting {
                Setting::BrokerConfig => ConfigSource::DynamicDefaultBroker,
                _ => ConfigSource::DynamicTopic,
            };
            let entry = entries.into_iter().find(|e| e.name == config_name(setting) && e.source == own);
            let value = entry.and_then(|e| e.value).map(|v| v.parse::<Value>().expect("a number") - SMALLEST);
            return Ok(vec![value]);
        }
        Setting::Acl => {
            let users = admin.describe_acls(&entries()).await?.into_iter().map(|found| found.principal);
            users
                .map(|user| user.trim_start_matches("User:").parse().expect("a number"))
                .collect::<Vec<Value>>()
        }
        Setting::Scram => {
            let told = only(admin.describe_user_scram_credentials(&["someone".to_string()]).await?);
            match told {
                Err(e) if e.code() == Some(ErrorCode::ResourceNotFound) => Vec::new(),
                other => other?.iter().map(|(_, iterations)| *iterations as Value - 4096).collect(),
            }
        }
        Setting::Quota => {
            let filter = [("user", QuotaMatch::Name("limited".to_string()))];
            let told = admin.describe_client_quotas(&filter, true).await?;
            told.iter().flat_map(|quotas| &quotas.values).map(|(_, value)| *value as Value).collect()
        }
    };
    Ok(if found.is_empty() { vec![None] } else { found.into_iter().map(Some).collect() })
}

fn entry(value: Value) -> AclBinding {
    AclBinding {
        resource_type: AclResourceType::Topic,
        resource_name: "guarded".to_string(),
        pattern_type: AclPatternType::Literal,
        principal: format!("User:{value}"),
        host: "*".to_string(),
        operation: AclOperation::Read,
        permission: AclPermissionType::Allow,
    }
}

fn entries() -> AclBindingFilter {
    AclBindingFilter { resource_name: Some("guarded".to_string()), ..AclBindingFilter::ANY }
}

fn exactly(entry: AclBinding) -> AclBindingFilter {
    AclBindingFilter {
        resource_type: entry.resource_type,
        resource_name: Some(entry.resource_name),
        pattern_type: entry.pattern_type,
        principal: Some(entry.principal),
        host: Some(entry.host),
        operation: entry.operation,
        permission: entry.permission,
    }
}
