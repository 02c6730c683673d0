//! JSON as cJSON reads and prints it, which `-F %j` and `-F %J` show: object members keep their order and
//! repetition, numbers are doubles, text is bytes.

/// Nesting beyond this is refused, so that a payload cannot exhaust the stack.
const DEPTH_MAX: usize = 1000;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(Vec<u8>),
    Array(Vec<Json>),
    Object(Vec<(Vec<u8>, Json)>),
}

impl Json {
    /// Text of a C string: up to the first zero byte.
    pub fn text(bytes: &[u8]) -> Self {
        Self::Text(bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec())
    }

    /// Reads a whole text; `None` when it is not JSON.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut p = Parser { bytes: bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes), at: 0 };
        p.skip_space();
        let value = p.value(0)?;
        p.skip_space();
        (p.at == p.bytes.len()).then_some(value)
    }

    /// Prints without spaces, or with line ends and tabs.
    pub fn print(&self, pretty: bool) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out, pretty, 0);
        out
    }

    fn write(&self, out: &mut Vec<u8>, pretty: bool, depth: usize) {
        match self {
            Self::Null => out.extend(b"null"),
            Self::Bool(true) => out.extend(b"true"),
            Self::Bool(false) => out.extend(b"false"),
            Self::Number(n) => out.extend(number_text(*n).into_bytes()),
            Self::Text(text) => write_text(text, out),
            Self::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.extend(if pretty { &b", "[..] } else { b"," });
                    }
                    item.write(out, pretty, depth + 1);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                if pretty {
                    out.push(b'\n');
                }
                for (i, (name, value)) in members.iter().enumerate() {
                    if pretty {
                        out.extend(std::iter::repeat_n(b'\t', depth + 1));
                    }
                    write_text(name, out);
                    out.extend(if pretty { &b":\t"[..] } else { b":" });
                    value.write(out, pretty, depth + 1);
                    if i + 1 < members.len() {
                        out.push(b',');
                    }
                    if pretty {
                        out.push(b'\n');
                    }
                }
                if pretty {
                    out.extend(std::iter::repeat_n(b'\t', depth));
                }
                out.push(b'}');
            }
        }
    }
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            0x08 => out.extend(b"\\b"),
            0x0c => out.extend(b"\\f"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0..=0x1f => out.extend(format!("\\u{byte:04x}").into_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// `%1.15g` if that reads back as the same number, or as good as; else `%1.17g`.
fn number_text(n: f64) -> String {
    if !n.is_finite() {
        return "null".to_owned();
    }
    let short = general(n, 15);
    match short.parse::<f64>() {
        Ok(back) if (back - n).abs() <= back.abs().max(n.abs()) * f64::EPSILON => short,
        _ => general(n, 17),
    }
}

/// C's `%.{digits}g`.
fn general(n: f64, digits: usize) -> String {
    if n == 0.0 {
        return if n.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
    }
    let scientific = format!("{n:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| -> String {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let digits = i32::try_from(digits).unwrap_or(17);
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(digits - 1 - exponent).unwrap_or(0);
    trim(&format!("{n:.decimals$}"))
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|b| b <= b' ') {
            self.at += 1;
        }
    }

    fn eat(&mut self, text: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.strip_prefix(text)?;
        self.at += text.len();
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.peek()? {
            b'n' => self.eat(b"null").map(|()| Json::Null),
            b't' => self.eat(b"true").map(|()| Json::Bool(true)),
            b'f' => self.eat(b"false").map(|()| Json::Bool(false)),
            b'"' => self.text().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number(),
            b'[' => self.array(depth),
            b'{' => self.object(depth),
            _ => None,
        }
    }

    fn array(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.eat(b"]").is_some() {
            return Some(Json::Array(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.eat(b"]").is_some() {
                return Some(Json::Array(items));
            }
            self.eat(b",")?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if self.eat(b"}").is_some() {
            return Some(Json::Object(members));
        }
        loop {
            self.skip_space();
            let name = self.text()?;
            self.skip_space();
            self.eat(b":")?;
            self.skip_space();
            members.push((name, self.value(depth + 1)?));
            self.skip_space();
            if self.eat(b"}").is_some() {
                return Some(Json::Object(members));
            }
            self.eat(b",")?;
        }
    }

    /// The longest run of number characters that C's `strtod` would take.
    fn number(&mut self) -> Option<Json> {
        let rest = self.bytes.get(self.at..)?;
        let run =
            rest.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'e' | b'E' | b'.')).count();
        let run = std::str::from_utf8(rest.get(..run)?).ok()?;
        let parse = |end: usize| Some((end, run.get(..end)?.parse::<f64>().ok()?));
        let (end, value) = (1..=run.len()).rev().find_map(parse)?;
        self.at += end;
        Some(Json::Number(value))
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        self.eat(b"\"")?;
        let mut out = Vec::new();
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(out),
                b'\\' => self.escape(&mut out)?,
                _ => out.push(byte),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'"' | b'\\' | b'/' => out.push(byte),
            b'u' => {
                let first = self.four_digits()?;
                let code = if (0xD800..0xDC00).contains(&first) {
                    self.eat(b"\\u")?;
                    let second = self.four_digits().filter(|n| (0xDC00..0xE000).contains(n))?;
                    0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                } else {
                    first
                };
                // A zero would end the text in cJSON; it is refused here.
                let character = char::from_u32(code).filter(|c| *c != '\0')?;
                out.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return None,
        }
        Some(())
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        let value = Json::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text:?} is JSON"));
        String::from_utf8(value.print(false)).expect("UTF-8")
    }

    #[test]
    fn values_are_printed_as_cjson_prints_them() {
        for (text, expected) in [
            ("null", "null"),
            (" [1, 2.50 ,-3e2]\n", "[1,2.5,-300]"),
            ("{\"b\":1,\"a\":{},\"b\":[]}", "{\"b\":1,\"a\":{},\"b\":[]}"),
            ("\"a\\/b\\u00e9\\ud83d\\ude00\\n\"", "\"a/b\u{e9}\u{1f600}\\n\""),
            ("0.1", "0.1"),
            ("1e300", "1e+300"),
            ("123456789012345678", "1.2345678901234568e+17"),
            ("1e-7", "1e-07"),
            ("21.300000000000001", "21.3"),
            ("true", "true"),
            ("\"\\u0001\"", "\"\\u0001\""),
        ] {
            assert_eq!(printed(text), expected, "{text}");
        }
        for bad in ["", "{", "[1,]", "{\"a\"}", "nul", "\"a", "1 2", "\"\\x\"", "\"\\ud800\"", "{a:1}"] {
            assert_eq!(Json::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Json::parse("[".repeat(100_000).as_bytes()), None);
    }

    #[test]
    fn pretty_printing_uses_tabs() {
        let value = Json::parse(b"{\"a\":[1,{\"b\":2}],\"c\":{}}").expect("JSON");
        let text = String::from_utf8(value.print(true)).expect("UTF-8");
        assert_eq!(text, "{\n\t\"a\":\t[1, {\n\t\t\t\"b\":\t2\n\t\t}],\n\t\"c\":\t{\n\t}\n}");
    }
}
