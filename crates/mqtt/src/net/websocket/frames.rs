//! Frames: headers, masks, fragments, and the answers to control frames.

use std::io::IoSlice;

use bytes::{BufMut, BytesMut};

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Payload of a control frame, at most.
const CONTROL_MAX: usize = 125;
/// Answers that may wait while the peer does not read; beyond it pings are not answered.
const ANSWERS_MAX: usize = 4096;

/// Which side we are: a client masks what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We accepted the connection.
    Server,
    /// We opened it.
    Client,
}

/// A frame that has begun.
#[derive(Clone, Copy, Debug)]
struct Current {
    opcode: u8,
    left: u64,
    mask: [u8; 4],
    /// Payload bytes seen, for the mask.
    at: usize,
}

/// Both directions of one connection.
#[derive(Debug)]
pub struct Frames {
    role: Role,
    current: Option<Current>,
    /// A data message has begun and not ended.
    fragmented: bool,
    control: Vec<u8>,
    closed: bool,
    close_sent: bool,
}

impl Frames {
    /// After the handshake.
    pub fn new(role: Role) -> Self {
        Self { role, current: None, fragmented: false, control: Vec::new(), closed: false, close_sent: false }
    }

    /// Whether the peer has closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes frames from `raw`, adds their payload to `payload` (answers how much) and what has to be answered to
    /// `answers`.
    ///
    /// # Errors
    /// What is wrong; a close frame that says so is in `answers`.
    pub fn decode(
        &mut self,
        raw: &mut BytesMut,
        payload: &mut BytesMut,
        answers: &mut BytesMut,
    ) -> Result<usize, &'static str> {
        let before = payload.len();
        while !self.closed {
            let frame = match self.current {
                Some(frame) => frame,
                None => match self.header(raw) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err((code, why)) => {
                        self.close_with(code, answers);
                        return Err(why);
                    }
                },
            };
            self.current = self.body(frame, raw, payload, answers);
            if self.current.is_some() {
                break;
            }
        }
        if self.closed {
            raw.clear();
        }
        Ok(payload.len() - before)
    }

    fn header(&mut self, raw: &mut BytesMut) -> Result<Option<Current>, (u16, &'static str)> {
        let protocol = |why| Err((1002, why));
        let (Some(first), Some(second)) = (raw.first().copied(), raw.get(1).copied()) else {
            return Ok(None);
        };
        let (fin, opcode) = (first & FIN != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return protocol("WebSocket frame with reserved bits");
        }
        let masked = second & MASKED != 0;
        if masked != (self.role == Role::Server) {
            return protocol("WebSocket frame with the wrong masking");
        }
        let short = second & 0x7f;
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let header_len = 2 + extended + if masked { 4 } else { 0 };
        let Some(header) = raw.get(..header_len) else { return Ok(None) };
        let length = header.get(2..2 + extended).unwrap_or_default();
        let length = length.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let left = if extended == 0 { u64::from(short) } else { length };
        let shortest = match extended {
            2 => left > 125,
            8 => left > 0xffff && left < 1 << 63,
            _ => true,
        };
        if !shortest {
            return protocol("WebSocket frame with a length that is not the shortest");
        }
        let mask = header.get(2 + extended..).and_then(|m| m.try_into().ok()).unwrap_or_default();
        match opcode {
            CLOSE | PING | PONG if !fin || short > 125 => {
                return protocol("WebSocket control frame is too large");
            }
            CLOSE | PING | PONG => self.control.clear(),
            CONTINUATION if !self.fragmented => return protocol("WebSocket continuation of nothing"),
            BINARY if self.fragmented => return protocol("WebSocket message inside another"),
            CONTINUATION | BINARY => self.fragmented = !fin,
            // [MQTT-6.0.0-1]
            1 => return Err((1003, "WebSocket text frame")),
            _ => return protocol("WebSocket frame of an unknown kind"),
        }
        let _ = raw.split_to(header_len);
        Ok(Some(Current { opcode, left, mask, at: 0 }))
    }

    /// Takes what there is of a frame's payload; `None` when the frame is complete.
    fn body(
        &mut self,
        mut frame: Current,
        raw: &mut BytesMut,
        payload: &mut BytesMut,
        answers: &mut BytesMut,
    ) -> Option<Current> {
        let n = usize::try_from(frame.left).unwrap_or(usize::MAX).min(raw.len());
        let mut piece = raw.split_to(n);
        if frame.mask != [0; 4] {
            for (i, byte) in piece.iter_mut().enumerate() {
                *byte ^= frame.mask[(frame.at + i) % 4];
            }
        }
        frame.at = (frame.at + n) % 4;
        frame.left -= n as u64;
        if frame.opcode < CLOSE {
            payload.extend_from_slice(&piece);
        } else {
            self.control.extend_from_slice(&piece);
        }
        if frame.left > 0 {
            return Some(frame);
        }
        match frame.opcode {
            PING if answers.len() < ANSWERS_MAX => {
                let echo = std::mem::take(&mut self.control);
                self.frame(PONG, &[IoSlice::new(&echo)], answers);
            }
            CLOSE => {
                self.closed = true;
                let code = match self.control.get(..2) {
                    Some(&[high, low]) => u16::from_be_bytes([high, low]),
                    _ => 1000,
                };
                self.close_with(code, answers);
            }
            _ => {}
        }
        None
    }

    /// Wraps bytes in one binary frame; answers how many they are.
    pub fn binary(&mut self, slices: &[IoSlice<'_>], out: &mut BytesMut) -> usize {
        self.frame(BINARY, slices, out)
    }

    /// The closing frame, once.
    pub fn close(&mut self, out: &mut BytesMut) {
        self.close_with(1000, out);
    }

    fn close_with(&mut self, code: u16, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.close_sent, true) {
            self.frame(CLOSE, &[IoSlice::new(&code.to_be_bytes())], out);
        }
    }

    fn frame(&mut self, opcode: u8, slices: &[IoSlice<'_>], out: &mut BytesMut) -> usize {
        let length: usize = slices.iter().map(|s| s.len()).sum();
        let masked = if self.role == Role::Client { MASKED } else { 0 };
        out.reserve(length + 14);
        out.put_u8(FIN | opcode);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if length <= CONTROL_MAX => out.put_u8(masked | short),
            (_, Ok(short)) => {
                out.put_u8(masked | 126);
                out.put_u16(short);
            }
            _ => {
                out.put_u8(masked | 127);
                out.put_u64(length as u64);
            }
        }
        let mut mask = [0u8; 4];
        if masked != 0 {
            // A mask only keeps proxies from mistaking payload for requests; without randomness it is zero.
            let _ = getrandom::fill(&mut mask);
            out.put_slice(&mask);
        }
        let start = out.len();
        slices.iter().for_each(|s| out.put_slice(s));
        if mask != [0; 4] {
            for (i, byte) in out.iter_mut().skip(start).enumerate() {
                *byte ^= mask[i % 4];
            }
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(frames: &mut Frames, bytes: &[u8]) -> (Result<usize, &'static str>, Vec<u8>, Vec<u8>) {
        let (mut raw, mut payload, mut answers) = (BytesMut::from(bytes), BytesMut::new(), BytesMut::new());
        let result = frames.decode(&mut raw, &mut payload, &mut answers);
        (result, payload.to_vec(), answers.to_vec())
    }

    #[test]
    fn what_a_client_frames_a_server_reads_at_any_cut() {
        for length in [0usize, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let data: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut wire = BytesMut::new();
            let mut client = Frames::new(Role::Client);
            assert_eq!(client.binary(&[IoSlice::new(&data)], &mut wire), length);
            for step in [1usize, 7, 4096, usize::MAX] {
                if step == 1 && length > 1000 {
                    continue;
                }
                let mut server = Frames::new(Role::Server);
                let (mut raw, mut got, mut answers) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
                for piece in wire.chunks(step.min(wire.len().max(1))) {
                    raw.extend_from_slice(piece);
                    server.decode(&mut raw, &mut got, &mut answers).unwrap();
                }
                assert!(got == data && raw.is_empty() && answers.is_empty(), "{length} by {step}");
            }
        }
    }

    #[test]
    fn fragments_pings_and_close_are_answered() {
        let mut server = Frames::new(Role::Server);
        let zero = [0u8; 4];
        let frame =
            |head: u8, payload: &[u8]| [&[head, MASKED | payload.len() as u8][..], &zero, payload].concat();
        let bytes =
            [frame(0x02, b"ab"), frame(0x89, b"p"), frame(0x80, b"c"), frame(0x88, &[3, 232])].concat();
        let (result, payload, answers) = decode(&mut server, &bytes);
        assert_eq!((result, payload.as_slice()), (Ok(3), &b"abc"[..]));
        assert_eq!(answers, [&[0x8a, 1, b'p'][..], &[0x88, 2, 3, 232]].concat());
        assert!(server.is_closed());
    }

    #[test]
    fn what_breaks_the_rules_is_refused_with_a_close_frame() {
        let cases: [(&str, &[u8], u16); 8] = [
            ("not masked", &[0x82, 0], 1002),
            ("reserved bit", &[0xc2, 0x80, 0, 0, 0, 0], 1002),
            ("text", &[0x81, 0x80, 0, 0, 0, 0], 1003),
            ("continuation of nothing", &[0x80, 0x80, 0, 0, 0, 0], 1002),
            ("long ping", &[0x89, 0xfe, 0, 126, 0, 0, 0, 0], 1002),
            ("fragmented ping", &[0x09, 0x80, 0, 0, 0, 0], 1002),
            ("length not the shortest", &[0x82, 0xfe, 0, 5, 0, 0, 0, 0], 1002),
            ("unknown kind", &[0x83, 0x80, 0, 0, 0, 0], 1002),
        ];
        for (what, bytes, code) in cases {
            let (result, _, answers) = decode(&mut Frames::new(Role::Server), bytes);
            let [high, low] = code.to_be_bytes();
            assert!(result.is_err(), "{what}");
            assert_eq!(answers, [0x88, 2, high, low], "{what}");
        }
    }
}
