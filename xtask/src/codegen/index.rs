//! Writes the modules over many schemas: API keys, unions of record types, the list of modules.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::emit::{GENERATED, snake};
use super::schema::{Kind, Schema};
use super::{Sourced, is_message};

pub fn api_keys(schemas: &[Sourced]) -> Result<String> {
    let mut requests: Vec<(i16, &Schema)> = Vec::new();
    for sourced in schemas.iter().filter(|s| s.schema.kind == Kind::Request) {
        requests.push((sourced.schema.api_key.context("request without key")?, &sourced.schema));
    }
    requests.sort_by_key(|(key, _)| *key);
    let mut out = format!("{GENERATED}use crate::api_key::ApiFacts;\n\n");
    out.push_str(
        "/// API of a request and its response.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        #[non_exhaustive]
        pub enum ApiKey {\n",
    );
    let stem = |schema: &Schema| schema.name.trim_end_matches("Request").to_owned();
    for (key, schema) in &requests {
        let removed = if schema.valid_versions.is_empty() { " Removed in Kafka 4." } else { "" };
        writeln!(out, "/// API {key}.{removed}\n{} = {key},", stem(schema))?;
    }
    out.push_str("}\n\nimpl ApiKey {\n/// All, ascending by number.\npub const ALL: &'static [Self] = &[\n");
    for (_, schema) in &requests {
        writeln!(out, "Self::{},", stem(schema))?;
    }
    out.push_str("];\n\npub(crate) const fn facts(self) -> ApiFacts {\nmatch self {\n");
    for (_, schema) in &requests {
        let versions = schema.valid_versions;
        let flexible = schema.flexible_versions.and(versions);
        writeln!(
            out,
            "Self::{stem} => ApiFacts {{ name: \"{stem}\", versions: {}, latest_unstable: {}, flexible_from: {}, broker: {} }},",
            if versions.is_empty() {
                "None".into()
            } else {
                format!("Some(({}, {}))", versions.first, versions.last)
            },
            schema.latest_version_unstable,
            if flexible.is_empty() { "None".into() } else { format!("Some({})", flexible.first) },
            schema.listeners.iter().any(|l| l == "broker"),
            stem = stem(schema),
        )?;
    }
    out.push_str("}\n}\n}\n");
    Ok(out)
}

/// Schemas of one kind, ascending by key.
fn of_kind<'a>(schemas: &'a [Sourced], artifact: &str, kind: Kind) -> Result<Vec<(i16, &'a str)>> {
    let mut found = Vec::new();
    for sourced in schemas.iter().filter(|s| s.artifact == artifact && is_message(s, kind)) {
        let key = sourced.schema.api_key.with_context(|| format!("{} has no apiKey", sourced.schema.name))?;
        found.push((key, sourced.schema.name.as_str()));
    }
    found.sort_unstable();
    Ok(found)
}

/// An enum with one variant per message, and `match`es over it.
fn union(out: &mut String, name: &str, about: &str, suffix: &str, members: &[(i16, &str)]) -> Result<()> {
    let variant = |message: &str| message.strip_suffix(suffix).unwrap_or(message).to_owned();
    writeln!(out, "/// {about}\n#[derive(Clone, Debug, PartialEq)]\n#[non_exhaustive]\npub enum {name} {{")?;
    for (key, message) in members {
        writeln!(out, "/// Type {key}.\n{}(super::{message}),", variant(message))?;
    }
    writeln!(
        out,
        "}}\n\nimpl {name} {{
        /// Number of the record's type.
        pub fn record_type(&self) -> i16 {{\nmatch self {{"
    )?;
    for (key, message) in members {
        writeln!(out, "Self::{}(_) => {key},", variant(message))?;
    }
    out.push_str("}\n}\n\n/// Name of the message.\npub fn name(&self) -> &'static str {\nmatch self {\n");
    for (_, message) in members {
        writeln!(out, "Self::{}(_) => super::{message}::NAME,", variant(message))?;
    }
    out.push_str(
        "}\n}\n\n/// Appends the message as Kafka's tools show it, with the fields of `version` (keys: 0).
        pub fn write_json(&self, out: &mut String, version: i16) {
        use crate::json::JsonMessage as _;\nmatch self {\n",
    );
    for (_, message) in members {
        writeln!(out, "Self::{}(m) => m.write_json(out, version),", variant(message))?;
    }
    out.push_str("}\n}\n\n/// First and last version of the record's type.\npub fn versions(&self) -> RangeInclusive<i16> {\nmatch self {\n");
    for (_, message) in members {
        writeln!(out, "Self::{}(_) => super::{message}::VERSIONS,", variant(message))?;
    }
    out.push_str(
        "}\n}\n\nfn read(r: &mut Reader<'_>, record_type: i16, version: i16) -> Result<Self, DecodeError> {
        match record_type {\n",
    );
    for (key, message) in members {
        writeln!(out, "{key} => super::{message}::decode(r, version).map(Self::{}),", variant(message))?;
    }
    writeln!(
        out,
        "_ => Err(DecodeError::UnknownKey {{ what: \"{name} type\", key: i32::from(record_type) }}),
        }}\n}}\n
        fn write(&self, w: &mut Vec<u8>, version: i16) -> Result<(), EncodeError> {{\nmatch self {{"
    )?;
    for (_, message) in members {
        writeln!(out, "Self::{}(m) => m.encode(w, version),", variant(message))?;
    }
    out.push_str("}\n}\n}\n\n");
    for (_, message) in members {
        writeln!(
            out,
            "impl From<super::{message}> for {name} {{
                fn from(m: super::{message}) -> Self {{ Self::{}(m) }}
            }}\n",
            variant(message)
        )?;
    }
    Ok(())
}

pub fn metadata_records(schemas: &[Sourced]) -> Result<String> {
    let mut out =
        format!("{GENERATED}//! The records of `__cluster_metadata`.\n\nuse super::prelude::*;\n\n");
    let records = of_kind(schemas, "kafka-metadata", Kind::Metadata)?;
    union(&mut out, "MetadataRecord", "Any metadata record.", "Record", &records)?;
    out.push_str(
        "/// Version of the frame around each record (`MetadataRecordSerde`).
        const FRAME_VERSION: u32 = 1;

        impl MetadataRecord {
            /// Reads the value of a record in the metadata log: frame version, type and version as unsigned varints,
            /// then the fields. Also answers the version the record was written in.
            ///
            /// # Errors
            /// [`DecodeError`]; other frame versions are [`DecodeError::UnsupportedVersion`].
            pub fn decode_value(r: &mut Reader<'_>) -> Result<(Self, i16), DecodeError> {
                let frame = small(r.uvarint()?, \"metadata frame version\")?;
                if frame as u32 != FRAME_VERSION {
                    return Err(DecodeError::UnsupportedVersion { message: \"metadata frame\", version: frame });
                }
                let record_type = small(r.uvarint()?, \"MetadataRecord type\")?;
                let version = small(r.uvarint()?, \"metadata record version\")?;
                let record = Self::read(r, record_type, version)?;
                r.finish()?;
                Ok((record, version))
            }

            /// Appends the value of a record in the metadata log.
            ///
            /// # Errors
            /// Those of the record's own encoding.
            pub fn encode_value(&self, w: &mut Vec<u8>, version: i16) -> Result<(), EncodeError> {
                wire::put_uvarint(w, FRAME_VERSION);
                wire::put_uvarint(w, self.record_type() as u32);
                wire::put_uvarint(w, version as u32);
                self.write(w, version)
            }
        }

        fn small(value: u32, what: &'static str) -> Result<i16, DecodeError> {
            i16::try_from(value).map_err(|_| DecodeError::UnknownKey { what, key: value as i32 })
        }\n",
    );
    Ok(out)
}

pub fn coordinator_records(schemas: &[Sourced], artifact: &str, prefix: &str) -> Result<String> {
    let topic = match prefix {
        "Group" => "__consumer_offsets",
        "Share" => "__share_group_state",
        _ => "__transaction_state",
    };
    let mut out = format!("{GENERATED}//! The records of `{topic}`.\n\nuse super::prelude::*;\n\n");
    let keys = of_kind(schemas, artifact, Kind::CoordinatorKey)?;
    let values = of_kind(schemas, artifact, Kind::CoordinatorValue)?;
    let key = format!("{prefix}RecordKey");
    let value = format!("{prefix}RecordValue");
    union(&mut out, &key, &format!("Any key of `{topic}`."), "Key", &keys)?;
    union(&mut out, &value, &format!("Any value of `{topic}`."), "Value", &values)?;
    writeln!(
        out,
        "impl {key} {{
            /// Reads a record's key: its type as `int16`, then the fields.
            ///
            /// # Errors
            /// [`DecodeError`]; [`DecodeError::UnknownKey`] for types of a newer Kafka.
            pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {{
                let record_type = r.i16()?;
                // Keys have the one version 0; what stands where a version would is the type.
                let key = Self::read(r, record_type, 0)?;
                r.finish()?;
                Ok(key)
            }}

            /// Appends the record's key.
            ///
            /// # Errors
            /// Those of the key's own encoding.
            pub fn encode(&self, w: &mut Vec<u8>) -> Result<(), EncodeError> {{
                wire::put_i16(w, self.record_type());
                self.write(w, 0)
            }}
        }}

        impl {value} {{
            /// Reads the value that belongs to a key of `record_type`: its version as `int16`, then the fields.
            /// Also answers the version. (A null value, a tombstone, has no bytes to give to this.)
            ///
            /// # Errors
            /// [`DecodeError`].
            pub fn decode(r: &mut Reader<'_>, record_type: i16) -> Result<(Self, i16), DecodeError> {{
                let version = r.i16()?;
                let value = Self::read(r, record_type, version)?;
                r.finish()?;
                Ok((value, version))
            }}

            /// Appends the record's value.
            ///
            /// # Errors
            /// Those of the value's own encoding.
            pub fn encode(&self, w: &mut Vec<u8>, version: i16) -> Result<(), EncodeError> {{
                wire::put_i16(w, version);
                self.write(w, version)
            }}
        }}"
    )?;
    Ok(out)
}

pub fn module_list(schemas: &[Sourced]) -> Result<String> {
    let mut names: Vec<&str> = schemas
        .iter()
        .filter(|s| !s.schema.valid_versions.is_empty())
        .map(|s| s.schema.name.as_str())
        .collect();
    names.sort_unstable();
    let mut out = format!(
        "{GENERATED}//! Every message of Kafka's schemas: one module each, with the top-level types re-exported here.
        //!
        //! Field names are Kafka's in snake case, `Default` gives the schema's defaults, nullable fields are `Option`s.
        //! A field that a version does not have is dropped on encoding if the schema calls it ignorable and refused
        //! ([`EncodeError`](crate::EncodeError)) if it is not and does not hold its default.

        #![allow(clippy::field_reassign_with_default, reason = \"decoders fill in what the version has\")]
        #![allow(clippy::manual_range_contains, reason = \"version conditions are written as the schemas say them\")]
        #![allow(clippy::large_enum_variant, reason = \"records are moved into the unions once\")]
        #![allow(clippy::doc_lazy_continuation, reason = \"the schemas' texts are not markdown\")]

        mod api_key;
        pub mod group_records;
        pub mod metadata;
        pub mod share_records;
        pub mod transaction_records;
        mod prelude {{
            pub(super) use std::ops::RangeInclusive;
            pub(super) use bytes::Bytes;
            pub(super) use crate::message::{{decodable, encodable, non_null, unsupported}};
            pub(super) use crate::json;
            pub(super) use crate::wire::{{self, Reader, TagWriter, TaggedFields}};
            pub(super) use crate::{{ApiKey, DecodeError, EncodeError, Message, Request, Uuid}};
        }}\n"
    );
    for name in &names {
        writeln!(out, "pub mod {};", snake(name))?;
    }
    out.push_str("\npub use api_key::ApiKey;\n");
    for name in &names {
        writeln!(out, "pub use {}::{name};", snake(name))?;
    }
    out.push_str(
        "\n/// Something to do with every message type; see [`visit_all`].
        pub trait Visitor {
            /// Called once per message type.
            fn visit<M: crate::Message>(&mut self);
        }

        /// Calls `visitor` with every message type, in the order of their names. Compiled only where it is used (tests).
        pub fn visit_all(visitor: &mut impl Visitor) {\n",
    );
    for name in &names {
        writeln!(out, "visitor.visit::<{name}>();")?;
    }
    out.push_str("}\n");
    Ok(out)
}
