//! `docs/configuration.md`, written from the tables.

use std::fmt::Write as _;

use super::definition::{ConfigDef, Update, Validator};
use super::{broker_configs, topic_configs};

const HEAD: &str = "\
# Configuration

Written by `cargo xtask codegen` from `crates/meta/src/config`: edit the tables there.

Every configuration that Apache Kafka 4.3 documents, and ours (`write.caching`, `log.write.caching`, `journal.bytes`,
`max.partitions`, `queued.max.requests.per.connection`). Names, types, defaults, limits and when a value may change are
Kafka's; where a default differs it is because one broker is enough here. `used` says whether this broker acts on it. What
it does not act on is never stored in silence: in `server.properties` such a key brings a warning at the start, in a
change while running a warning in the broker's log, and where ignoring it would mean less safety or reach than asked for
it is refused.
";

/// The page, whole.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## Topics\n");
    page.push_str("May change while running, and take effect with the next append or housekeeping.\n\n");
    page.push_str(
        "| name | type | default | values | default from | used | meaning |\n|---|---|---|---|---|---|---|\n",
    );
    for def in topic_configs() {
        let synonym = def.synonym.map_or(String::new(), |name| format!("`{name}`"));
        line(&mut page, def, &synonym);
    }
    page.push_str("\n## Broker\n");
    page.push_str(
        "`changes`: at the start only, while running for one broker, or while running for one or all.\n\n",
    );
    page.push_str(
        "| name | type | default | values | changes | used | meaning |\n|---|---|---|---|---|---|---|\n",
    );
    for def in broker_configs() {
        let update = match def.update {
            Update::ReadOnly => "at start",
            Update::PerBroker => "per broker",
            Update::ClusterWide => "cluster-wide",
        };
        line(&mut page, def, update);
    }
    page
}

fn line(page: &mut String, def: &ConfigDef, fifth: &str) {
    let kind = format!("{:?}", def.kind).to_lowercase();
    let default = match def.default {
        None => "null".to_owned(),
        Some("") => "empty".to_owned(),
        Some(default) => format!("`{default}`"),
    };
    let values = match def.validator {
        Validator::Any => String::new(),
        Validator::AtLeast(min) => format!("≥ {min}"),
        Validator::Range(min, max) => format!("{min} to {max}"),
        Validator::AutoOffsetReset => "earliest, latest, by_duration:PnDTnHnMn.nS".to_owned(),
        Validator::OneOf(words) | Validator::OneOfAnyCase(words) => words.join(", "),
        Validator::NonEmpty => "not empty".to_owned(),
    };
    let used = if def.honoured { "yes" } else { "no" };
    let _ = writeln!(
        page,
        "| `{}` | {kind} | {default} | {values} | {fifth} | {used} | {} |",
        def.name,
        def.doc.replace('|', "\\|")
    );
}
