//! Reading the body of one packet, writing strings and numbers.

use bytes::BufMut;

use crate::error::{DecodeError, EncodeError};
use crate::frame::{PacketType, VARINT_MAX};
use crate::reason::ReasonCode;
use crate::version::PacketId;

/// Walks over one packet's body. Every error names packet, field and byte.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    packet: PacketType,
    header_len: usize,
    body: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(packet: PacketType, header_len: usize, body: &'a [u8]) -> Self {
        Self { packet, header_len, body, at: 0 }
    }

    pub(crate) fn packet(&self) -> PacketType {
        self.packet
    }

    pub(crate) fn remaining(&self) -> usize {
        self.body.len() - self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Offset of the next byte, from the first byte of the packet.
    pub(crate) fn offset(&self) -> usize {
        self.header_len + self.at
    }

    /// An error with a chosen reason at `at` (from [`Reader::offset`]).
    pub(crate) fn error(
        &self,
        reason: ReasonCode,
        field: &'static str,
        at: usize,
        problem: &'static str,
    ) -> DecodeError {
        DecodeError::Invalid { packet: self.packet, field, at, problem, reason }
    }

    pub(crate) fn malformed(&self, field: &'static str, at: usize, problem: &'static str) -> DecodeError {
        self.error(ReasonCode::MalformedPacket, field, at, problem)
    }

    pub(crate) fn protocol_error(
        &self,
        field: &'static str,
        at: usize,
        problem: &'static str,
    ) -> DecodeError {
        self.error(ReasonCode::ProtocolError, field, at, problem)
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(n);
        match end.and_then(|end| Some((end, self.body.get(self.at..end)?))) {
            Some((end, taken)) => {
                self.at = end;
                Ok(taken)
            }
            None => Err(self.malformed(field, self.offset(), "reaches past the end of the packet")),
        }
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = self.body.get(self.at..).unwrap_or_default();
        self.at = self.body.len();
        rest
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let at = self.offset();
        let taken = self.take(N, field)?;
        taken.try_into().map_err(|_| self.malformed(field, at, "reaches past the end of the packet"))
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let [n] = self.array(field)?;
        Ok(n)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// A variable byte integer in its shortest form.
    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let start = self.offset();
        let mut value = 0u32;
        for i in 0..4 {
            let byte = self.u8(field)?;
            value |= u32::from(byte & 0x7F) << (7 * i);
            if byte & 0x80 == 0 {
                if byte == 0 && i > 0 {
                    return Err(self.malformed(field, start, "is not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(self.malformed(field, start, "is longer than four bytes"))
    }

    /// Binary data: two bytes of length, then so many bytes.
    pub(crate) fn binary(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(field)?;
        self.take(usize::from(len), field)
    }

    /// A UTF-8 string without U+0000.
    pub(crate) fn string(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let start = self.offset();
        let bytes = self.binary(field)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.malformed(field, start, "is not UTF-8"))?;
        if bytes.contains(&0) {
            return Err(self.malformed(field, start, "holds the character U+0000"));
        }
        Ok(text)
    }

    pub(crate) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        let start = self.offset();
        let n = self.u16("packet identifier")?;
        PacketId::new(n).ok_or_else(|| self.protocol_error("packet identifier", start, "is 0"))
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.malformed("end of packet", self.offset(), "bytes follow the last field"))
        }
    }
}

/// Length of a field with a two-byte length in front; checks that it fits.
pub(crate) fn field_len(field: &'static str, bytes: &[u8]) -> Result<usize, EncodeError> {
    if bytes.len() > usize::from(u16::MAX) {
        return Err(EncodeError::FieldTooLong { field, len: bytes.len() });
    }
    Ok(2 + bytes.len())
}

/// Length of a string on the wire; checks that it fits and holds no U+0000.
pub(crate) fn string_len(packet: PacketType, field: &'static str, text: &str) -> Result<usize, EncodeError> {
    if text.as_bytes().contains(&0) {
        return Err(EncodeError::Invalid { packet, field, problem: "holds the character U+0000" });
    }
    field_len(field, text.as_bytes())
}

/// Writes a field whose length [`field_len`] has checked.
pub(crate) fn put_field(out: &mut impl BufMut, bytes: &[u8]) {
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}

/// Checks the sum of a packet's parts.
pub(crate) fn check_len(len: usize) -> Result<usize, EncodeError> {
    if len > VARINT_MAX as usize { Err(EncodeError::PacketTooLong(len)) } else { Ok(len) }
}
