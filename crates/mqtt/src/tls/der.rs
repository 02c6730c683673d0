//! The subject of a certificate, from its DER bytes. The TLS library has checked the certificate; here only the way
//! to the subject is followed.

/// One attribute of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    /// Object identifier, as encoded.
    oid: Vec<u8>,
    value: String,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const VERSION: u8 = 0xa0;
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// Attributes by RFC 2253 and OpenSSL's short names for others.
const NAMES: &[(&[u8], &str)] = &[
    (COMMON_NAME, "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 42], "GN"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

/// Takes one element: its tag and content.
fn take<'d>(from: &mut &'d [u8]) -> Option<(u8, &'d [u8])> {
    let (&tag, rest) = from.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        rest = after;
        if bytes.len() > 4 {
            return None;
        }
        bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b))
    };
    let (content, after) = rest.split_at_checked(length)?;
    *from = after;
    Some((tag, content))
}

fn expect<'d>(from: &mut &'d [u8], tag: u8) -> Option<&'d [u8]> {
    take(from).filter(|(t, _)| *t == tag).map(|(_, content)| content)
}

/// Issuer and subject as they are encoded.
pub(crate) fn names(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = certificate;
    let mut certificate = expect(&mut outer, SEQUENCE)?;
    let mut signed = expect(&mut certificate, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        take(&mut signed)?;
    }
    // Serial number and signature algorithm; between the names stands the validity.
    take(&mut signed)?;
    take(&mut signed)?;
    let issuer = expect(&mut signed, SEQUENCE)?;
    take(&mut signed)?;
    Some((issuer, expect(&mut signed, SEQUENCE)?))
}

fn subject(certificate: &[u8]) -> Option<Vec<Vec<Attribute>>> {
    let (_, mut name) = names(certificate)?;
    let mut relative = Vec::new();
    while !name.is_empty() {
        let mut set = expect(&mut name, SET)?;
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let mut pair = expect(&mut set, SEQUENCE)?;
            let oid = expect(&mut pair, OID)?.to_vec();
            let (tag, value) = take(&mut pair)?;
            attributes.push(Attribute { oid, value: text(tag, value)? });
        }
        relative.push(attributes);
    }
    Some(relative)
}

/// A string of one of the kinds that names are made of.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        // BMPString.
        0x1e => {
            let units: Vec<u16> = value.chunks_exact(2).map(|c| u16::from_be_bytes([c[0], c[1]])).collect();
            String::from_utf16(&units).ok()
        }
        // TeletexString: by everybody's habit Latin 1.
        0x14 => Some(value.iter().map(|b| char::from(*b)).collect()),
        _ => std::str::from_utf8(value).ok().map(str::to_owned),
    }
}

/// `use_identity_as_username`: the common name.
pub(crate) fn common_name(certificate: &[u8]) -> Option<String> {
    let subject = subject(certificate)?;
    let found = subject.into_iter().flatten().find(|a| a.oid == COMMON_NAME).map(|a| a.value);
    // A zero byte inside would make one name look like another.
    found.filter(|name| !name.is_empty() && !name.contains('\0'))
}

/// `use_subject_as_username`: the whole subject as RFC 2253 writes it.
pub(crate) fn subject_name(certificate: &[u8]) -> Option<String> {
    let mut subject = subject(certificate)?;
    subject.reverse();
    let one = |a: &Attribute| {
        let name = NAMES.iter().find(|(oid, _)| *oid == a.oid).map(|(_, n)| (*n).to_owned());
        format!("{}={}", name.unwrap_or_else(|| dotted(&a.oid)), escaped(&a.value))
    };
    let parts: Vec<String> =
        subject.iter().map(|set| set.iter().map(one).collect::<Vec<_>>().join("+")).collect();
    Some(parts.join(",")).filter(|s| !s.is_empty())
}

fn dotted(oid: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut n: u64 = 0;
    for byte in oid {
        n = n.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(n);
            n = 0;
        }
    }
    let first = numbers.first().copied().unwrap_or_default();
    let head = (first / 40).min(2);
    let rest = numbers.iter().skip(1).map(u64::to_string);
    [head.to_string(), (first - 40 * head).to_string()].into_iter().chain(rest).collect::<Vec<_>>().join(".")
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::new();
    for (at, c) in value.chars().enumerate() {
        let edge = at == 0 && matches!(c, ' ' | '#') || at == last && c == ' ';
        if edge || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        if c.is_control() {
            c.to_string().bytes().for_each(|b| out.push_str(&format!("\\{b:02X}")));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head = if length < 0x80 {
            vec![tag, length as u8]
        } else {
            vec![tag, 0x82, (length >> 8) as u8, length as u8]
        };
        [head, content.to_vec()].concat()
    }

    fn certificate(attributes: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
        let sets: Vec<u8> = attributes
            .iter()
            .flat_map(|(oid, tag, value)| {
                let pair = [element(OID, oid), element(*tag, value)].concat();
                element(SET, &element(SEQUENCE, &pair))
            })
            .collect();
        let before = [element(VERSION, &[2, 1, 2]), element(2, &[1])].concat();
        let empty = element(SEQUENCE, &[]);
        let signed = [before, empty.clone(), empty.clone(), empty, element(SEQUENCE, &sets)].concat();
        element(SEQUENCE, &element(SEQUENCE, &signed))
    }

    #[test]
    fn names_are_written_as_openssl_does() {
        let der = certificate(&[
            (&[0x55, 4, 6], 0x13, b"GB"),
            (&[0x55, 4, 10], 0x0c, b"Paho, \"Project\""),
            (COMMON_NAME, 0x1e, &[0, b'd', 0, b'1']),
            (&[0x2a, 0x03, 0x04], 0x0c, b" x"),
        ]);
        assert_eq!(common_name(&der).as_deref(), Some("d1"));
        assert_eq!(subject_name(&der).as_deref(), Some("1.2.3.4=\\ x,CN=d1,O=Paho\\, \\\"Project\\\",C=GB"));
    }

    #[test]
    fn no_common_name_and_no_certificate_have_none() {
        assert_eq!(common_name(&certificate(&[(&[0x55, 4, 6], 0x13, b"GB")])), None);
        assert_eq!(common_name(&certificate(&[(COMMON_NAME, 0x0c, b"a\0b")])), None);
        let der = certificate(&[(COMMON_NAME, 0x0c, b"x")]);
        for cut in 0..der.len() {
            assert_eq!(common_name(&der[..cut]), None, "{cut}");
        }
    }
}
