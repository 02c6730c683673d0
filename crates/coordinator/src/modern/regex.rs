//! Subscriptions by regular expression.

use std::collections::BTreeSet;

use kafka_codec::ErrorCode;
use regex::Regex;

use super::Refusal;
use super::change::ResolvedRegex;
use super::topics::TopicCatalog;

/// Longest expression that is looked at.
const PATTERN_BYTES_MAX: usize = 8 << 10;

/// The whole name must match, as with RE2/J's `matches`.
pub(super) fn compile(pattern: &str) -> Result<Regex, Refusal> {
    let invalid = |why: String| {
        let message = format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {why}.");
        Refusal::new(ErrorCode::InvalidRegularExpression, message)
    };
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(invalid(format!("it is longer than {PATTERN_BYTES_MAX} bytes")));
    }
    // On its own first: `a)(b` must not become valid inside the anchors' group.
    Regex::new(pattern).map_err(|error| invalid(short(&error)))?;
    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| invalid(short(&error)))
}

/// The last line of the parser's message says what is wrong; the lines before point at it.
fn short(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// The topics that match now.
pub(super) fn resolve(
    pattern: &str,
    catalog: &dyn TopicCatalog,
    now_ms: i64,
) -> Result<ResolvedRegex, Refusal> {
    let regex = compile(pattern)?;
    let mut topics = BTreeSet::new();
    catalog.for_each_name(&mut |name| {
        if regex.is_match(name) {
            topics.insert(name.to_owned());
        }
    });
    Ok(ResolvedRegex { topics, version: catalog.version(), at_ms: now_ms })
}
