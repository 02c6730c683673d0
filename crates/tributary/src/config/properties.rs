//! Java's `.properties` files (`java.util.Properties.load`), with the line each key stands on.

/// One `key=value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key, escapes resolved.
    pub key: String,
    /// Value, escapes resolved.
    pub value: String,
    /// Line of the key, from 1.
    pub line: usize,
}

/// Parses the text of a properties file. A repeated key stays in the list twice; the last one counts.
///
/// # Errors
/// Line and reason of each malformed `\uXXXX` escape, the only thing that Java refuses.
pub fn parse(text: &str) -> Result<Vec<Entry>, Vec<(usize, String)>> {
    let mut entries = Vec::new();
    let mut problems = Vec::new();
    for (line, logical) in logical_lines(text) {
        let (key, value) = split(&logical);
        match (unescape(key), unescape(value)) {
            (Ok(key), Ok(value)) => entries.push(Entry { key, value, line }),
            (Err(why), _) | (_, Err(why)) => problems.push((line, why)),
        }
    }
    if problems.is_empty() { Ok(entries) } else { Err(problems) }
}

/// Joins continued lines and drops comments and blank lines; yields the number of the first line of each.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, raw) in text.lines().enumerate() {
        let part = raw.trim_start_matches([' ', '\t', '\x0c']);
        if open.is_none() && (part.is_empty() || part.starts_with(['#', '!'])) {
            continue;
        }
        let (number, mut line) = open.take().unwrap_or((index + 1, String::new()));
        let backslashes = part.chars().rev().take_while(|c| *c == '\\').count();
        if backslashes % 2 == 1 {
            line.push_str(&part[..part.len() - 1]);
            open = Some((number, line));
        } else {
            line.push_str(part);
            out.push((number, line));
        }
    }
    out.extend(open);
    out
}

/// Splits at the first unescaped `=`, `:` or white space.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if matches!(c, '=' | ':' | ' ' | '\t' | '\x0c') {
            let rest = line[at..].trim_start_matches([' ', '\t', '\x0c']);
            let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], value.trim_start_matches([' ', '\t', '\x0c']));
        }
    }
    (line, "")
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\x0c'),
            Some('u') => {
                let hex: String = chars.by_ref().take(4).collect();
                let unit = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 4);
                let c = unit.and_then(char::from_u32).ok_or("malformed \\uxxxx encoding")?;
                out.push(c);
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str, usize)]) {
        let got = parse(text).expect("parses");
        let got: Vec<_> = got.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.line)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn reads_what_java_reads() {
        check(
            "# note\n! note\n\nbroker.id=0\n log.dirs : /tmp/a\nkey value with spaces \nempty\nempty2=\n",
            &[
                ("broker.id", "0", 4),
                ("log.dirs", "/tmp/a", 5),
                ("key", "value with spaces ", 6),
                ("empty", "", 7),
                ("empty2", "", 8),
            ],
        );
        check(
            "a=1,\\\n   2,\\\n   3\nb=c\\\\\nd\\:e=f",
            &[("a", "1,2,3", 1), ("b", "c\\", 4), ("d:e", "f", 5)],
        );
        check(
            "t=\\ttab\\u00e9\nwin=C:\\\\kafka\\\\logs",
            &[("t", "\ttab\u{e9}", 1), ("win", "C:\\kafka\\logs", 2)],
        );
        check("a==b\nc = = d", &[("a", "=b", 1), ("c", "= d", 2)]);
    }

    #[test]
    fn names_the_line_of_a_bad_escape() {
        assert_eq!(parse("ok=1\nbad=\\u12"), Err(vec![(2, "malformed \\uxxxx encoding".to_string())]));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC*|[a-z=:\\\\ \n#!u0-9]*") {
            let _ = parse(&text);
        }
    }
}
