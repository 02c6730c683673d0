//! JSON whose members keep the order they were written in.

use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Bool(bool),
    /// A list.
    List(Vec<Json>),
    /// Members in their order.
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    /// On one line.
    pub(super) fn compact(&self) -> String {
        // Only writing to memory can fail here, and that does not.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Over several lines, with tabs.
    pub(super) fn pretty(&self) -> String {
        let mut out = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
        let written = self.serialize(&mut serializer);
        written.ok().and_then(|()| String::from_utf8(out).ok()).unwrap_or_default()
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Number(n) => to.serialize_i64(*n),
            Self::Bool(b) => to.serialize_bool(*b),
            Self::List(items) => to.collect_seq(items),
            Self::Object(members) => {
                let mut map = to.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
