//! The primitive types of Kafka's protocol: reading from a slice, appending to a vector.
//!
//! `flexible` chooses between the two encodings of KIP-482: `true` = compact lengths (unsigned varint of
//! length + 1, 0 = null) and tagged fields, `false` = fixed-width lengths (-1 = null).
//!
//! Every length is compared with the bytes that are left before anything is allocated for it.

use bytes::Bytes;

use crate::{DecodeError, EncodeError, Uuid};

/// Longest string of the protocol in bytes, compact or not (as in Kafka).
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Elements of an array that are allocated for at once; more come as they are really read.
const PREALLOCATED_MAX: usize = 1024;

/// Reads the protocol's types one after the other from a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
    parent: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// Reads from `bytes`; values of type `bytes` and `records` are copied out.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, len: bytes.len(), parent: None }
    }

    /// Reads from `bytes`; values of type `bytes` and `records` share its memory instead of being copied.
    pub fn shared(bytes: &'a Bytes) -> Self {
        Self { rest: bytes, len: bytes.len(), parent: Some(bytes) }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Bytes already read, counted from where this reader began.
    pub fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// The bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes the next `n` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when there are fewer.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(n) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(self.truncated(n)),
        }
    }

    /// Takes the next `n` bytes as [`Bytes`]: a slice of the parent for [`Reader::shared`], else a copy.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when there are fewer.
    pub fn take_bytes(&mut self, n: usize) -> Result<Bytes, DecodeError> {
        let taken = self.take(n)?;
        Ok(match self.parent {
            Some(parent) => parent.slice_ref(taken),
            None => Bytes::copy_from_slice(taken),
        })
    }

    /// Succeeds when nothing is left.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Trailing { position: self.position(), remaining: self.rest.len() })
    }

    #[cold]
    fn truncated(&self, needed: usize) -> DecodeError {
        DecodeError::Truncated { position: self.position(), needed, remaining: self.rest.len() }
    }

    #[cold]
    fn bad_length(&self, what: &'static str, length: i64) -> DecodeError {
        DecodeError::Length { what, length, position: self.position() }
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(self.truncated(N)),
        }
    }

    /// One byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], as all fixed-width reads.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.fixed()?))
    }

    /// `int8`. Errors as [`Reader::u8`].
    #[inline]
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    /// `bool`: any byte but 0 is true. Errors as [`Reader::u8`].
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u8()? != 0)
    }

    /// `int16`. Errors as [`Reader::u8`].
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    /// `uint16`. Errors as [`Reader::u8`].
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.fixed()?))
    }

    /// `int32`. Errors as [`Reader::u8`].
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    /// `uint32`. Errors as [`Reader::u8`].
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.fixed()?))
    }

    /// `int64`. Errors as [`Reader::u8`].
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    /// `float64`. Errors as [`Reader::u8`].
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_be_bytes(self.fixed()?))
    }

    /// `uuid`. Errors as [`Reader::u8`].
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(self.fixed()?))
    }

    /// Unsigned variable-length integer of at most 5 bytes, 32 bits.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`]; [`DecodeError::Varint`] for more than 32 bits.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        if let Some(value) = self.short_varint() {
            return Ok(u32::from(value));
        }
        let position = self.position();
        u32::try_from(self.long_varint(5)?).map_err(|_| DecodeError::Varint { position })
    }

    /// Zigzag variable-length 32-bit integer. Errors as [`Reader::uvarint`].
    #[inline]
    pub fn varint(&mut self) -> Result<i32, DecodeError> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// Unsigned variable-length integer of at most 10 bytes, 64 bits. Errors as [`Reader::uvarint`].
    #[inline]
    pub fn uvarlong(&mut self) -> Result<u64, DecodeError> {
        match self.short_varint() {
            Some(value) => Ok(u64::from(value)),
            None => self.long_varint(10),
        }
    }

    /// Zigzag variable-length 64-bit integer. Errors as [`Reader::uvarint`].
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, DecodeError> {
        let raw = self.uvarlong()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A variable-length integer of one or two bytes, as nearly all are; `None` (and nothing is taken) for others.
    #[inline]
    fn short_varint(&mut self) -> Option<u16> {
        match *self.rest {
            [byte @ ..0x80, ref tail @ ..] => {
                self.rest = tail;
                Some(u16::from(byte))
            }
            [low, high @ ..0x80, ref tail @ ..] => {
                self.rest = tail;
                Some(u16::from(low & 0x7f) | u16::from(high) << 7)
            }
            _ => None,
        }
    }

    fn long_varint(&mut self, bytes_max: u32) -> Result<u64, DecodeError> {
        let position = self.position();
        let mut value = 0u64;
        for i in 0..bytes_max {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte may hold one bit only.
            if i == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint { position })
    }

    /// Length of a string or byte sequence, `None` for null, checked against the bytes left.
    fn length(
        &mut self,
        what: &'static str,
        short: bool,
        flexible: bool,
    ) -> Result<Option<usize>, DecodeError> {
        let length = match (flexible, short) {
            (true, _) => i64::from(self.uvarint()?) - 1,
            (false, true) => i64::from(self.i16()?),
            (false, false) => i64::from(self.i32()?),
        };
        match usize::try_from(length) {
            Ok(n) if n > self.rest.len() => Err(self.truncated(n)),
            Ok(n) if short && n > STRING_BYTES_MAX => Err(self.bad_length(what, length)),
            Ok(n) => Ok(Some(n)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.bad_length(what, length)),
        }
    }

    /// A nullable string, borrowed.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], [`DecodeError::Length`], [`DecodeError::Utf8`], [`DecodeError::Varint`].
    pub fn nullable_str(&mut self, flexible: bool) -> Result<Option<&'a str>, DecodeError> {
        let Some(n) = self.length("string", true, flexible)? else { return Ok(None) };
        let position = self.position();
        let text = std::str::from_utf8(self.take(n)?).map_err(|_| DecodeError::Utf8 { position })?;
        Ok(Some(text))
    }

    /// A string, borrowed. Errors as [`Reader::nullable_str`], and [`DecodeError::Null`].
    pub fn str(&mut self, flexible: bool) -> Result<&'a str, DecodeError> {
        match self.nullable_str(flexible)? {
            Some(text) => Ok(text),
            None => Err(self.null("string")),
        }
    }

    /// A nullable string. Errors as [`Reader::nullable_str`].
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>, DecodeError> {
        Ok(self.nullable_str(flexible)?.map(str::to_owned))
    }

    /// A string. Errors as [`Reader::str`].
    pub fn string(&mut self, flexible: bool) -> Result<String, DecodeError> {
        Ok(self.str(flexible)?.to_owned())
    }

    /// A nullable byte sequence (also: records).
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], [`DecodeError::Length`], [`DecodeError::Varint`].
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.length("bytes", false, flexible)? {
            Some(n) => self.take_bytes(n).map(Some),
            None => Ok(None),
        }
    }

    /// A byte sequence. Errors as [`Reader::nullable_bytes`], and [`DecodeError::Null`].
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes, DecodeError> {
        match self.nullable_bytes(flexible)? {
            Some(bytes) => Ok(bytes),
            None => Err(self.null("bytes")),
        }
    }

    #[cold]
    fn null(&self, what: &'static str) -> DecodeError {
        DecodeError::Null { what, position: self.position() }
    }

    /// Number of elements of a nullable array whose elements take at least `element_bytes_min` bytes each.
    ///
    /// # Errors
    /// [`DecodeError::Length`] when the bytes left cannot hold that many.
    pub fn nullable_array_len(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let count = if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i32()?) };
        match usize::try_from(count) {
            Ok(n) if n > self.rest.len() / element_bytes_min.max(1) => Err(self.bad_length("array", count)),
            Ok(n) => Ok(Some(n)),
            Err(_) if count == -1 => Ok(None),
            Err(_) => Err(self.bad_length("array", count)),
        }
    }

    /// Number of elements of an array. Errors as [`Reader::nullable_array_len`], and [`DecodeError::Null`].
    pub fn array_len(&mut self, flexible: bool, element_bytes_min: usize) -> Result<usize, DecodeError> {
        match self.nullable_array_len(flexible, element_bytes_min)? {
            Some(n) => Ok(n),
            None => Err(self.null("array")),
        }
    }

    /// A nullable array. Errors as [`Reader::nullable_array_len`] and those of `element`.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(n) = self.nullable_array_len(flexible, element_bytes_min)? else { return Ok(None) };
        let mut elements = Vec::with_capacity(n.min(PREALLOCATED_MAX));
        for _ in 0..n {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// An array. Errors as [`Reader::nullable_array`], and [`DecodeError::Null`].
    pub fn array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        match self.nullable_array(flexible, element_bytes_min, element)? {
            Some(elements) => Ok(elements),
            None => Err(self.null("array")),
        }
    }

    /// The marker in front of a nullable struct: true = the struct follows.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn struct_present(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? >= 0)
    }

    /// The marker in front of a nullable struct in a tagged field, which is an unsigned varint: 0 = null.
    ///
    /// # Errors
    /// As [`Reader::uvarint`].
    pub fn tagged_struct_present(&mut self) -> Result<bool, DecodeError> {
        Ok(self.uvarint()? > 0)
    }

    /// The tagged fields at the end of a flexible struct. `known` reads the fields it knows from a reader over
    /// exactly the field's content and answers whether it knew the tag; the others are returned.
    ///
    /// # Errors
    /// [`DecodeError::TagOrder`], [`DecodeError::Trailing`] for content that `known` left unread, and others.
    pub fn tagged(
        &mut self,
        known: &mut dyn FnMut(u32, &mut Reader<'a>) -> Result<bool, DecodeError>,
    ) -> Result<TaggedFields, DecodeError> {
        let mut unknown = TaggedFields::default();
        let count = self.uvarint()?;
        if count as usize > self.rest.len() / 2 {
            return Err(self.bad_length("tagged fields", i64::from(count)));
        }
        let mut previous: Option<u32> = None;
        for _ in 0..count {
            let tag = self.uvarint()?;
            if previous.is_some_and(|p| p >= tag) {
                return Err(DecodeError::TagOrder { tag, position: self.position() });
            }
            previous = Some(tag);
            let size = self.uvarint()? as usize;
            let mut content = self.clone();
            content.rest = self.take(size)?;
            // Keep `position` absolute: the field's reader ends where the field does.
            content.len = self.position();
            if known(tag, &mut content)? {
                content.finish()?;
            } else {
                unknown.push(tag, content.take_bytes(content.remaining())?);
            }
        }
        Ok(unknown)
    }

    /// Tagged fields of a struct that knows none.
    ///
    /// # Errors
    /// As [`Reader::tagged`].
    pub fn untagged(&mut self) -> Result<TaggedFields, DecodeError> {
        if let Some((0, tail)) = self.rest.split_first() {
            self.rest = tail;
            return Ok(TaggedFields::default());
        }
        self.tagged(&mut |_, _| Ok(false))
    }
}

/// Tagged fields that the schema does not know, kept as they came; empty for nearly every struct (8 bytes then).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::box_collection, reason = "one word in each of the many structs that never hold any")]
pub struct TaggedFields(Option<Box<Vec<(u32, Bytes)>>>);

impl TaggedFields {
    /// The fields as (tag, content), ascending by tag.
    pub fn as_slice(&self) -> &[(u32, Bytes)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Adds a field; tags must come in ascending order.
    pub fn push(&mut self, tag: u32, content: Bytes) {
        self.0.get_or_insert_default().push((tag, content));
    }
}

/// Collects the tagged fields of a struct while it is encoded.
#[derive(Debug, Default)]
pub struct TagWriter(Vec<(u32, Vec<u8>)>);

impl TagWriter {
    /// Starts with no field.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds field `tag` with the content that `write` appends.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn add(
        &mut self,
        tag: u32,
        write: &mut dyn FnMut(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut content = Vec::new();
        write(&mut content)?;
        self.0.push((tag, content));
        Ok(())
    }

    /// Appends all fields, `unknown` ones included, ascending by tag.
    ///
    /// # Errors
    /// [`EncodeError::DuplicateTag`].
    pub fn finish(mut self, w: &mut Vec<u8>, unknown: &TaggedFields) -> Result<(), EncodeError> {
        if !unknown.is_empty() {
            self.0.extend(unknown.as_slice().iter().map(|(tag, content)| (*tag, content.to_vec())));
        }
        self.0.sort_by_key(|(tag, _)| *tag);
        if let Some([(tag, _), _]) = self.0.array_windows::<2>().find(|[a, b]| a.0 == b.0) {
            return Err(EncodeError::DuplicateTag { tag: *tag });
        }
        put_uvarint(w, wire_len("tagged fields", self.0.len(), u32::MAX as usize)?);
        for (tag, content) in &self.0 {
            put_uvarint(w, *tag);
            put_uvarint(w, wire_len("tagged field", content.len(), u32::MAX as usize)?);
            w.extend_from_slice(content);
        }
        Ok(())
    }
}

/// Appends the tagged fields of a struct that knows none.
///
/// # Errors
/// As [`TagWriter::finish`].
pub fn put_untagged(w: &mut Vec<u8>, unknown: &TaggedFields) -> Result<(), EncodeError> {
    if unknown.is_empty() {
        w.push(0);
        return Ok(());
    }
    TagWriter::new().finish(w, unknown)
}

fn wire_len(what: &'static str, length: usize, max: usize) -> Result<u32, EncodeError> {
    match u32::try_from(length) {
        Ok(n) if length <= max => Ok(n),
        _ => Err(EncodeError::TooLong { what, length }),
    }
}

/// Appends an `int8`.
pub fn put_i8(w: &mut Vec<u8>, value: i8) {
    w.extend_from_slice(&value.to_be_bytes());
}

/// Appends a `bool`.
pub fn put_bool(w: &mut Vec<u8>, value: bool) {
    w.push(u8::from(value));
}

/// Appends an `int16`.
pub fn put_i16(w: &mut Vec<u8>, value: i16) {
    w.extend_from_slice(&value.to_be_bytes());
}

/// Appends a `uint16`.
pub fn put_u16(w: &mut Vec<u8>, value: u16) {
    w.extend_from_slice(&value.to_be_bytes());
}

/// Appends an `int32`.
pub fn put_i32(w: &mut Vec<u8>, value: i32) {
    w.extend_from_slice(&value.to_be_bytes());
}

/// Appends a `uint32`.
pub fn put_u32(w: &mut Vec<u8>, value: u32) {
    w.extend_from_slice(&value.to_be_bytes());
}

/// Appends an `int64`.
pub fn put_i64(w: &mut Vec<u8>, value: i64) {
    w.extend_from_slice(&value.to_be_bytes());
}

/// Appends a `float64`.
pub fn put_f64(w: &mut Vec<u8>, value: f64) {
    w.extend_from_slice(&value.to_be_bytes());
}

/// Appends a `uuid`.
pub fn put_uuid(w: &mut Vec<u8>, value: Uuid) {
    w.extend_from_slice(&value.0);
}

/// Appends an unsigned variable-length integer (1 to 5 bytes).
pub fn put_uvarint(w: &mut Vec<u8>, value: u32) {
    put_uvarlong(w, u64::from(value));
}

/// Appends a zigzag variable-length 32-bit integer.
pub fn put_varint(w: &mut Vec<u8>, value: i32) {
    put_uvarint(w, ((value << 1) ^ (value >> 31)) as u32);
}

/// Appends an unsigned variable-length integer (1 to 10 bytes).
pub fn put_uvarlong(w: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        w.push(value as u8 | 0x80);
        value >>= 7;
    }
    w.push(value as u8);
}

/// Appends a zigzag variable-length 64-bit integer.
pub fn put_varlong(w: &mut Vec<u8>, value: i64) {
    put_uvarlong(w, ((value << 1) ^ (value >> 63)) as u64);
}

/// Bytes that [`put_varlong`] (and for 32-bit values [`put_varint`]) takes for `value`.
pub const fn varlong_len(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (70 - (raw | 1).leading_zeros() as usize) / 7
}

/// Appends a nullable string.
///
/// # Errors
/// [`EncodeError::TooLong`] over [`STRING_BYTES_MAX`].
pub fn put_nullable_string(w: &mut Vec<u8>, value: Option<&str>, flexible: bool) -> Result<(), EncodeError> {
    let Some(text) = value else {
        if flexible {
            w.push(0)
        } else {
            put_i16(w, -1)
        }
        return Ok(());
    };
    let n = wire_len("string", text.len(), STRING_BYTES_MAX)?;
    if flexible {
        put_uvarint(w, n + 1)
    } else {
        put_u16(w, n as u16)
    }
    w.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Appends a string. Errors as [`put_nullable_string`].
pub fn put_string(w: &mut Vec<u8>, value: &str, flexible: bool) -> Result<(), EncodeError> {
    put_nullable_string(w, Some(value), flexible)
}

/// Appends the length of a byte sequence or array (`None` = null), whose content the caller appends.
///
/// # Errors
/// [`EncodeError::TooLong`] over 2³¹ - 2.
pub fn put_len(
    w: &mut Vec<u8>,
    what: &'static str,
    length: Option<usize>,
    flexible: bool,
) -> Result<(), EncodeError> {
    match length {
        None if flexible => w.push(0),
        None => put_i32(w, -1),
        Some(length) => {
            let n = wire_len(what, length, i32::MAX as usize - 1)?;
            if flexible { put_uvarint(w, n + 1) } else { put_u32(w, n) }
        }
    }
    Ok(())
}

/// Appends a nullable byte sequence. Errors as [`put_len`].
pub fn put_nullable_bytes(w: &mut Vec<u8>, value: Option<&[u8]>, flexible: bool) -> Result<(), EncodeError> {
    put_len(w, "bytes", value.map(<[u8]>::len), flexible)?;
    w.extend_from_slice(value.unwrap_or_default());
    Ok(())
}

/// Appends a byte sequence. Errors as [`put_len`].
pub fn put_bytes(w: &mut Vec<u8>, value: &[u8], flexible: bool) -> Result<(), EncodeError> {
    put_nullable_bytes(w, Some(value), flexible)
}

/// Appends an array. Errors as [`put_len`] and those of `element`.
pub fn put_array<T>(
    w: &mut Vec<u8>,
    elements: &[T],
    flexible: bool,
    mut element: impl FnMut(&mut Vec<u8>, &T) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    put_len(w, "array", Some(elements.len()), flexible)?;
    elements.iter().try_for_each(|e| element(w, e))
}

/// Appends a nullable array. Errors as [`put_array`].
pub fn put_nullable_array<T>(
    w: &mut Vec<u8>,
    elements: Option<&[T]>,
    flexible: bool,
    element: impl FnMut(&mut Vec<u8>, &T) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    match elements {
        Some(elements) => put_array(w, elements, flexible, element),
        None => put_len(w, "array", None, flexible),
    }
}
