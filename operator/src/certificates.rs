//! Certificates: roots, leaves, and what is to be known of those that are there.
//!
//! Owns: their form, making them, reading them back. Leaves to others: when and by whom ([`crate::plan::identity`]), where they are
//! kept ([`crate::identity`]). Invariants: keys are ECDSA P-256; what is read from outside is checked as a worker checks it, and
//! what cannot be used is none.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use crate::plan::identity::{BACKDATE, DOMAIN, LeafFacts, RootFacts};

/// What roots are called. All have one name, so that a leaf is checked against each that is trusted.
const ROOT_NAME: &str = "Waterspout topologies";

/// A root with its key.
pub(crate) struct Root {
    pub(crate) facts: RootFacts,
    /// In PEM.
    pub(crate) cert: String,
    pub(crate) key: String,
    der: CertificateDer<'static>,
}

impl Root {
    /// A new one.
    pub(crate) fn make(now: Timestamp, lifetime: Duration) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let cert = root_params(now, lifetime).self_signed(&key)?;
        Self::read(&cert.pem(), &key.serialize_pem()).ok_or(rcgen::Error::CouldNotParseCertificate)
    }

    /// One that is there. `None` if it is none, or the key is not its own.
    fn read(cert: &str, key: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(cert.as_bytes()).ok()?;
        let (made, ends) = validity(&der)?;
        let root = Self {
            facts: RootFacts {
                id: id(&der),
                made,
                ends,
            },
            cert: cert.to_owned(),
            key: key.to_owned(),
            der,
        };
        // Whether it can sign is seen by a leaf of it.
        let (leaf, leaf_key) = root.issue(DOMAIN, made, Duration::from_secs(1)).ok()?;
        leaf_facts(&leaf, &leaf_key, DOMAIN, std::slice::from_ref(&root))?.root?;
        Some(root)
    }

    /// All that can be read, the oldest first. Certificates and keys are in the same order.
    pub(crate) fn read_all(certs: &str, keys: &str) -> Vec<Self> {
        let pairs = blocks(certs).into_iter().zip(blocks(keys));
        let mut roots: Vec<Self> = pairs.filter_map(|(cert, key)| Self::read(cert, key)).collect();
        roots.sort_by_key(|root| root.facts.made);
        roots.dedup_by(|one, other| one.facts.id == other.facts.id);
        roots
    }

    /// A leaf for `name`, and its key.
    pub(crate) fn issue(
        &self,
        name: &str,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<(String, String), rcgen::Error> {
        let root = root_params(self.facts.made, Duration::ZERO);
        let issuer = Issuer::new(root, KeyPair::from_pem(&self.key)?);
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name = called("Waterspout worker");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let ends = (now + lifetime).min(self.facts.ends);
        params.not_before = date_time_ymd(1970, 1, 1) + since_1970(now - BACKDATE);
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970(ends);
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &issuer)?;
        Ok((cert.pem(), key.serialize_pem()))
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

fn root_params(made: Timestamp, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name = called(ROOT_NAME);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // It is good for nothing else, whoever gets hold of it.
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(DOMAIN.to_owned())],
        excluded_subtrees: Vec::new(),
    });
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970(made - BACKDATE);
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(made + lifetime);
    params
}

/// All certificates, as one file.
pub(crate) fn bundle(roots: &[Root]) -> String {
    roots.iter().map(|root| root.cert.as_str()).collect()
}

/// The roots in such a file, by id; nothing if it is none.
pub(crate) fn ids(bundle: &str) -> Vec<String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle.as_bytes()).collect();
    all.unwrap_or_default().iter().map(|der| id(der)).collect()
}

/// What is to be known of a leaf for `name`. `None` if it is none, or the key is not its own.
pub(crate) fn leaf_facts(cert: &str, key: &str, name: &str, roots: &[Root]) -> Option<LeafFacts> {
    let der = CertificateDer::from_pem_slice(cert.as_bytes()).ok()?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).ok()?;
    CertifiedKey::from_der(vec![der.clone()], key, &default_provider()).ok()?;
    let name = ServerName::try_from(name).ok()?;
    verify_server_name(&ParsedCertificate::try_from(&der).ok()?, &name).ok()?;
    let (made, ends) = validity(&der)?;
    let root = roots.iter().find(|root| is_of(&der, &root.der, made));
    Some(LeafFacts {
        made,
        ends,
        root: root.map(|root| root.facts.id.clone()),
    })
}

/// Whether a root has signed a leaf that was made then.
fn is_of(leaf: &CertificateDer<'_>, root: &CertificateDer<'_>, made: Timestamp) -> bool {
    let mut store = RootCertStore::empty();
    if store.add(root.clone().into_owned()).is_err() {
        return false;
    }
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build();
    let then = UnixTime::since_unix_epoch(since_1970(made));
    verifier.is_ok_and(|verifier| verifier.verify_client_cert(leaf, &[], then).is_ok())
}

fn id(der: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(der))
}

/// The blocks of a PEM file, each with its first and its last line.
fn blocks(pem: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut rest = pem;
    while let Some(begin) = rest.find("-----BEGIN ") {
        rest = &rest[begin..];
        let end = rest
            .find("-----END ")
            .and_then(|at| Some(at + rest[at..].find('\n')? + 1));
        let (block, after) = rest.split_at(end.unwrap_or(rest.len()));
        blocks.push(block);
        rest = after;
    }
    blocks
}

/// In whole seconds, as certificates have it.
fn since_1970(at: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0))
}

/// When a certificate was made, and until when it is valid.
fn validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(der).filter(|element| element.0 == SEQUENCE)?;
    let (_, mut rest, _) = element(certificate).filter(|element| element.0 == SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // The serial number, the kind of signature, the issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest).filter(|element| element.0 == SEQUENCE)?;
    let (kind, text, rest) = element(validity)?;
    let made = moment(kind, text)? + BACKDATE;
    let (kind, text, _) = element(rest)?;
    Some((made, moment(kind, text)?))
}

/// The tag and the content of an element of DER, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&length, mut rest) = rest.split_first()?;
    let mut size = usize::from(length);
    if length >= 0x80 {
        let (digits, after) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        size = digits
            .iter()
            .fold(0, |size, &digit| size << 8 | usize::from(digit));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(size)?;
    Some((tag, content, rest))
}

/// A moment, as certificates write it: with two digits of the year up to 2049, or with four.
fn moment(kind: u8, text: &[u8]) -> Option<Timestamp> {
    const SHORT: u8 = 0x17;
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    let text = match kind {
        SHORT => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        _ => text.to_owned(),
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let (date, clock) = (
        (part(0, 4)?, part(4, 6)?, part(6, 8)?),
        (part(8, 10)?, part(10, 12)?, part(12, 14)?),
    );
    let written = format!(
        "{}-{}-{}T{}:{}:{}Z",
        date.0, date.1, date.2, clock.0, clock.1, clock.2
    );
    written.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::identity::name_of;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Timestamp {
        "2026-11-30T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn what_is_made_is_read_back_as_it_is() {
        let (one, other) = (
            Root::make(now(), DAY * 365),
            Root::make(now() + DAY, DAY * 365 * 30),
        );
        let (one, other) = (one.expect("a root"), other.expect("a root"));
        assert_eq!((one.facts.made, one.facts.ends), (now(), now() + DAY * 365));
        // Beyond 2049 years have four digits.
        assert_eq!(other.facts.ends, now() + DAY + DAY * 365 * 30);
        let both = [one, other];
        let keys: String = both.iter().map(|root| root.key.as_str()).collect();
        let read = Root::read_all(&bundle(&both), &keys);
        assert!(
            read.iter()
                .map(|root| &root.facts)
                .eq(both.iter().map(|root| &root.facts))
        );
        assert_eq!(
            ids(&bundle(&both)),
            [both[0].facts.id.clone(), both[1].facts.id.clone()]
        );

        let name = name_of("words", "shop");
        let (cert, key) = both[1].issue(&name, now() + DAY, DAY * 7).expect("a leaf");
        let facts = leaf_facts(&cert, &key, &name, &both).expect("it can be used");
        assert_eq!((facts.made, facts.ends), (now() + DAY, now() + DAY * 8));
        assert_eq!(facts.root.as_ref(), Some(&both[1].facts.id));
        assert_eq!(
            leaf_facts(&cert, &key, &name, &both[..1])
                .expect("it can be used")
                .root,
            None
        );
        // It ends no later than its root.
        let (cert, key) = both[0].issue(&name, now() + DAY * 364, DAY * 7).expect("a leaf");
        let facts = leaf_facts(&cert, &key, &name, &both).expect("it can be used");
        assert_eq!(facts.ends, both[0].facts.ends);
    }

    #[test]
    fn what_cannot_be_used_is_none() {
        let root = Root::make(now(), DAY).expect("a root");
        let name = name_of("words", "shop");
        let (cert, key) = root.issue(&name, now(), DAY).expect("a leaf");
        let (_, other) = root.issue(&name, now(), DAY).expect("a leaf");
        let roots = [root];
        assert_eq!(leaf_facts(&cert, &other, &name, &roots), None);
        assert_eq!(leaf_facts(&cert, &key, &name_of("words", "search"), &roots), None);
        assert_eq!(leaf_facts("", &key, &name, &roots), None);
        assert_eq!(leaf_facts(&cert, "rubbish", &name, &roots), None);
        assert_eq!(leaf_facts(&key, &cert, &name, &roots), None);
        for (certs, keys) in [
            ("", ""),
            ("rubbish", "rubbish"),
            (roots[0].cert.as_str(), ""),
            (roots[0].cert.as_str(), key.as_str()),
            (cert.as_str(), key.as_str()),
            (&roots[0].cert[..200], roots[0].key.as_str()),
        ] {
            assert!(Root::read_all(certs, keys).is_empty(), "{certs}");
        }
        assert!(ids(&roots[0].cert[..200]).is_empty());
    }

    #[test]
    fn der_of_any_length_is_read_or_refused() {
        let der = CertificateDer::from_pem_slice(Root::make(now(), DAY).expect("a root").cert.as_bytes());
        let der = der.expect("PEM");
        assert!(validity(&der).is_some());
        for length in 0..der.len() {
            assert_eq!(validity(&der[..length]), None, "{length} bytes");
        }
    }
}
