//! Reading JSON as the plugin does: names in any case, what is of another type is wrong.

use serde_json::Value;

/// An object that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command<'a>(pub(super) &'a Value);

/// Something that had to be there, or to be something else.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong;

impl<'a> Command<'a> {
    /// A member, whatever it is.
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        let members = self.0.as_object()?;
        members.get(name).or_else(|| {
            members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })
    }

    /// A text that must be there.
    pub(super) fn text(self, name: &str) -> Result<&'a str, Wrong> {
        self.get(name).and_then(Value::as_str).ok_or(Wrong)
    }

    /// A text that may be missing.
    pub(super) fn text_or_none(self, name: &str) -> Result<Option<&'a str>, Wrong> {
        self.get(name).map(|v| v.as_str().ok_or(Wrong)).transpose()
    }

    /// A whole number; `default` where there is none.
    pub(super) fn number(self, name: &str, default: i32) -> i32 {
        let Some(number) = self.get(name).and_then(Value::as_f64) else { return default };
        // Out of range ends at the range, as with the plugin.
        number as i32
    }

    /// A truth; `default` where there is none.
    pub(super) fn truth(self, name: &str, default: bool) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(default)
    }

    /// The objects of a list; `None` where there is no list.
    pub(super) fn objects(self, name: &str) -> Option<impl Iterator<Item = Command<'a>>> {
        let list = self.get(name)?.as_array()?;
        Some(list.iter().filter(|v| v.is_object()).map(Command))
    }
}

/// Whether MQTT allows a text everywhere: no control characters, none that Unicode has no meaning for.
pub(super) fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| {
        let code = u32::from(c);
        c.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    })
}
