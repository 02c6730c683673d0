//! The subject of a certificate as Kafka writes it (RFC 2253), and the rules that make user names of it.

use regex::Regex;

/// Reads one DER value: tag, content, and what follows.
fn value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let size = usize::from(first & 0x7f);
        if size == 0 || size > 4 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(size)?;
        (digits.iter().fold(0usize, |len, digit| len << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
/// `[0]`, the version of a certificate.
const VERSION: u8 = 0xa0;

/// The subject of a certificate, the most particular name first: `CN=kafka,OU=team,O=firm`.
pub(crate) fn subject(certificate: &[u8]) -> Option<String> {
    let (_, certificate, _) = value(certificate)?;
    let (_, mut rest, _) = value(certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = value(rest)?.2;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        rest = value(rest)?.2;
    }
    let (tag, mut names, _) = value(rest)?;
    if tag != SEQUENCE {
        return None;
    }
    let mut parts = Vec::new();
    while !names.is_empty() {
        let (tag, mut set, after) = value(names)?;
        if tag != SET {
            return None;
        }
        let mut same_level = Vec::new();
        while !set.is_empty() {
            let (_, pair, more) = value(set)?;
            let (oid_tag, oid, text) = value(pair)?;
            if oid_tag != OID {
                return None;
            }
            let (text_tag, text, _) = value(text)?;
            same_level.push(attribute(oid, text_tag, text));
            set = more;
        }
        parts.push(same_level.join("+"));
        names = after;
    }
    parts.reverse();
    Some(parts.join(","))
}

fn attribute(oid: &[u8], tag: u8, text: &[u8]) -> String {
    let name = match oid {
        [0x55, 4, 3] => Some("CN"),
        [0x55, 4, 6] => Some("C"),
        [0x55, 4, 7] => Some("L"),
        [0x55, 4, 8] => Some("ST"),
        [0x55, 4, 9] => Some("STREET"),
        [0x55, 4, 10] => Some("O"),
        [0x55, 4, 11] => Some("OU"),
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => Some("DC"),
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => Some("UID"),
        _ => None,
    };
    match name {
        Some(name) => format!("{name}={}", escape(&decode(tag, text))),
        // As Java does for names it does not know: the number, and the value's own bytes.
        None => {
            let mut der = vec![tag, u8::try_from(text.len()).unwrap_or(0x7f)];
            der.extend_from_slice(text);
            let hex: String = der.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}=#{hex}", dotted(oid))
        }
    }
}

fn decode(tag: u8, text: &[u8]) -> String {
    /// A string of two bytes a character.
    const BMP: u8 = 0x1e;
    if tag == BMP {
        let units: Vec<u16> =
            text.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(text).into_owned()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        let blank_at_end = c == ' ' && (at == 0 || at == last);
        if matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') || (c == '#' && at == 0) || blank_at_end {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn dotted(oid: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number = 0u64;
    for byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first);
                number -= first * 40;
            }
            numbers.push(number);
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// `ssl.principal.mapping.rules`.
#[derive(Debug)]
pub(crate) struct PrincipalRules(Vec<Rule>);

#[derive(Debug)]
enum Rule {
    Default,
    Pattern { pattern: Regex, replacement: String, case: Case },
}

#[derive(Clone, Copy, Debug)]
enum Case {
    Kept,
    Lower,
    Upper,
}

impl PrincipalRules {
    /// Reads rules: `RULE:pattern/replacement/[LU]` and `DEFAULT`, separated by commas.
    ///
    /// # Errors
    /// The rule that is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("DEFAULT") {
                rules.push(Rule::Default);
                rest = after;
            } else {
                let invalid = || format!("Invalid rule: `{rest}`");
                let rule = rest.strip_prefix("RULE:").ok_or_else(invalid)?;
                let (pattern, after) = until_slash(rule).ok_or_else(invalid)?;
                let (replacement, after) = until_slash(after).ok_or_else(invalid)?;
                let (case, after) = match after.chars().next() {
                    Some('L') => (Case::Lower, &after[1..]),
                    Some('U') => (Case::Upper, &after[1..]),
                    _ => (Case::Kept, after),
                };
                let pattern =
                    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| format!("{pattern}: {error}"))?;
                rules.push(Rule::Pattern { pattern, replacement: braced(&replacement), case });
                rest = after;
            }
            rest = rest.trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None if rest.is_empty() => {}
                None => return Err(format!("Invalid rule: `{rest}`")),
            }
        }
        Ok(Self(rules))
    }

    /// The user of a name, by the first rule that covers it.
    pub(crate) fn apply(&self, name: &str) -> Option<String> {
        self.0.iter().find_map(|rule| match rule {
            Rule::Default => Some(name.to_owned()),
            Rule::Pattern { pattern, replacement, case } => {
                let found = pattern.captures(name)?;
                let mut user = String::new();
                found.expand(replacement, &mut user);
                Some(match case {
                    Case::Kept => user,
                    Case::Lower => user.to_lowercase(),
                    Case::Upper => user.to_uppercase(),
                })
            }
        })
    }
}

/// Up to the next slash that is not escaped.
fn until_slash(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '/' => return Some((out, text.get(at + 1..)?)),
            '\\' => {
                let (_, next) = chars.next()?;
                if next != '/' {
                    out.push('\\');
                }
                out.push(next);
            }
            c => out.push(c),
        }
    }
    None
}

/// Java's `$1` ends at the first digit that is no group; ours wants braces to be sure.
fn braced(replacement: &str) -> String {
    let mut out = String::new();
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '$' {
            let digits: String = std::iter::from_fn(|| chars.next_if(char::is_ascii_digit)).collect();
            if !digits.is_empty() {
                out.push_str(&format!("{{{digits}}}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_applied_in_order() {
        let rules = PrincipalRules::parse(
            "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1@svc/, RULE:^CN=([^,]*),.*$/$1/L,DEFAULT",
        )
        .unwrap();
        let of = |name: &str| rules.apply(name).unwrap();
        assert_eq!(of("CN=kafka1,OU=ServiceUsers,O=Unknown"), "kafka1@svc");
        assert_eq!(of("CN=Alice,O=Firm"), "alice");
        assert_eq!(of("OU=x"), "OU=x");
        assert!(PrincipalRules::parse("RULE:^a$/b/").unwrap().apply("c").is_none());
        for wrong in ["RULE:a", "RULE:(/a/", "default", "DEFAULT DEFAULT"] {
            assert!(PrincipalRules::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_without_a_name_are_dotted() {
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]), "1.2.840.113549.1.9.1");
        assert_eq!(escape(" a,b+ "), "\\ a\\,b\\+\\ ");
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_subject() {
        for bytes in [&[][..], &[0x30], &[0x30, 0x82, 0xff], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 1]] {
            assert_eq!(subject(bytes), None);
        }
    }
}
