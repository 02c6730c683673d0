/// Why bytes could not be read as what they should be.
///
/// All of them are the sender's fault; the connection (or file) they came from cannot be trusted any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("{needed} more bytes needed at position {position}, {remaining} left")]
    Truncated {
        /// Where the value starts, in bytes from the start of the input.
        position: usize,
        /// Bytes the value still needs.
        needed: usize,
        /// Bytes that are there.
        remaining: usize,
    },
    /// A length or count that is negative, larger than the bytes left could hold, or over the protocol's limit.
    #[error("{what} of {length} at position {position} is impossible")]
    Length {
        /// What was counted: `string`, `bytes`, `array` ….
        what: &'static str,
        /// The length as sent.
        length: i64,
        /// Where the value after the length starts.
        position: usize,
    },
    /// Null where this version has no null.
    #[error("null {what} at position {position} is not allowed")]
    Null {
        /// Type of the value.
        what: &'static str,
        /// Position after the null marker.
        position: usize,
    },
    /// A variable-length integer of more bytes than its type can have.
    #[error("overlong variable-length integer at position {position}")]
    Varint {
        /// Where the integer starts.
        position: usize,
    },
    /// A string that is not UTF-8.
    #[error("string at position {position} is not UTF-8")]
    Utf8 {
        /// Where the string starts.
        position: usize,
    },
    /// Tagged fields that are not in strictly ascending order (KIP-482).
    #[error("tag {tag} at position {position} is out of order")]
    TagOrder {
        /// The offending tag.
        tag: u32,
        /// Position of its content.
        position: usize,
    },
    /// Bytes left over where the value should end.
    #[error("{remaining} bytes left over at position {position}")]
    Trailing {
        /// First byte that does not belong to the value.
        position: usize,
        /// How many there are.
        remaining: usize,
    },
    /// A version that the message's schema does not have.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Name of the message.
        message: &'static str,
        /// Version asked for.
        version: i16,
    },
    /// An API key or record type that the schemas do not have.
    #[error("unknown {what} {key}")]
    UnknownKey {
        /// `API key`, `metadata record type` ….
        what: &'static str,
        /// The key as sent.
        key: i32,
    },
}

/// Why a message cannot be written: always a fault of the program that built it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A version that the message's schema does not have.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Name of the message.
        message: &'static str,
        /// Version asked for.
        version: i16,
    },
    /// A field that this version cannot carry holds something else than its default, and may not be dropped.
    #[error("{field} cannot be sent in version {version}")]
    UnsupportedField {
        /// `Struct.field`.
        field: &'static str,
        /// Version asked for.
        version: i16,
    },
    /// `None` in a field that is not nullable in this version.
    #[error("{field} may not be null in version {version}")]
    Null {
        /// `Struct.field`.
        field: &'static str,
        /// Version asked for.
        version: i16,
    },
    /// A string, byte sequence or array longer than the protocol can say.
    #[error("{what} of length {length} is too long")]
    TooLong {
        /// Type of the value.
        what: &'static str,
        /// Its length.
        length: usize,
    },
    /// An unknown tagged field uses a tag that is known, or tags repeat.
    #[error("tag {tag} is used twice")]
    DuplicateTag {
        /// The tag.
        tag: u32,
    },
}
