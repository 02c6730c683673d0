//! How `kafka-console-consumer` writes a record: Kafka's `DefaultMessageFormatter` and its deserializers.

use std::collections::BTreeMap;
use std::io::Write;

use client::{ConsumerRecord, TimestampType};

use super::run::Failure;

/// Writes records to standard output.
#[derive(Debug)]
pub struct Formatter {
    /// `NoOpMessageFormatter`: nothing at all.
    silent: bool,
    timestamp: bool,
    key: bool,
    value: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key_separator: String,
    line_separator: String,
    headers_separator: String,
    null_literal: String,
    key_deserializer: Option<Deserializer>,
    value_deserializer: Option<Deserializer>,
    headers_deserializer: Option<Deserializer>,
}

impl Formatter {
    /// The formatter of class `class`, set up by `--formatter-property` values.
    ///
    /// # Errors
    /// A class that is not built in; the error's message is its name, as with Java.
    pub fn new(class: &str, properties: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let name = class
            .strip_prefix("org.apache.kafka.tools.consumer.")
            .or_else(|| class.strip_prefix("kafka.tools."))
            .unwrap_or_default();
        // The logging formatter adds a line to a log that the tools do not show.
        let silent = match name {
            "DefaultMessageFormatter" | "LoggingMessageFormatter" => false,
            "NoOpMessageFormatter" => true,
            _ => return Err(Failure::new("java.lang.ClassNotFoundException", class)),
        };
        let is = |name: &str, default: bool| {
            properties.get(name).map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
        };
        let text =
            |name: &str, default: &str| properties.get(name).cloned().unwrap_or_else(|| default.to_owned());
        let deserializer = |name: &str| properties.get(name).and_then(|class| Deserializer::by_class(class));
        Ok(Self {
            silent,
            timestamp: is("print.timestamp", false),
            key: is("print.key", false),
            value: is("print.value", true),
            partition: is("print.partition", false),
            offset: is("print.offset", false),
            delivery: is("print.delivery", false),
            epoch: is("print.epoch", false),
            headers: is("print.headers", false),
            key_separator: text("key.separator", "\t"),
            line_separator: text("line.separator", "\n"),
            headers_separator: text("headers.separator", ","),
            null_literal: text("null.literal", "null"),
            key_deserializer: deserializer("key.deserializer"),
            value_deserializer: deserializer("value.deserializer"),
            headers_deserializer: deserializer("headers.deserializer"),
        })
    }

    /// Appends the record's text to `out`.
    ///
    /// # Errors
    /// A field that the deserializer does not accept; what comes before it stands in `out`.
    pub fn write(&self, record: &ConsumerRecord, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.write_delivered(record, None, out)
    }

    /// The same for a record of a share group, which was delivered so often.
    ///
    /// # Errors
    /// As [`Formatter::write`].
    pub fn write_delivered(
        &self,
        record: &ConsumerRecord,
        delivery_count: Option<i16>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if self.silent {
            return Ok(());
        }
        let columns = [
            self.timestamp,
            self.partition,
            self.offset,
            self.delivery,
            self.epoch,
            self.headers,
            self.key,
            self.value,
        ];
        // Between columns stands the key separator, after the last one the line separator.
        let separator = |column: usize| -> &str {
            let more = columns.iter().skip(column + 1).any(|shown| *shown);
            if more { &self.key_separator } else { &self.line_separator }
        };
        let column = |at: usize, text: &dyn std::fmt::Display, out: &mut Vec<u8>| {
            // Writing to memory does not fail.
            let _ = write!(out, "{text}{}", separator(at));
        };
        if self.timestamp {
            match timestamp_type(record.timestamp_type) {
                Some(kind) => column(0, &format_args!("{kind}:{}", record.timestamp_ms), out),
                None => column(0, &"NO_TIMESTAMP", out),
            }
        }
        if self.partition {
            column(1, &format_args!("Partition:{}", record.partition), out);
        }
        if self.offset {
            column(2, &format_args!("Offset:{}", record.offset), out);
        }
        if self.delivery {
            match delivery_count {
                Some(count) => column(3, &format_args!("Delivery:{count}"), out),
                None => column(3, &"Delivery:NOT_PRESENT", out),
            }
        }
        if self.epoch {
            // The original copies the record without its epoch before it is written.
            column(4, &"Epoch:NOT_PRESENT", out);
        }
        if self.headers {
            self.write_headers(record, out)?;
            out.extend_from_slice(separator(5).as_bytes());
        }
        if self.key {
            self.write_field(record.key.as_deref(), self.key_deserializer, out)?;
            out.extend_from_slice(separator(6).as_bytes());
        }
        if self.value {
            self.write_field(record.value.as_deref(), self.value_deserializer, out)?;
            out.extend_from_slice(separator(7).as_bytes());
        }
        Ok(())
    }

    fn write_headers(&self, record: &ConsumerRecord, out: &mut Vec<u8>) -> Result<(), Failure> {
        if record.headers.is_empty() {
            out.extend_from_slice(b"NO_HEADERS");
        }
        for (index, header) in record.headers.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(self.headers_separator.as_bytes());
            }
            out.extend_from_slice(&header.key);
            out.push(b':');
            self.write_field(header.value.as_deref(), self.headers_deserializer, out)?;
        }
        Ok(())
    }

    fn write_field(
        &self,
        field: Option<&[u8]>,
        deserializer: Option<Deserializer>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        // The null literal goes through the deserializer, too: that is how the original does it.
        let field = field.unwrap_or(self.null_literal.as_bytes());
        match deserializer {
            Some(deserializer) => deserializer.write(field, out),
            None => {
                out.extend_from_slice(field);
                Ok(())
            }
        }
    }
}

fn timestamp_type(kind: TimestampType) -> Option<&'static str> {
    match kind {
        TimestampType::CreateTime => Some("CreateTime"),
        TimestampType::LogAppendTime => Some("LogAppendTime"),
        _ => None,
    }
}

/// Kafka's own deserializers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deserializer {
    String,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Boolean,
    Uuid,
    Bytes,
    ByteArray,
}

impl Deserializer {
    const PACKAGE: &'static str = "org.apache.kafka.common.serialization.";

    fn by_class(class: &str) -> Option<Self> {
        let found = class.strip_prefix(Self::PACKAGE).and_then(|name| {
            Some(match name {
                "StringDeserializer" => Self::String,
                "ShortDeserializer" => Self::Short,
                "IntegerDeserializer" => Self::Integer,
                "LongDeserializer" => Self::Long,
                "FloatDeserializer" => Self::Float,
                "DoubleDeserializer" => Self::Double,
                "BooleanDeserializer" => Self::Boolean,
                "UUIDDeserializer" => Self::Uuid,
                "BytesDeserializer" => Self::Bytes,
                "ByteArrayDeserializer" => Self::ByteArray,
                _ => return None,
            })
        });
        if found.is_none() {
            super::run::log_error(
                &format!("Unable to instantiate a deserializer from {class}"),
                "org.apache.kafka.tools.consumer.DefaultMessageFormatter",
            );
            eprintln!("java.lang.ClassNotFoundException: {class}");
        }
        found
    }

    fn write(self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let text = match self {
            Self::String => String::from_utf8_lossy(field).into_owned(),
            Self::Short => i16::from_be_bytes(self.sized(field, "ShortDeserializer")?).to_string(),
            Self::Integer => i32::from_be_bytes(self.sized(field, "IntegerDeserializer")?).to_string(),
            Self::Long => i64::from_be_bytes(self.sized(field, "LongDeserializer")?).to_string(),
            Self::Float => {
                let number = f32::from_be_bytes(self.sized(field, "Deserializer")?);
                java_float(f64::from(number), &format!("{number:e}"))
            }
            Self::Double => {
                let number = f64::from_be_bytes(self.sized(field, "Deserializer")?);
                java_float(number, &format!("{number:e}"))
            }
            Self::Boolean => match field {
                [0] => "false".to_owned(),
                [1] => "true".to_owned(),
                _ => {
                    let [byte] = self.sized(field, "BooleanDeserializer")?;
                    return Err(serialization(format!(
                        "Unexpected byte received by BooleanDeserializer: {byte}"
                    )));
                }
            },
            Self::Uuid => canonical_uuid(&String::from_utf8_lossy(field))?,
            Self::Bytes => field.iter().flat_map(|&byte| escape(byte)).map(char::from).collect(),
            // Java prints the array's address here, which tells nobody anything.
            Self::ByteArray => {
                out.extend_from_slice(field);
                return Ok(());
            }
        };
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn sized<const N: usize>(self, field: &[u8], name: &str) -> Result<[u8; N], Failure> {
        field.try_into().map_err(|_| serialization(format!("Size of data received by {name} is not {N}")))
    }
}

fn serialization(message: String) -> Failure {
    Failure::new("org.apache.kafka.common.errors.SerializationException", message)
}

/// `Bytes.toString`: printable ASCII as it is, the rest as `\xHH`.
fn escape(byte: u8) -> Vec<u8> {
    match byte {
        b' '..=b'~' if byte != b'\\' => vec![byte],
        _ => format!("\\x{byte:02X}").into_bytes(),
    }
}

fn canonical_uuid(text: &str) -> Result<String, Failure> {
    let bad = || serialization("Error parsing data into UUID".to_owned());
    let parts: Vec<_> = text.split('-').collect();
    let widths = [8, 4, 4, 4, 12];
    if parts.len() != widths.len() {
        return Err(bad());
    }
    let mut out = Vec::with_capacity(widths.len());
    for (part, width) in parts.iter().zip(widths) {
        let number = u64::from_str_radix(part, 16).ok().filter(|_| part.len() <= width).ok_or_else(bad)?;
        out.push(format!("{number:0width$x}"));
    }
    Ok(out.join("-"))
}

/// Java's `toString` of a floating-point number, from its shortest digits in scientific notation.
fn java_float(number: f64, scientific: &str) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let or_zero = |fraction: &str| if fraction.is_empty() { "0".to_owned() } else { fraction.to_owned() };
    if number == 0.0 {
        return format!("{sign}0.0");
    }
    if !(-3..7).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        return format!("{sign}{first}.{}E{exponent}", or_zero(rest));
    }
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or_default());
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = usize::try_from(exponent).unwrap_or_default() + 1;
    let padded = format!("{digits:0<whole$}");
    let (whole, fraction) = padded.split_at(whole);
    format!("{sign}{whole}.{}", or_zero(fraction))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use client::Header;

    use super::*;

    fn record() -> ConsumerRecord {
        ConsumerRecord {
            topic: "t".into(),
            partition: 2,
            offset: 7,
            timestamp_ms: 1234,
            timestamp_type: TimestampType::CreateTime,
            key: None,
            value: Some(Bytes::from_static(b"v")),
            headers: vec![
                Header { key: Bytes::from_static(b"a"), value: Some(Bytes::from_static(b"1")) },
                Header { key: Bytes::from_static(b"b"), value: None },
            ],
            leader_epoch: Some(3),
        }
    }

    fn check(properties: &[(&str, &str)], expected: Result<&str, &str>) {
        let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let formatter =
            Formatter::new("org.apache.kafka.tools.consumer.DefaultMessageFormatter", &properties);
        let mut out = Vec::new();
        let got = formatter
            .and_then(|f| f.write(&record(), &mut out))
            .map(|()| String::from_utf8_lossy(&out).into_owned());
        assert_eq!(got.as_deref().map_err(|e| e.message.as_str()), expected);
    }

    #[test]
    fn columns_in_the_originals_order() {
        check(&[], Ok("v\n"));
        check(&[("print.key", "true")], Ok("null\tv\n"));
        check(
            &[
                ("print.key", "true"),
                ("print.headers", "true"),
                ("print.offset", "TRUE "),
                ("print.partition", "true"),
                ("print.timestamp", "true"),
                ("print.epoch", "true"),
                ("print.delivery", "true"),
            ],
            Ok(
                "CreateTime:1234\tPartition:2\tOffset:7\tDelivery:NOT_PRESENT\tEpoch:NOT_PRESENT\ta:1,b:null\tnull\tv\n",
            ),
        );
        check(&[("print.value", "false")], Ok(""));
        check(&[("print.value", "false"), ("print.offset", "true")], Ok("Offset:7\n"));
        check(
            &[
                ("print.key", "true"),
                ("key.separator", " -> "),
                ("line.separator", ";"),
                ("null.literal", "NIL"),
                ("headers.separator", "|"),
                ("print.headers", "true"),
            ],
            Ok("a:1|b:NIL -> NIL -> v;"),
        );
        check(
            &[("value.deserializer", "org.apache.kafka.common.serialization.IntegerDeserializer")],
            Err("Size of data received by IntegerDeserializer is not 4"),
        );
        check(&[("value.deserializer", "no.such")], Ok("v\n"));
        assert!(Formatter::new("no.Such", &BTreeMap::new()).is_err_and(|e| e.message == "no.Such"));
    }

    #[test]
    fn numbers_print_as_in_java() {
        let text = |deserializer: Deserializer, field: &[u8]| {
            let mut out = Vec::new();
            deserializer
                .write(field, &mut out)
                .map(|()| String::from_utf8_lossy(&out).into_owned())
                .map_err(|e| e.message)
        };
        let double = |n: f64| text(Deserializer::Double, &n.to_be_bytes()).expect("eight bytes");
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (100.0, "100.0"),
            (21.5, "21.5"),
            (1_234_567.0, "1234567.0"),
            (12_345_678.0, "1.2345678E7"),
            (1e10, "1.0E10"),
            (0.001, "0.001"),
            (0.00012, "1.2E-4"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(number), expected);
        }
        assert_eq!(text(Deserializer::Float, &0.1f32.to_be_bytes()), Ok("0.1".into()));
        assert_eq!(text(Deserializer::Long, &(-5i64).to_be_bytes()), Ok("-5".into()));
        assert_eq!(
            text(Deserializer::Short, &[1]),
            Err("Size of data received by ShortDeserializer is not 2".into())
        );
        assert_eq!(text(Deserializer::Bytes, b"a\\\x01"), Ok("a\\x5C\\x01".into()));
        assert_eq!(text(Deserializer::Uuid, b"1-2-3-4-5"), Ok("00000001-0002-0003-0004-000000000005".into()));
    }
}
