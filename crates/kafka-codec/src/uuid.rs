use std::fmt;
use std::str::FromStr;

/// A 128-bit identifier (topic id, directory id …), shown as Kafka does: url-safe base64 without padding.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// All bits zero: "no id" on the wire.
    pub const ZERO: Self = Self([0; 16]);
    /// The metadata topic's reserved id, `AAAAAAAAAAAAAAAAAAAAAQ`.
    pub const METADATA_TOPIC: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// True for [`Uuid::ZERO`].
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Makes a version 4 id of 16 random bytes. Like Kafka never one whose text starts with `-`
    /// (command lines would take it for an option) and never a reserved one: `None` then, draw again.
    pub fn from_random(mut bytes: [u8; 16]) -> Option<Self> {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        // '-' is digit 62: the first six bits are 111110.
        (bytes[0] >> 2 != 62).then_some(Self(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 22];
        let bits = u128::from_be_bytes(self.0);
        for (i, digit) in text.iter_mut().enumerate() {
            // 22 digits of six bits are 132: the last one holds only two bits, in its upper end.
            let six = if i < 21 { (bits >> (122 - 6 * i)) & 63 } else { (bits << 4) & 63 };
            *digit = ALPHABET.get(six as usize).copied().unwrap_or(b'A');
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 22 digits of url-safe base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a Kafka id: 22 characters of url-safe base64 expected")]
pub struct ParseUuidError;

impl FromStr for Uuid {
    type Err = ParseUuidError;

    /// Reads the 22-character form; the two padding characters `==` are tolerated.
    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        let digits = text.strip_suffix("==").unwrap_or(text).as_bytes();
        let (Ok(digits), mut bits) = (<&[u8; 22]>::try_from(digits), 0u128) else {
            return Err(ParseUuidError);
        };
        for (i, digit) in digits.iter().enumerate() {
            let six = ALPHABET.iter().position(|c| c == digit).ok_or(ParseUuidError)? as u128;
            bits = if i < 21 { bits << 6 | six } else { bits << 2 | six >> 4 };
        }
        Ok(Self(bits.to_be_bytes()))
    }
}
