//! A UTF-8 string inside a received buffer.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// A reference-counted UTF-8 string: a slice of the buffer it was received in, cheap to clone.
///
/// Reading it as `&str` re-checks the bytes (a few nanoseconds for a topic), because this crate does without
/// `unsafe`. Hot code keeps the `&str` it got once.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Utf8Bytes(Bytes);

impl Utf8Bytes {
    /// Takes bytes that must be UTF-8.
    ///
    /// # Errors
    /// What `std::str::from_utf8` says.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    /// A string that lives as long as the program: no allocation.
    pub const fn from_static(s: &'static str) -> Self {
        Self(Bytes::from_static(s.as_bytes()))
    }

    /// The slice of `buffer` that `part` is.
    pub(crate) fn slice_of(buffer: &Bytes, part: &str) -> Self {
        if part.is_empty() { Self::default() } else { Self(buffer.slice_ref(part.as_bytes())) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Every way in has checked the bytes, so the fallback is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text's bytes, by reference count.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The text's bytes.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Utf8Bytes {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Utf8Bytes {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl From<String> for Utf8Bytes {
    fn from(s: String) -> Self {
        Self(Bytes::from(s))
    }
}

impl From<&str> for Utf8Bytes {
    fn from(s: &str) -> Self {
        Self(Bytes::copy_from_slice(s.as_bytes()))
    }
}

impl PartialEq<str> for Utf8Bytes {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Utf8Bytes {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
