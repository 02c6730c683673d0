//! The CSV files of `--export` and `--from-file`: `topic,partition,offset`, with a group in front when several
//! groups are meant.

use std::collections::BTreeMap;

use client::TopicPartition;

use super::super::run::Failure;
use super::offsets::Offsets;

/// Longest text that is written without quotes, in characters.
const UNQUOTED_MAX: usize = 24;

/// One line; `group` only when several groups are meant.
pub fn line(group: Option<&str>, partition: &TopicPartition, offset: i64) -> String {
    let group = group.map(|group| quote(group) + ",").unwrap_or_default();
    format!("{group}{},{},{offset}\n", quote(&partition.topic), partition.partition)
}

fn quote(text: &str) -> String {
    // Every character that CSV knows sorts before the minus sign.
    if text.chars().count() > UNQUOTED_MAX || text.chars().any(|c| c < '-') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Reads a file's text; lines without a group are for `only_group`, if one group is meant.
///
/// # Errors
/// A line that is not of either form.
pub fn parse(text: &str, only_group: Option<&str>) -> Result<BTreeMap<String, Offsets>, Failure> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let without_group = lines.first().is_some_and(|line| record_without_group(&fields(line)).is_some());
    let mut plan: BTreeMap<String, Offsets> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        let fields = fields(line);
        let record = match (only_group, fields.as_slice()) {
            (Some(group), fields) if without_group => {
                record_without_group(fields).map(|(partition, offset)| (group.to_owned(), partition, offset))
            }
            (_, [group, rest @ ..]) => {
                record_without_group(rest).map(|(partition, offset)| (group.clone(), partition, offset))
            }
            _ => None,
        };
        let Some((group, partition, offset)) = record else {
            return Err(Failure::new(
                "java.lang.RuntimeException",
                format!(
                    "line {} is neither topic,partition,offset nor group,topic,partition,offset: {line}",
                    index + 1
                ),
            ));
        };
        plan.entry(group).or_default().insert(partition, offset);
    }
    Ok(plan)
}

/// Columns that are missing at the end are 0, as the original has it.
fn record_without_group(fields: &[String]) -> Option<(TopicPartition, i64)> {
    let (topic, numbers) = fields.split_first()?;
    if numbers.len() > 2 {
        return None;
    }
    let partition = numbers.first().map_or(Some(0), |text| text.trim().parse().ok())?;
    let offset = numbers.get(1).map_or(Some(0), |text| text.trim().parse().ok())?;
    Some((TopicPartition::new(topic.as_str(), partition), offset))
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.trim_end().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                push(&mut fields, c);
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => push(&mut fields, c),
        }
    }
    fields
}

fn push(fields: &mut [String], c: char) {
    if let Some(field) = fields.last_mut() {
        field.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, only_group: Option<&str>, expected: Result<&str, ()>) {
        let got = parse(text, only_group).map_err(|_| ()).map(|plan| {
            let lines: Vec<_> = plan
                .iter()
                .flat_map(|(group, offsets)| offsets.iter().map(move |(p, o)| format!("{group} {p}={o}")))
                .collect();
            lines.join("; ")
        });
        assert_eq!(got.as_deref().ok(), expected.ok());
    }

    #[test]
    fn both_forms_are_read() {
        check("o1,0,2\no1,1,1\n", Some("g"), Ok("g o1-0=2; g o1-1=1"));
        check("g1,o1,0,2\ng2,p1,0,1\n", Some("g1"), Ok("g1 o1-0=2; g2 p1-0=1"));
        check("g1,o1,0,2\n", None, Ok("g1 o1-0=2"));
        check("\"a,b\",\"t\"\"x\",3,4", None, Ok("a,b t\"x-3=4"));
        check("bad\n", Some("g"), Ok("g bad-0=0"));
        check("a,b,c,d,e\n", Some("g"), Err(()));
        check("", Some("g"), Ok(""));
    }

    #[test]
    fn what_is_written_is_read() {
        for group in ["g", "a group, with \"everything\"", "a-name-of-more-than-24-characters"] {
            let partition = TopicPartition::new("t.x_y-z", 3);
            let text = line(Some(group), &partition, 42);
            let plan = parse(&text, None).expect("reads");
            assert_eq!(plan.get(group).and_then(|offsets| offsets.get(&partition)), Some(&42), "{text}");
        }
        assert_eq!(line(None, &TopicPartition::new("t", 0), 5), "t,0,5\n");
        assert!(line(None, &TopicPartition::new("a-topic-name-of-25-letters", 0), 5).starts_with('"'));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC*|[a-z0-9,\"\n]*") {
            let _ = parse(&text, Some("g"));
        }
    }
}
