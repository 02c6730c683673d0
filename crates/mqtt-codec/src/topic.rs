//! Topic names and topic filters (MQTT 5 section 4.7, 4.8.2; MQTT 3.1.1 section 4.7).

use std::fmt;

/// What is wrong with a topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// Names and filters have at least one character.
    #[error("is empty")]
    Empty,
    /// Longer than the 65,535 bytes a string can have.
    #[error("is over 65535 bytes")]
    TooLong,
    /// Holds U+0000.
    #[error("holds the character U+0000")]
    Null,
    /// A topic name holds `+` or `#`.
    #[error("holds a wildcard")]
    Wildcard,
    /// `#` is not the whole last level, or `+` not a whole level.
    #[error("has a wildcard that is not a whole level, or levels after '#'")]
    WildcardPlace,
    /// `$share/` is not followed by a share name without wildcards, a `/` and a filter.
    #[error("is not $share/{{name}}/{{filter}}")]
    Share,
}

/// Checks a topic name: what PUBLISH, a will or a response topic may carry.
///
/// # Errors
/// [`TopicError`] says which rule is broken.
pub fn validate_name(name: &str) -> Result<(), TopicError> {
    check_text(name)?;
    if name.bytes().any(|b| b == b'+' || b == b'#') {
        return Err(TopicError::Wildcard);
    }
    Ok(())
}

/// Checks a topic filter: what SUBSCRIBE and UNSUBSCRIBE may carry, shared subscriptions included.
///
/// # Errors
/// [`TopicError`] says which rule is broken.
pub fn validate_filter(filter: &str) -> Result<(), TopicError> {
    check_text(filter)?;
    let plain =
        if is_shared(filter) { SharedFilter::parse(filter).ok_or(TopicError::Share)?.filter } else { filter };
    check_wildcards(plain)
}

/// Checks a topic filter of MQTT 3, where `$share` has no meaning.
///
/// # Errors
/// [`TopicError`] says which rule is broken.
pub fn validate_unshared_filter(filter: &str) -> Result<(), TopicError> {
    check_text(filter)?;
    check_wildcards(filter)
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > usize::from(u16::MAX) {
        return Err(TopicError::TooLong);
    }
    if text.bytes().any(|b| b == 0) {
        return Err(TopicError::Null);
    }
    Ok(())
}

fn check_wildcards(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let whole = match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            _ => !level.bytes().any(|b| b == b'+' || b == b'#'),
        };
        if !whole {
            return Err(TopicError::WildcardPlace);
        }
    }
    Ok(())
}

/// Whether the filter asks for a shared subscription (MQTT 5): its first level is `$share`.
pub fn is_shared(filter: &str) -> bool {
    filter == "$share" || filter.starts_with("$share/")
}

/// The two parts of `$share/{group}/{filter}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedFilter<'a> {
    /// The share name.
    pub group: &'a str,
    /// The filter the group shares.
    pub filter: &'a str,
}

impl<'a> SharedFilter<'a> {
    /// Takes a shared subscription's filter apart; `None` when `filter` is not one, or a bad one.
    pub fn parse(filter: &'a str) -> Option<Self> {
        let (group, filter) = filter.strip_prefix("$share/")?.split_once('/')?;
        let bad_group = group.is_empty() || group.bytes().any(|b| b == b'+' || b == b'#');
        if bad_group || filter.is_empty() {
            return None;
        }
        Some(Self { group, filter })
    }
}

impl fmt::Display for SharedFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$share/{}/{}", self.group, self.filter)
    }
}

/// Whether a topic name matches a topic filter; both must be valid, and the filter not a shared one (use
/// [`SharedFilter::filter`]).
///
/// A filter that begins with a wildcard does not match a name that begins with `$`.
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut filter_levels = filter.split('/');
    let mut name_levels = name.split('/');
    loop {
        match (filter_levels.next(), name_levels.next()) {
            // "a/#" also matches its parent "a".
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(f), Some(n)) if f == n => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}
