//! Keys on elliptic curves as Java writes them: without the public half, which the signing library asks for. The
//! certificate has it.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_1: u8 = 0xa1;
/// `1.2.840.10045.2.1`, with tag and length.
const EC_PUBLIC_KEY: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// One DER value: tag, content, the whole, and what follows.
struct Value<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
    rest: &'a [u8],
}

fn read(bytes: &[u8]) -> Option<Value<'_>> {
    let (&[tag, first], after) = bytes.split_first_chunk::<2>()?;
    let (len, after) = match first {
        0..=0x7f => (usize::from(first), after),
        0x81 => (usize::from(*after.first()?), after.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes(*after.first_chunk()?)), after.get(2..)?),
        _ => return None,
    };
    let (content, rest) = after.split_at_checked(len)?;
    let whole = bytes.get(..bytes.len() - rest.len())?;
    Some(Value { tag, content, whole, rest })
}

/// Reads a value that must have a tag.
fn expect(bytes: &[u8], tag: u8) -> Option<Value<'_>> {
    read(bytes).filter(|value| value.tag == tag)
}

fn write(tag: u8, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        len @ 0..=0x7f => out.push(u8::try_from(len).ok()?),
        len @ 0x80..=0xff => out.extend([0x81, u8::try_from(len).ok()?]),
        len => {
            out.push(0x82);
            out.extend(u16::try_from(len).ok()?.to_be_bytes());
        }
    }
    out.extend(content);
    Some(out)
}

/// The public key of a certificate: a BIT STRING.
fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let certificate = expect(certificate, SEQUENCE)?;
    let mut rest = expect(certificate.content, SEQUENCE)?.content;
    if let Some(version) = expect(rest, CONTEXT_0) {
        rest = version.rest;
    }
    // Serial number, algorithm, issuer, validity, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = expect(rest, tag)?.rest;
    }
    let algorithm = expect(expect(rest, SEQUENCE)?.content, SEQUENCE)?;
    Some(expect(algorithm.rest, BIT_STRING)?.whole)
}

/// A private key (PKCS #8) on a curve, with its public half added; `None` for other keys and for those that have it.
pub(super) fn with_public_key(key: &[u8], certificate: &[u8]) -> Option<Vec<u8>> {
    let version = expect(expect(key, SEQUENCE)?.content, INTEGER)?;
    let algorithm = expect(version.rest, SEQUENCE)?;
    if !algorithm.content.starts_with(&EC_PUBLIC_KEY) {
        return None;
    }
    let private = expect(expect(algorithm.rest, OCTET_STRING)?.content, SEQUENCE)?;
    let inner_version = expect(private.content, INTEGER)?;
    let secret = expect(inner_version.rest, OCTET_STRING)?;
    let mut rest = secret.rest;
    if let Some(parameters) = expect(rest, CONTEXT_0) {
        rest = parameters.rest;
    }
    if expect(rest, CONTEXT_1).is_some() {
        return None;
    }
    let public = write(CONTEXT_1, &[public_key(certificate)?])?;
    let private = write(SEQUENCE, &[inner_version.whole, secret.whole, &public])?;
    let private = write(OCTET_STRING, &[&private])?;
    write(SEQUENCE, &[version.whole, algorithm.whole, &private])
}
