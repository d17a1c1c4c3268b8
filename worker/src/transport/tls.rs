//! Mutual TLS from files, which are read again for each new connection.
//!
//! Owns: who this worker is and whom it trusts, the check that a caller is of this topology. Leaves to others: connections
//! ([`super::secured`], [`super::grpc`]), who makes the files (`waterspout run`, or the operator). Invariants: both ends check the
//! whole certificate and the name in it, of each connection; files that cannot be used change nothing; a connection that is open
//! goes on, whatever becomes of the files.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tonic::transport::{Certificate, ClientTlsConfig};

use super::TransportError;

/// The name that workers' certificates carry if nothing else is said.
pub const TLS_NAME: &str = "worker.waterspout";

/// The files of a worker's identity, in PEM, and whom it talks to.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Its certificate.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// What the others' certificates are checked against: one root or more.
    pub ca: PathBuf,
    /// The name that the others' certificates must carry.
    pub name: String,
}

/// What a worker shows to others and checks of them, as its files say now.
pub(super) struct Identity {
    files: TlsFiles,
    now: Mutex<Arc<Loaded>>,
}

/// What the files said when they were read.
pub(super) struct Loaded {
    texts: Texts,
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: ClientTlsConfig,
}

#[derive(PartialEq, Eq)]
struct Texts {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// If they cannot be read, or used.
    pub(super) fn open(files: &TlsFiles) -> Result<Arc<Self>, TransportError> {
        let loaded = Loaded::new(files.texts()?, &files.name).map_err(TransportError::UseTlsFiles)?;
        Ok(Arc::new(Self {
            files: files.clone(),
            now: Mutex::new(Arc::new(loaded)),
        }))
    }

    /// What holds for a connection that begins now.
    pub(super) fn now(&self) -> Arc<Loaded> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        match self.files.texts() {
            Ok(texts) if texts == now.texts => {}
            Ok(texts) => match Loaded::new(texts, &self.files.name) {
                Ok(loaded) => {
                    *now = Arc::new(loaded);
                    tracing::info!("goes on with another certificate");
                }
                // They may be replaced while they are read; whoever connects next reads them again.
                Err(error) => {
                    tracing::warn!(%error, "cannot use the new certificate: stays with the one before");
                }
            },
            Err(error) => {
                let reason = crate::worker::chain(&error);
                tracing::warn!(reason, "cannot read the certificate: stays with the one before");
            }
        }
        Arc::clone(&now)
    }
}

impl TlsFiles {
    fn texts(&self) -> Result<Texts, TransportError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| TransportError::ReadTlsFile {
                path: path.clone(),
                source,
            })
        };
        Ok(Texts {
            cert: read(&self.cert)?,
            key: read(&self.key)?,
            ca: read(&self.ca)?,
        })
    }
}

impl Loaded {
    fn new(texts: Texts, name: &str) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = server(&texts, name, provider)?;
        let identity = tonic::transport::Identity::from_pem(&texts.cert, &texts.key);
        let client = ClientTlsConfig::new()
            .identity(identity)
            .ca_certificate(Certificate::from_pem(&texts.ca))
            .domain_name(name);
        Ok(Self {
            texts,
            server: Arc::new(server),
            client,
        })
    }
}

fn wrong(error: impl std::fmt::Display) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.map_err(wrong)
}

/// How connections of others are taken: each is checked as a whole, so none takes up the session of another.
fn server(texts: &Texts, name: &str, provider: Arc<CryptoProvider>) -> Result<ServerConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for root in certificates(&texts.ca)? {
        roots.add(root)?;
    }
    let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(wrong)?;
    let kin = Kin {
        chain,
        name: ServerName::try_from(name.to_owned()).map_err(wrong)?,
    };
    let key = PrivateKeyDer::from_pem_slice(&texts.key).map_err(wrong)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(kin))
        .with_single_cert(certificates(&texts.cert)?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Lets in whose certificate is of a root that is trusted, and carries the topology's name.
#[derive(Debug)]
struct Kin {
    chain: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl ClientCertVerifier for Kin {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// What TLS itself has against a connection, if it is that which failed.
pub(super) fn fault<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref() {
            return Some(fault);
        }
        // An I/O error gives its cause's cause as its cause.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if let Some(inner) = inner {
            return fault(inner);
        }
        next = error.source();
    }
    None
}
