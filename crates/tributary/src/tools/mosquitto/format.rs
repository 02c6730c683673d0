//! How a received message is shown: plain, `-v`, or by `-F`.

use std::fmt::Write as _;

use mqtt_codec::{Properties, Property, Publish};

use super::json::Json;
use super::options::Options;
use super::time::{LocalTime, Zone};

/// Checks a format as the command line gives it.
///
/// # Errors
/// The text for standard error.
pub fn check(format: &str) -> Result<(), String> {
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                let incomplete = || "Error: Incomplete format specifier.\n".to_owned();
                chars.next_if(|c| matches!(c, '0' | '-'));
                while chars.next_if(char::is_ascii_digit).is_some() {}
                if chars.next_if_eq(&'.').is_some() {
                    while chars.next_if(char::is_ascii_digit).is_some() {}
                }
                let specifier = chars.next().ok_or_else(incomplete)?;
                if !"%ACDEFIJPRSUXjlmpqrtx".contains(specifier) {
                    return Err(format!("Error: Invalid format specifier '{specifier}'.\n"));
                }
            }
            '@' => {
                chars.next().ok_or_else(|| "Error: Incomplete format specifier.\n".to_owned())?;
            }
            '\\' => match chars.next() {
                None => return Err("Error: Incomplete escape specifier.\n".into()),
                Some(c) if "\\0aenrtv".contains(c) => {}
                Some(c) => return Err(format!("Error: Invalid escape specifier '{c}'.\n")),
            },
            _ => {}
        }
    }
    Ok(())
}

/// What stands between `%` and the specifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Field {
    left: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Writes messages as the options ask for.
#[derive(Debug)]
pub struct Printer {
    format: Option<String>,
    verbose: bool,
    end_of_line: bool,
    pretty: bool,
    zone: Zone,
}

impl Printer {
    /// A printer for these options, on the local clock.
    pub fn new(options: &Options) -> Self {
        Self {
            format: options.format.clone(),
            verbose: options.verbose,
            end_of_line: options.end_of_line,
            pretty: options.pretty,
            zone: Zone::local(),
        }
    }

    /// The bytes for standard output, and perhaps a complaint for standard error.
    pub fn print(&self, message: &Publish) -> (Vec<u8>, Option<String>) {
        let mut out = Vec::new();
        let mut complaint = None;
        if let Some(format) = &self.format {
            let now = LocalTime::now(&self.zone);
            complaint = self.formatted(format, message, &now, &mut out);
            if self.end_of_line {
                out.push(b'\n');
            }
        } else if self.verbose && message.payload.is_empty() {
            if self.end_of_line {
                out.extend(format!("{} (null)\n", message.topic).into_bytes());
            }
        } else if !message.payload.is_empty() {
            if self.verbose {
                out.extend(message.topic.bytes());
                out.push(b' ');
            }
            out.extend(&message.payload);
            if self.end_of_line {
                out.push(b'\n');
            }
        }
        (out, complaint)
    }

    fn formatted(
        &self,
        format: &str,
        message: &Publish,
        now: &LocalTime,
        out: &mut Vec<u8>,
    ) -> Option<String> {
        let mut complaint = None;
        let mut chars = format.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '%' => {
                    let mut field = Field { left: chars.next_if_eq(&'-').is_some(), ..Field::default() };
                    field.zero = chars.next_if_eq(&'0').is_some();
                    field.width = digits(&mut chars);
                    if chars.next_if_eq(&'.').is_some() {
                        field.precision = Some(digits(&mut chars));
                    }
                    if let Some(specifier) = chars.next() {
                        complaint = self.specified(specifier, field, message, now, out).or(complaint);
                    }
                }
                '@' => match chars.next() {
                    Some('@') => out.push(b'@'),
                    Some('N') => out.extend(format!("{:09}", now.nanos).into_bytes()),
                    Some(conversion) => out.extend(now.format(conversion).into_bytes()),
                    None => {}
                },
                '\\' => match chars.next() {
                    Some('0') => out.push(0),
                    Some('a') => out.push(0x07),
                    Some('e') => out.push(0x1b),
                    Some('n') => out.push(b'\n'),
                    Some('r') => out.push(b'\r'),
                    Some('t') => out.push(b'\t'),
                    Some('v') => out.push(0x0b),
                    Some(other) => out.extend(other.encode_utf8(&mut [0; 4]).as_bytes()),
                    None => {}
                },
                _ => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        complaint
    }

    fn specified(
        &self,
        specifier: char,
        field: Field,
        message: &Publish,
        now: &LocalTime,
        out: &mut Vec<u8>,
    ) -> Option<String> {
        let properties = message.properties.properties();
        match specifier {
            '%' => out.push(b'%'),
            'A' => field.number_or_blank(properties.topic_alias().map(i32::from), out),
            'C' => match properties.content_type() {
                Some(text) => field.text(text.as_bytes(), out),
                None => blank(b' ', field.width, out),
            },
            'D' => out.extend(properties.correlation_data().unwrap_or_default()),
            // The original shows the number as a signed one.
            'E' => field.number_or_blank(properties.message_expiry_interval().map(|n| n as i32), out),
            'F' => field.number_or_blank(properties.payload_format_indicator().map(i32::from), out),
            'I' => field.text(now.iso().as_bytes(), out),
            'j' => out.extend(self.json(message, now, Json::text(&message.payload)).print(self.pretty)),
            'J' => match Json::parse(&message.payload).or(message.payload.is_empty().then_some(Json::Null)) {
                Some(payload) => out.extend(self.json(message, now, payload).print(self.pretty)),
                None => {
                    let topic = &message.topic;
                    return Some(format!("Error: Message payload is not valid JSON on topic {topic}.\n"));
                }
            },
            'l' => field.number(i32::try_from(message.payload.len()).unwrap_or(i32::MAX), out),
            'm' => field.number(message.packet_id.map_or(0, |id| i32::from(id.get())), out),
            'P' => {
                let users: Vec<String> =
                    properties.user_properties().map(|(n, v)| format!("{n}:{v}")).collect();
                out.extend(users.join(" ").into_bytes());
            }
            'p' => field.payload(&message.payload, out),
            'q' => out.push(b'0' + message.qos.as_u8()),
            'R' => {
                if let Some(topic) = properties.response_topic() {
                    field.text(topic.as_bytes(), out);
                }
            }
            'r' => out.push(b'0' + u8::from(message.retain)),
            'S' => field.number_or_blank(properties.subscription_identifiers().next().map(|n| n as i32), out),
            't' => field.text(message.topic.bytes(), out),
            'U' => out.extend(format!("{}.{:09}", now.epoch, now.nanos).into_bytes()),
            'x' => field.hexadecimal(&message.payload, false, out),
            'X' => field.hexadecimal(&message.payload, true, out),
            _ => {}
        }
        None
    }

    fn json(&self, message: &Publish, now: &LocalTime, payload: Json) -> Json {
        let number = |n: usize| Json::Number(n as f64);
        let mut members = vec![
            ("tst", Json::text(now.json_stamp().as_bytes())),
            ("topic", Json::text(message.topic.bytes())),
            ("qos", number(message.qos.as_u8().into())),
            ("retain", number(message.retain.into())),
            ("payloadlen", number(message.payload.len())),
        ];
        if let Some(id) = message.packet_id {
            members.push(("mid", number(id.get().into())));
        }
        if !message.properties.is_empty() {
            members.push(("properties", json_properties(message.properties.properties())));
        }
        let payload = if message.payload.is_empty() { Json::Null } else { payload };
        members.push(("payload", payload));
        Json::Object(members.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value)).collect())
    }
}

fn json_properties(properties: Properties<'_>) -> Json {
    let mut members: Vec<(&str, Json)> = Vec::new();
    let mut users: Vec<(Vec<u8>, Json)> = Vec::new();
    for property in properties {
        let value = match property {
            Property::PayloadFormatIndicator(b) => Json::Number(f64::from(u8::from(b))),
            Property::MessageExpiryInterval(n) | Property::SubscriptionIdentifier(n) => {
                Json::Number(f64::from(n))
            }
            Property::TopicAlias(n) => Json::Number(f64::from(n)),
            Property::ContentType(s) | Property::ResponseTopic(s) => Json::text(s.as_bytes()),
            Property::CorrelationData(b) => Json::text(b),
            Property::UserProperty(name, value) => {
                if users.is_empty() {
                    // Stands where the first of them stood; filled in below.
                    members.push(("user-properties", Json::Null));
                }
                users.push((name.as_bytes().to_vec(), Json::text(value.as_bytes())));
                continue;
            }
            _ => continue,
        };
        let name = match property {
            Property::PayloadFormatIndicator(_) => "payload-format-indicator",
            Property::MessageExpiryInterval(_) => "message-expiry-interval",
            Property::SubscriptionIdentifier(_) => "subscription-identifier",
            Property::TopicAlias(_) => "topic-alias",
            Property::ContentType(_) => "content-type",
            Property::ResponseTopic(_) => "response-topic",
            _ => "correlation-data",
        };
        members.push((name, value));
    }
    let users = Json::Object(users);
    let fill = |(name, value): (&str, Json)| {
        let value = if name == "user-properties" { users.clone() } else { value };
        (name.as_bytes().to_vec(), value)
    };
    Json::Object(members.into_iter().map(fill).collect())
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> usize {
    // A width nobody has a screen for would only fill the memory.
    const WIDTH_MAX: usize = 1 << 20;
    let mut n = 0usize;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        n = (n * 10 + digit.to_digit(10).unwrap_or(0) as usize).min(WIDTH_MAX);
    }
    n
}

fn blank(pad: u8, width: usize, out: &mut Vec<u8>) {
    out.extend(std::iter::repeat_n(pad, width));
}

impl Field {
    fn pad(self) -> u8 {
        if self.zero { b'0' } else { b' ' }
    }

    fn number(self, n: i32, out: &mut Vec<u8>) {
        let mut text = String::new();
        let width = self.width;
        // Writing to a string does not fail.
        let _ = if self.left {
            write!(text, "{n:<width$}")
        } else if self.zero {
            write!(text, "{n:0width$}")
        } else {
            write!(text, "{n:width$}")
        };
        out.extend(text.into_bytes());
    }

    fn number_or_blank(self, n: Option<i32>, out: &mut Vec<u8>) {
        match n {
            Some(n) => self.number(n, out),
            None => blank(self.pad(), self.width, out),
        }
    }

    /// C's `%{width}.{precision}s`: both count bytes.
    fn text(self, text: &[u8], out: &mut Vec<u8>) {
        let text = self.precision.and_then(|n| text.get(..n)).unwrap_or(text);
        let pad = self.width.saturating_sub(text.len());
        if !self.left {
            blank(b' ', pad, out);
        }
        out.extend(text);
        if self.left {
            blank(b' ', pad, out);
        }
    }

    fn payload(self, payload: &[u8], out: &mut Vec<u8>) {
        let shown = if self.width > 0 { payload.get(..self.width).unwrap_or(payload) } else { payload };
        self.around(shown.len(), |out| out.extend(shown), out);
    }

    /// Two digits for each byte. A width counts digits but, as in the original, halves what is shown of a short
    /// payload too.
    fn hexadecimal(self, payload: &[u8], upper: bool, out: &mut Vec<u8>) {
        let shown = if self.width > 0 { payload.len().min(self.width) / 2 } else { payload.len() };
        let shown = payload.get(..shown).unwrap_or(payload);
        let write = |out: &mut Vec<u8>| {
            for byte in shown {
                let pair = if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
                out.extend(pair.into_bytes());
            }
        };
        let length = if self.width > 0 { shown.len() * 2 } else { shown.len() };
        self.around(length, write, out);
    }

    fn around(self, length: usize, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        if !self.left {
            blank(self.pad(), self.width.saturating_sub(length), out);
        }
        write(out);
        if self.left {
            // Without a width the original pads by the length itself.
            let pad = if self.width == 0 { length } else { self.width.saturating_sub(length) };
            blank(b' ', pad, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mqtt_codec::{PacketId, PropertiesBuf, QoS};

    use super::*;

    fn message() -> Publish {
        let properties = PropertiesBuf::from_properties([
            Property::ContentType("text"),
            Property::UserProperty("a", "1"),
            Property::MessageExpiryInterval(60),
            Property::UserProperty("b", "2"),
        ]);
        Publish {
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: "a/b".into(),
            packet_id: PacketId::new(7),
            properties: properties.expect("valid"),
            payload: Bytes::from_static(b"{\"x\": 1}"),
            ..Publish::default()
        }
    }

    fn shown(format: &str) -> String {
        let printer = Printer {
            format: Some(format.into()),
            verbose: false,
            end_of_line: false,
            pretty: false,
            zone: Zone::utc(),
        };
        let now = LocalTime::at(&printer.zone, 1_700_000_000, 5_000);
        let mut out = Vec::new();
        printer.formatted(format, &message(), &now, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn formats() {
        for (format, expected) in [
            ("%t %p", "a/b {\"x\": 1}"),
            ("%%|%q%r|%l|%m", "%|11|8|7"),
            ("%5l|%-5l|%05l|%5t|%-5t|%.1t", "    8|8    |00008|  a/b|a/b  |a"),
            ("%x", "7b2278223a20317d"),
            ("%X", "7B2278223A20317D"),
            ("%4x|%3p|%-10p|%10p", "7b22|{\"x|{\"x\": 1}  |  {\"x\": 1}"),
            ("%C|%10C|%E|%F|%3F|%P|%R|%S|%A", "text|      text|60||   |a:1 b:2|||"),
            ("%I|%U", "2023-11-14T22:13:20+0000|1700000000.000005000"),
            ("@Y-@m-@d@@@N", "2023-11-14@000005000"),
            ("a\\tb\\\\", "a\tb\\"),
            (
                "%j",
                "{\"tst\":\"2023-11-14T22:13:20.000005Z+0000\",\"topic\":\"a/b\",\"qos\":1,\"retain\":1,\
                 \"payloadlen\":8,\"mid\":7,\"properties\":{\"content-type\":\"text\",\
                 \"user-properties\":{\"a\":\"1\",\"b\":\"2\"},\"message-expiry-interval\":60},\
                 \"payload\":\"{\\\"x\\\": 1}\"}",
            ),
        ] {
            assert_eq!(check(format), Ok(()), "{format}");
            assert_eq!(shown(format), expected, "{format}");
        }
        assert!(shown("%J").ends_with(",\"payload\":{\"x\":1}}"));
    }

    #[test]
    fn bad_formats_are_named() {
        for (format, text) in [
            ("%", "Error: Incomplete format specifier.\n"),
            ("%5", "Error: Incomplete format specifier.\n"),
            ("%-.", "Error: Incomplete format specifier.\n"),
            ("%z", "Error: Invalid format specifier 'z'.\n"),
            ("a@", "Error: Incomplete format specifier.\n"),
            ("\\", "Error: Incomplete escape specifier.\n"),
            ("\\q", "Error: Invalid escape specifier 'q'.\n"),
        ] {
            assert_eq!(check(format), Err(text.to_owned()), "{format}");
        }
    }
}
