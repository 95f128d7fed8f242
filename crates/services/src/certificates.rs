//! Certificates for servers that speak TLS, signed by an authority that is made here and that nobody else knows.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::tools::User;

/// An authority.
pub struct Authority {
    /// Its own certificate in PEM: whoever has it in `SSL_CERT_FILE` trusts what it signs, and nothing else.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate in PEM.
    pub pem: String,
    /// Its private key in PEM.
    pub key: String,
    /// The authority's own certificate in PEM.
    pub authority: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Another one each time.
    ///
    /// # Panics
    /// Where the machine has no randomness.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is no wrong name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // One that were called as what it signs would pass for one that signs itself.
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("a certificate can be made").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Signs a certificate for a server with this name or IP address.
    ///
    /// # Panics
    /// Where the name is none.
    pub fn certificate(&self, name: &str) -> Certificate {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let signed = params.signed_by(&key, &self.issuer).expect("an authority can sign");
        Certificate { pem: signed.pem(), key: key.serialize_pem(), authority: self.pem.clone() }
    }

    /// Writes its certificate into a folder, for `SSL_CERT_FILE`.
    ///
    /// # Panics
    /// Where that fails.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("authority.pem");
        fs::write(&file, &self.pem).expect("the folder can be written to");
        file
    }
}

impl Certificate {
    /// Writes `server.pem`, `server.key`, which only its owner may read, and `authority.pem`.
    pub(crate) fn write(&self, folder: &Path, owner: Option<&User>) {
        for (name, text) in [
            ("server.pem", &self.pem),
            ("server.key", &self.key),
            ("authority.pem", &self.authority),
        ] {
            let file = folder.join(name);
            let mut open = fs::OpenOptions::new();
            let made = open.write(true).create_new(true).mode(0o600).open(&file);
            let written = made.and_then(|mut made| made.write_all(text.as_bytes()));
            written.expect("the folder is our own");
            if let Some(owner) = owner {
                owner.give(&file);
            }
        }
    }
}
