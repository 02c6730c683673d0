//! Lines of standard input as records: `[headers DELIMITER] [key SEPARATOR] value`, Kafka's `LineMessageReader`.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use bytes::Bytes;
use client::{Header, ProducerRecord};
use regex::bytes::Regex;

use super::run::Failure;

/// How lines are taken apart.
#[derive(Debug)]
pub struct LineReader {
    topic: std::sync::Arc<str>,
    parse_key: bool,
    parse_headers: bool,
    ignore_errors: bool,
    key_separator: String,
    headers_delimiter: String,
    /// Kafka reads `headers.separator` as a regular expression.
    headers_separator: Regex,
    headers_key_separator: String,
    null_marker: Option<String>,
    line_number: u64,
}

impl LineReader {
    /// Reads the `--reader-property` values.
    ///
    /// # Errors
    /// Separators that cannot be told apart.
    pub fn new(topic: &str, properties: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let text = |name: &str, default: &str| {
            properties.get(name).map_or_else(|| default.to_owned(), String::clone)
        };
        let is_true =
            |name: &str| properties.get(name).is_some_and(|v| v.trim().eq_ignore_ascii_case("true"));
        let headers_separator = text("headers.separator", ",");
        let reader = Self {
            topic: text("topic", topic).into(),
            parse_key: is_true("parse.key"),
            parse_headers: is_true("parse.headers"),
            ignore_errors: is_true("ignore.error"),
            key_separator: text("key.separator", "\t"),
            headers_delimiter: text("headers.delimiter", "\t"),
            headers_separator: Regex::new(&headers_separator)
                .map_err(|error| Failure::new("java.util.regex.PatternSyntaxException", error.to_string()))?,
            headers_key_separator: text("headers.key.separator", ":"),
            null_marker: properties.get("null.marker").cloned(),
            line_number: 0,
        };
        let null_marker = reader.null_marker.as_deref();
        let (delimiter, pair_separator) = (&reader.headers_delimiter, &reader.headers_key_separator);
        let clashes = [
            (*delimiter == headers_separator, "headers.delimiter and headers.separator"),
            (delimiter == pair_separator, "headers.delimiter and headers.key.separator"),
            (headers_separator == *pair_separator, "headers.separator and headers.key.separator"),
            (null_marker == Some(&reader.key_separator), "null.marker and key.separator"),
            (null_marker == Some(&headers_separator), "null.marker and headers.separator"),
            (null_marker == Some(delimiter), "null.marker and headers.delimiter"),
            (null_marker == Some(pair_separator), "null.marker and headers.key.separator"),
        ];
        match clashes.iter().find(|(clash, _)| *clash) {
            Some((_, names)) => Err(Failure::kafka(format!("{names} may not be equal"))),
            None => Ok(reader),
        }
    }

    /// Makes the next line a record.
    ///
    /// # Errors
    /// A separator that is not there, unless `ignore.error` is set.
    pub fn record(&mut self, line: &[u8]) -> Result<ProducerRecord, Failure> {
        self.line_number += 1;
        let (headers, rest) =
            self.split_off(self.parse_headers, line, line, &self.headers_delimiter, "headers delimiter")?;
        let (key, value) =
            self.split_off(self.parse_key, line, rest, &self.key_separator, "key separator")?;
        let headers = match headers {
            Some(headers) if !self.is_null(headers) => self.split_headers(headers)?,
            _ => Vec::new(),
        };
        let bytes = |field: &[u8]| (!self.is_null(field)).then(|| Bytes::copy_from_slice(field));
        Ok(ProducerRecord {
            topic: self.topic.clone(),
            key: key.and_then(bytes),
            value: bytes(value),
            headers,
            ..ProducerRecord::default()
        })
    }

    /// The part of `text` before `separator`, and what follows; nothing and all when it is not asked for.
    fn split_off<'a>(
        &self,
        wanted: bool,
        line: &[u8],
        text: &'a [u8],
        separator: &str,
        name: &str,
    ) -> Result<(Option<&'a [u8]>, &'a [u8]), Failure> {
        if !wanted {
            return Ok((None, text));
        }
        match split_once(text, separator.as_bytes()) {
            Some((before, after)) => Ok((Some(before), after)),
            None if self.ignore_errors => Ok((None, text)),
            None => Err(Failure::kafka(format!(
                "No {name} found on line number {}: '{}'",
                self.line_number,
                String::from_utf8_lossy(line)
            ))),
        }
    }

    fn split_headers(&self, text: &[u8]) -> Result<Vec<Header>, Failure> {
        let mut pairs: Vec<&[u8]> = self.headers_separator.split(text).collect();
        // As Java's split: empty parts at the end do not count.
        while pairs.len() > 1 && pairs.last().is_some_and(|pair| pair.is_empty()) {
            pairs.pop();
        }
        pairs.into_iter().map(|pair| self.header(pair)).collect()
    }

    fn header(&self, pair: &[u8]) -> Result<Header, Failure> {
        let Some((key, value)) = split_once(pair, self.headers_key_separator.as_bytes()) else {
            if self.ignore_errors {
                return Ok(Header { key: Bytes::copy_from_slice(pair), value: None });
            }
            return Err(Failure::kafka(format!(
                "No header key separator found in pair '{}' on line number {}",
                String::from_utf8_lossy(pair),
                self.line_number
            )));
        };
        if self.is_null(key) {
            return Err(Failure::kafka(format!(
                "Header keys should not be equal to the null marker '{}' as they can't be null",
                String::from_utf8_lossy(key)
            )));
        }
        let value = (!self.is_null(value)).then(|| Bytes::copy_from_slice(value));
        Ok(Header { key: Bytes::copy_from_slice(key), value })
    }

    fn is_null(&self, field: &[u8]) -> bool {
        self.null_marker.as_deref().is_some_and(|marker| marker.as_bytes() == field)
    }
}

fn split_once<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at =
        if separator.is_empty() { 0 } else { text.windows(separator.len()).position(|w| w == separator)? };
    Some((text.get(..at)?, text.get(at + separator.len()..)?))
}

/// Reads lines as Java does: `\n`, `\r` or `\r\n` end one, and the end of input ends a last one that is not empty.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    after_return: bool,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input`.
    pub fn new(input: R) -> Self {
        Self { input, after_return: false }
    }

    /// Puts the next line, without its end, into `line`; false at the end of input.
    ///
    /// # Errors
    /// What `input` says.
    pub fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        loop {
            let mut chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok(!line.is_empty());
            }
            let mut used = 0;
            if self.after_return {
                self.after_return = false;
                if let Some(rest) = chunk.strip_prefix(b"\n") {
                    chunk = rest;
                    used = 1;
                }
            }
            let end = chunk.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let taken = end.unwrap_or(chunk.len());
            line.extend_from_slice(chunk.get(..taken).unwrap_or_default());
            self.after_return = end.is_some_and(|at| chunk.get(at) == Some(&b'\r'));
            self.input.consume(used + taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(properties: &[(&str, &str)], line: &str, expected: Result<&str, &str>) {
        let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let got = LineReader::new("t", &properties).and_then(|mut reader| reader.record(line.as_bytes()));
        let text = |field: &Option<Bytes>| {
            field
                .as_ref()
                .map_or_else(|| "NIL".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let got = got.map(|record| {
            let headers: Vec<_> = record
                .headers
                .iter()
                .map(|h| format!("{}={}", String::from_utf8_lossy(&h.key), text(&h.value)))
                .collect();
            format!("[{}] {} / {}", headers.join(" "), text(&record.key), text(&record.value))
        });
        assert_eq!(got.as_deref().map_err(|e| e.message.as_str()), expected);
    }

    const KEY: (&str, &str) = ("parse.key", "true");
    const HEADERS: (&str, &str) = ("parse.headers", "true");
    const NULL: (&str, &str) = ("null.marker", "NULL");
    const IGNORE: (&str, &str) = ("ignore.error", "true");

    #[test]
    fn lines_become_records() {
        check(&[], "a\tb", Ok("[] NIL / a\tb"));
        check(&[KEY], "k\tv", Ok("[] k / v"));
        check(&[KEY, ("key.separator", ":")], "k:v:w", Ok("[] k / v:w"));
        check(&[KEY], "v", Err("No key separator found on line number 1: 'v'"));
        check(&[KEY, IGNORE], "v", Ok("[] NIL / v"));
        check(&[KEY, HEADERS], "h1:v1,h2:v2\tk\tv", Ok("[h1=v1 h2=v2] k / v"));
        check(&[HEADERS], "h1:v1,,\tv", Ok("[h1=v1] NIL / v").map_err(|e: &str| e));
        check(&[HEADERS], "h1\tv", Err("No header key separator found in pair 'h1' on line number 1"));
        check(&[HEADERS, IGNORE], "h1\tv", Ok("[h1=NIL] NIL / v"));
        check(&[HEADERS], "h1:v", Err("No headers delimiter found on line number 1: 'h1:v'"));
        check(&[KEY, HEADERS, NULL], "NULL\tNULL\tNULL", Ok("[] NIL / NIL"));
        check(&[KEY, HEADERS, NULL], "a:NULL\tk\tv", Ok("[a=NIL] k / v"));
        check(
            &[HEADERS, NULL],
            "NULL:x\tv",
            Err("Header keys should not be equal to the null marker 'NULL' as they can't be null"),
        );
        check(
            &[("headers.delimiter", ",")],
            "x",
            Err("headers.delimiter and headers.separator may not be equal"),
        );
        check(&[("null.marker", "\t")], "x", Err("null.marker and key.separator may not be equal"));
    }

    #[test]
    fn lines_end_as_in_java() {
        for size in 1..8 {
            let input = io::BufReader::with_capacity(size, b"a\nbc\r\nd\r\re\n\nf".as_slice());
            let mut lines = Lines::new(input);
            let (mut line, mut got) = (Vec::new(), Vec::new());
            while lines.next(&mut line).expect("reads") {
                got.push(String::from_utf8_lossy(&line).into_owned());
            }
            assert_eq!(got, ["a", "bc", "d", "", "e", "", "f"], "buffer of {size}");
        }
    }
}
