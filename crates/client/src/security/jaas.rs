//! One line of a JAAS configuration: `Module required key="value" … ;`.

use std::collections::BTreeMap;

/// A login module and its options.
#[derive(Clone, PartialEq, Eq)]
pub struct JaasEntry {
    /// Class of the module.
    pub module: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// Options are secrets: only the module is shown.
impl std::fmt::Debug for JaasEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JaasEntry").field("module", &self.module).finish_non_exhaustive()
    }
}

impl JaasEntry {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong, without the values.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = words(text)?.into_iter();
        let module = words.next().ok_or("names no login module")?;
        let flag = words.next().unwrap_or_default();
        if !["required", "requisite", "sufficient", "optional"]
            .iter()
            .any(|known| flag.eq_ignore_ascii_case(known))
        {
            return Err(format!("has no control flag (required …) after {module}"));
        }
        let mut options = BTreeMap::new();
        let mut ended = false;
        while let Some(word) = words.next() {
            if ended {
                return Err("has something after its semicolon".into());
            }
            if word == ";" {
                ended = true;
                continue;
            }
            if words.next().as_deref() != Some("=") {
                return Err(format!("option {word} has no value"));
            }
            let value = words.next().filter(|value| value != ";").unwrap_or_default();
            options.insert(word, value);
        }
        if !ended {
            return Err("does not end with a semicolon".into());
        }
        Ok(Self { module, options })
    }
}

/// Words, quoted or not; `=` and `;` are words of their own.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            c if c.is_whitespace() => {
                chars.next();
            }
            '=' | ';' => {
                chars.next();
                words.push(c.to_string());
            }
            '"' | '\'' => {
                chars.next();
                let mut word = String::new();
                loop {
                    match chars.next() {
                        None => return Err("has a quote that is not closed".into()),
                        Some(end) if end == c => break,
                        Some('\\') => word.extend(chars.next()),
                        Some(other) => word.push(other),
                    }
                }
                words.push(word);
            }
            _ => {
                let mut word = String::new();
                while let Some(&c) = chars.peek() {
                    if c.is_whitespace() || matches!(c, '=' | ';' | '"' | '\'') {
                        break;
                    }
                    word.push(c);
                    chars.next();
                }
                words.push(word);
            }
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_java_reads_them() {
        let text = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"a\" \
                    password=\"p;=\\\"q\"\n user_a='x y' user_b = z;";
        let entry = JaasEntry::parse(text).unwrap();
        assert_eq!(entry.module, "org.apache.kafka.common.security.plain.PlainLoginModule");
        let options: Vec<_> = entry.options.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        assert_eq!(options, ["password:p;=\"q", "user_a:x y", "user_b:z", "username:a"]);
        assert!(!format!("{entry:?}").contains("p;"), "secrets are not shown");
        for wrong in ["", "M", "M required a=b", "M required a;", "M required a=\"b;", "M required; x"] {
            assert!(JaasEntry::parse(wrong).is_err(), "{wrong}");
        }
    }
}
