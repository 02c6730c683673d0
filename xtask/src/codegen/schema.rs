//! Kafka's message schemas as they stand in its jars: JSON with `//` comment lines.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Versions from `first` to `last`, both included; empty when `first > last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub first: i16,
    pub last: i16,
}

impl Versions {
    pub const NONE: Self = Self { first: 0, last: -1 };

    /// Reads `none`, `3`, `1-4` or `2+`.
    fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let number = |s: &str| s.parse::<i16>().with_context(|| format!("bad version range {text:?}"));
        Ok(match text {
            "none" => Self::NONE,
            _ => match (text.strip_suffix('+'), text.split_once('-')) {
                (Some(first), _) => Self { first: number(first)?, last: i16::MAX },
                (None, Some((first, last))) => Self { first: number(first)?, last: number(last)? },
                (None, None) => Self { first: number(text)?, last: number(text)? },
            },
        })
    }

    pub fn is_empty(self) -> bool {
        self.first > self.last
    }

    pub fn and(self, other: Self) -> Self {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        if both.is_empty() { Self::NONE } else { both }
    }

    /// Smallest range that covers both.
    pub fn hull(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Self { first: self.first.min(other.first), last: self.last.max(other.last) },
        }
    }

    pub fn covers(self, other: Self) -> bool {
        self.and(other) == other
    }

    /// These versions without those of `tail`, which must be a suffix of them.
    fn before(self, tail: Self) -> Self {
        if tail.is_empty() {
            return self;
        }
        self.and(Self { first: 0, last: tail.first - 1 })
    }
}

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// One schema file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schema {
    pub api_key: Option<i16>,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub name: String,
    #[serde(default)]
    pub listeners: Vec<String>,
    pub valid_versions: Versions,
    #[serde(default = "no_versions")]
    pub flexible_versions: Versions,
    #[serde(default)]
    pub latest_version_unstable: bool,
    #[serde(default, rename = "deprecatedVersions")]
    _deprecated_versions: serde::de::IgnoredAny,
    #[serde(default)]
    pub fields: Vec<Field>,
    #[serde(default)]
    pub common_structs: Vec<Struct>,
}

/// What a schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Request,
    Response,
    Header,
    Data,
    Metadata,
    CoordinatorKey,
    CoordinatorValue,
}

/// A struct that several fields of a schema use.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Struct {
    pub name: String,
    pub fields: Vec<Field>,
    #[serde(default)]
    pub about: String,
}

/// One field.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    type_text: String,
    #[serde(rename = "versions")]
    versions_given: Option<Versions>,
    #[serde(default = "no_versions")]
    pub nullable_versions: Versions,
    #[serde(default = "no_versions")]
    pub tagged_versions: Versions,
    pub flexible_versions: Option<Versions>,
    pub tag: Option<u32>,
    #[serde(default)]
    pub ignorable: bool,
    #[serde(default)]
    default: serde_json::Value,
    #[serde(default)]
    pub about: String,
    #[serde(default)]
    pub fields: Vec<Field>,
    // What the Java generator needs and we do not.
    #[serde(default, rename = "entityType")]
    _entity_type: serde::de::IgnoredAny,
    #[serde(default, rename = "mapKey")]
    _map_key: serde::de::IgnoredAny,
    #[serde(default, rename = "zeroCopy")]
    _zero_copy: serde::de::IgnoredAny,
}

/// Type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "uint32" => Self::Uint32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            _ => match text.strip_prefix("[]") {
                Some(element) => Self::Array(Box::new(Self::parse(element)?)),
                None if text.starts_with(char::is_uppercase) => Self::Struct(text.to_owned()),
                None => bail!("unknown type {text:?}"),
            },
        })
    }

    /// Name of the struct that values of this type are or hold.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

impl Field {
    pub fn ty(&self) -> Result<Type> {
        Type::parse(&self.type_text)
    }

    /// Versions that have the field, tagged or not. A few fields name their tagged versions only.
    pub fn versions(&self) -> Versions {
        self.versions_given.unwrap_or(self.tagged_versions)
    }

    /// Versions in which the field stands among the others, not in the tagged section.
    pub fn plain_versions(&self) -> Versions {
        self.versions().before(self.tagged_versions)
    }

    /// The default as text; `None` when the schema gives none (JSON `null` counts as none, as in Kafka's
    /// generator, which reads it as an absent string; only the text "null" means null).
    pub fn default_text(&self) -> Option<String> {
        match &self.default {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

fn no_versions() -> Versions {
    Versions::NONE
}

/// Reads one schema file.
pub fn read(path: &Path) -> Result<Schema> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let json: String =
        text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    serde_json::from_str(&json).with_context(|| format!("parsing {}", path.display()))
}
