//! Certificates for the workers of one run: an authority that is forgotten at once, and one leaf for all of them.

use std::path::Path;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use waterspout_worker::transport::{TLS_NAME, TlsFiles};

/// Makes the files `ca.pem`, `cert.pem` and `key.pem` in `directory`.
///
/// # Errors
/// If they cannot be written.
pub fn make(directory: &Path) -> anyhow::Result<TlsFiles> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority
        .distinguished_name
        .push(DnType::CommonName, "waterspout local run");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut leaf = CertificateParams::new(vec![TLS_NAME.to_owned()])?;
    leaf.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    let cert = leaf.signed_by(&key, &authority)?;
    let files = TlsFiles {
        cert: directory.join("cert.pem"),
        key: directory.join("key.pem"),
        ca: directory.join("ca.pem"),
        name: TLS_NAME.to_owned(),
    };
    let contents = [
        (&files.cert, cert.pem()),
        (&files.key, key.serialize_pem()),
        (&files.ca, authority.pem()),
    ];
    for (path, text) in contents {
        // The run's directory belongs to this user alone.
        std::fs::write(path, text).with_context(|| format!("write '{}'", path.display()))?;
    }
    Ok(files)
}
