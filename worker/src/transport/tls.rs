//! Mutual TLS from files.

use std::path::PathBuf;

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use super::TransportError;

/// The name that every worker's certificate carries.
pub const TLS_NAME: &str = "worker.waterspout";

/// The files of a worker's identity, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Its certificate.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// What the others' certificates are checked against.
    pub ca: PathBuf,
}

impl TlsFiles {
    pub(super) fn read(&self) -> Result<(ServerTlsConfig, ClientTlsConfig), TransportError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| TransportError::ReadTlsFile {
                path: path.clone(),
                source,
            })
        };
        let identity = Identity::from_pem(read(&self.cert)?, read(&self.key)?);
        let ca = Certificate::from_pem(read(&self.ca)?);
        let server = ServerTlsConfig::new()
            .identity(identity.clone())
            .client_ca_root(ca.clone());
        let client = ClientTlsConfig::new()
            .identity(identity)
            .ca_certificate(ca)
            .domain_name(TLS_NAME);
        Ok((server, client))
    }
}
