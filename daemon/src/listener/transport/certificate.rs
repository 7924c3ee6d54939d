//! The name in a client's certificate that becomes its user name.
//!
//! Of X.509 (RFC 5280) this reads only what it needs. Whether a certificate is good was decided before, by the TLS
//! library; here it is bytes like any others.

use tidegate_config::Identity;

/// The longest name that becomes a user name, in bytes.
const NAME_BYTES_MAX: usize = 256;

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const EXTENSIONS: u8 = 0xa3;
const OCTET_STRING: u8 = 0x04;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The name of a certificate (in DER). `None` if it has none of that kind, or one that could be no user name.
pub(super) fn name(certificate: &[u8], identity: Identity) -> Option<Box<str>> {
    let mut body = Der(Der(certificate).take_value(SEQUENCE)?).inside(SEQUENCE)?;
    let found = match identity {
        Identity::CommonName => body.subject().and_then(common_name),
        Identity::AlternativeName => body.extensions().and_then(alternative_name),
    };
    let name = str::from_utf8(found?).ok()?;
    let is_good = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    is_good.then(|| name.into())
}

/// When a certificate (in DER) ends, in ms since 1970.
pub(crate) fn ends_ms(certificate: &[u8]) -> Option<i64> {
    let mut body = Der(Der(certificate).take_value(SEQUENCE)?).inside(SEQUENCE)?;
    let (_, validity) = body.nth_after_version(3)?;
    // After the beginning, the end.
    let (tag, end) = Der(validity).nth(1)?;
    time_ms(tag, end)
}

/// A UTCTime, whose years are 1950 to 2049, or a GeneralizedTime (RFC 5280, 4.1.2.5).
fn time_ms(tag: u8, text: &[u8]) -> Option<i64> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let full = match tag {
        UTC_TIME => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", full).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// The last common name, which is the most specific one.
fn common_name(subject: Der<'_>) -> Option<&[u8]> {
    const STRINGS: [u8; 3] = [0x0c, 0x13, 0x16];
    let mut found = None;
    for (_, set) in subject {
        let mut attribute = Der(set).inside(SEQUENCE)?;
        if attribute.take_value(OBJECT_IDENTIFIER)? == COMMON_NAME {
            found = attribute.next().filter(|(tag, _)| STRINGS.contains(tag)).map(|(_, name)| name);
        }
    }
    found
}

/// The first DNS name, mail address or URI.
fn alternative_name(extensions: Der<'_>) -> Option<&[u8]> {
    const NAMES: [u8; 3] = [0x81, 0x82, 0x86];
    for (_, extension) in extensions {
        let mut extension = Der(extension);
        if extension.take_value(OBJECT_IDENTIFIER)? != ALTERNATIVE_NAME {
            continue;
        }
        // `critical` may stand before the value.
        let (_, value) = extension.find(|(tag, _)| *tag == OCTET_STRING)?;
        return Der(value).inside(SEQUENCE)?.find(|(tag, _)| NAMES.contains(tag)).map(|(_, name)| name);
    }
    None
}

/// Values of DER, one behind the other (X.690).
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The contents of the next value, which has to have this tag.
    fn take_value(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }

    /// The values in the next one.
    fn inside(mut self, tag: u8) -> Option<Der<'a>> {
        self.take_value(tag).map(Der)
    }

    /// In a TBSCertificate: [version], serial number, signature, issuer, validity, then the subject.
    fn subject(&mut self) -> Option<Der<'a>> {
        self.nth_after_version(3)?;
        self.take_value(SEQUENCE).map(Der)
    }

    /// The value of this number from the serial number on, which a version may stand before.
    fn nth_after_version(&mut self, number: usize) -> Option<(u8, &'a [u8])> {
        const VERSION: u8 = 0xa0;
        let (tag, _) = self.next()?;
        self.nth(if tag == VERSION { number } else { number - 1 })
    }

    fn extensions(&mut self) -> Option<Der<'a>> {
        let (_, extensions) = self.find(|(tag, _)| *tag == EXTENSIONS)?;
        Der(extensions).inside(SEQUENCE)
    }
}

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    /// The next value: its tag and its contents. `None` at the end, or where there is no DER.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }
}

#[cfg(test)]
mod tests {
    use super::name;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};
    use tidegate_config::Identity::{AlternativeName, CommonName};

    fn certificate(common_name: Option<&str>, alternatives: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "plant");
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = alternatives;
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn names_are_found() {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let address = SanType::IpAddress("127.0.0.1".parse().unwrap());
        let mail = SanType::Rfc822Name("pump@plant".try_into().unwrap());
        let both = certificate(Some("pump-7 é"), vec![address.clone(), dns("pump-7.plant"), mail.clone()]);
        assert_eq!(name(&both, CommonName).as_deref(), Some("pump-7 é"));
        assert_eq!(name(&both, AlternativeName).as_deref(), Some("pump-7.plant"));
        let by_mail = certificate(None, vec![mail]);
        assert_eq!(name(&by_mail, AlternativeName).as_deref(), Some("pump@plant"));
        assert_eq!(name(&by_mail, CommonName), None);
        assert_eq!(name(&certificate(Some("x"), vec![address]), AlternativeName), None);
        assert_eq!(name(&certificate(Some("x"), vec![]), AlternativeName), None);
    }

    #[test]
    fn names_that_could_be_no_user_names_are_none() {
        for bad in [String::new(), "a\nb".to_owned(), "\0".to_owned(), "x".repeat(257)] {
            assert_eq!(name(&certificate(Some(&bad), vec![]), CommonName), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (name(&noise, CommonName), name(&noise, AlternativeName));
        }

        #[test]
        fn a_damaged_certificate_is_taken(at in 0_usize..600, value: u8) {
            let mut bytes = certificate(Some("pump"), vec![SanType::DnsName("a.b".try_into().unwrap())]);
            let length = bytes.len();
            bytes[at % length] = value;
            let _ = (name(&bytes, CommonName), name(&bytes, AlternativeName));
            bytes.truncate(at % length);
            let _ = (name(&bytes, CommonName), name(&bytes, AlternativeName));
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms() {
        for (year, ms) in [(2031, 1_925_078_400_000), (2051, 2_556_230_400_000)] {
            let mut parameters = CertificateParams::new(["a".to_owned()]).unwrap();
            parameters.not_after = rcgen::date_time_ymd(year, 1, 2);
            let key = KeyPair::generate().unwrap();
            let certificate = parameters.self_signed(&key).unwrap();
            assert_eq!(super::ends_ms(certificate.der()), Some(ms), "{year}");
        }
        assert_eq!(super::ends_ms(b""), None);
        for (tag, text) in
            [(0x17, "991301000000Z"), (0x18, "2030"), (0x16, "300101000000Z"), (0x17, "3001010000")]
        {
            assert_eq!(super::time_ms(tag, text.as_bytes()), None, "{text}");
        }
    }
}
