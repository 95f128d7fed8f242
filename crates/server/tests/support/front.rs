//! A proxy that speaks TLS, in front of a server of this machine that does not. Each test that needs one takes this file in
//! by its path.

use std::sync::Arc;

use onsale_services::{Authority, Certificate};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Starts a proxy to a port, whose certificate bears the name `localhost`; gives its address. It runs until the process ends.
pub fn front(authority: &Authority, to: u16) -> String {
    let first = 26_000 + (std::process::id() % 3_000) as u16;
    let bind = |port| std::net::TcpListener::bind(("127.0.0.1", port)).ok();
    let listener = (first..32_700).step_by(7).find_map(bind).unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(Arc::new(config(&authority.certificate("localhost"))));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // One that does not trust us breaks off.
                    let Ok(mut near) = acceptor.accept(stream).await else { return };
                    if let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await {
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
    });
    url
}

fn config(certificate: &Certificate) -> ServerConfig {
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let certificate = CertificateDer::from_pem_slice(certificate.pem.as_bytes()).unwrap();
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}
