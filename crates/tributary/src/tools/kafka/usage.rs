//! The help of the Kafka tools: two columns in 80 characters, laid out and broken into lines as joptsimple does it.

use super::options::{Flag, Value};

const WIDTH: usize = 80;
const GAP: usize = 2;
/// Continued lines are indented by this much.
const INDENT: &str = "  ";

/// Renders the options of `table`, sorted by name.
pub fn render(table: &[Flag]) -> String {
    let mut flags: Vec<&Flag> = table.iter().filter(|flag| !flag.hidden).collect();
    flags.sort_by_key(|flag| flag.name);
    let header = if flags.iter().any(|flag| flag.required) {
        [("Option (* = required)", "Description"), ("---------------------", "-----------")]
    } else {
        [("Option", "Description"), ("------", "-----------")]
    };
    let mut rows: Vec<(String, String)> =
        header.iter().map(|(left, right)| ((*left).to_owned(), (*right).to_owned())).collect();
    rows.extend(flags.iter().map(|flag| (synopsis(flag), description(flag))));

    // The columns are as wide as their widest line, first whole, then once more after breaking.
    let (left_width, right_width) = widths(&rows);
    let mut lines = Vec::new();
    for (left, right) in &rows {
        let (left, right) = (fit(left, left_width), fit(right, right_width));
        for at in 0..left.len().max(right.len()) {
            let cell = |column: &[String]| column.get(at).cloned().unwrap_or_default();
            lines.push((cell(&left), cell(&right)));
        }
    }
    let (left_width, right_width) = widths(&lines);
    let mut out = String::new();
    for (left, right) in &lines {
        out.push_str(&format!("{left:<left_width$}{:GAP$}{right:<right_width$}\n", ""));
    }
    out
}

fn widths(rows: &[(String, String)]) -> (usize, usize) {
    let widest = |column: fn(&(String, String)) -> &str| {
        rows.iter().map(|row| column(row).chars().count()).max().unwrap_or_default()
    };
    let left = widest(|row| &row.0).min((WIDTH - GAP) / 2);
    (left, widest(|row| &row.1).min(WIDTH - GAP - left))
}

fn synopsis(flag: &Flag) -> String {
    let (open, kind, close) = match flag.value {
        Value::None => return format!("--{}", flag.name),
        Value::Required(kind) | Value::Many(kind) => ('<', kind, '>'),
        Value::Optional(kind) => ('[', kind, ']'),
    };
    let star = if flag.required { "* " } else { "" };
    let colon = if flag.described.is_empty() || kind.name().is_empty() { "" } else { ": " };
    format!("{star}--{} {open}{}{colon}{}{close}", flag.name, kind.name(), flag.described)
}

fn description(flag: &Flag) -> String {
    match flag.default {
        Some(default) => format!("{} (default: {default})", flag.help).trim().to_owned(),
        None => flag.help.to_owned(),
    }
}

/// Breaks a cell into lines of at most `width` characters.
fn fit(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.trim().split('\n') {
        let mut line = String::new();
        for piece in unbreakable_pieces(paragraph) {
            if line.chars().count() + piece.chars().count() > width {
                lines.push(line.trim_end().to_owned());
                line = INDENT.to_owned();
            }
            line.push_str(&piece);
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    lines
}

/// Splits where a line may end: after white space and after some punctuation.
pub(super) fn unbreakable_pieces(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for (at, &c) in chars.iter().enumerate() {
        piece.push(c);
        let before = chars.get(..at).unwrap_or_default();
        if chars.get(at + 1).is_some_and(|&next| may_break(before, c, next)) {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// Whether a line may end between `c` and `next`, `before` being what stands in front of `c`.
fn may_break(before: &[char], c: char, next: char) -> bool {
    if next.is_whitespace() {
        return false;
    }
    if c.is_whitespace() {
        return true;
    }
    let inside_word = before.last().is_some_and(|c| c.is_alphanumeric());
    // Between the digits of `1.5` and `1:2`, but not in `topic1:0`.
    let after_number =
        before.iter().rev().take_while(|c| c.is_alphanumeric()).all(|c| c.is_numeric()) && inside_word;
    match c {
        '-' if next.is_numeric() => inside_word,
        '-' => {
            next.is_alphabetic() || next == ',' || inside_word && matches!(next, '(' | '[' | '"' | '<' | '.')
        }
        '.' | ',' | ':' | ';' | '!' | '?' if next.is_numeric() => !after_number,
        '.' | ',' | ':' | ';' | '!' | '?' => {
            next.is_alphabetic() || matches!(next, '(' | '[' | '/' | '<') || next == '-' && inside_word
        }
        '%' => next.is_alphabetic(),
        ')' | ']' => next.is_alphanumeric() || matches!(next, '*' | '|' | '-'),
        '"' => inside_word && next.is_alphanumeric(),
        // Behind a negative number.
        _ if c.is_numeric() && next == '>' => before.iter().rev().find(|c| !c.is_numeric()) == Some(&'-'),
        _ => matches!(next, '(' | '[') && (c.is_alphanumeric() || c == '='),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(unbreakable_pieces(text).join("|"), expected);
    }

    #[test]
    fn lines_end_where_java_ends_them() {
        check("hello world  two", "hello |world  |two");
        check("a-b --foo non-neg 'a'/'b'/--c", "a-|b |--|foo |non-|neg |'a'/'b'/--|c");
        check("a.b 1.5 a.1 1.a e.g. foo... end.", "a.|b |1.5 |a.|1 |1.|a |e.|g. |foo... |end.");
        check("localhost:9092 1:2 :x stable,empty 1,2,3", "localhost:|9092 |1:2 |:|x |stable,|empty |1,2,3");
        check("topic4:5-,topic5:-3>", "topic4:|5-|,|topic5:|-3|>");
        check("`topic1:0,1,2`, where", "`topic1:|0,1,2`, |where");
        check("(WARNING: x) [a-b] <c>", "(WARNING: |x) |[a-|b] |<c>");
        check("'YYYY-MM-DDThh:mm:ss.sss'", "'YYYY-|MM-|DDThh:|mm:|ss.|sss'");
        check("SCRAM-SHA-256=[iterations=8192]", "SCRAM-|SHA-|256=|[iterations=8192]");
    }

    #[test]
    fn columns_share_eighty_characters() {
        let table = [
            Flag::switch("list", "List all available topics."),
            Flag::text(
                "bootstrap-server",
                "server to connect to",
                "REQUIRED: The Kafka server to connect to.",
            ),
        ];
        let expected = [
            "Option                                 Description",
            "------                                 -----------",
            "--bootstrap-server <String: server to  REQUIRED: The Kafka server to connect",
            "  connect to>                            to.",
            "--list                                 List all available topics.",
        ];
        let got = render(&table);
        assert_eq!(got.lines().map(str::trim_end).collect::<Vec<_>>(), expected);
        assert!(got.lines().all(|line| line.len() == 37 + 2 + 37), "columns are filled up");
    }
}
