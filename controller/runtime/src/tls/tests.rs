use super::*;
use crate::certificates::{Authority, Leaf, Pair, Usage};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

fn leaf(common_name: &str, usage: Usage) -> Leaf {
    Leaf {
        common_name: common_name.into(),
        organizations: vec!["system:masters".into()],
        dns_names: vec!["k3k-dev".into()],
        ip_addresses: vec!["127.0.0.1".parse().unwrap()],
        usages: vec![usage],
        lifetime: Duration::from_secs(3600),
    }
}

struct Fixture {
    server_ca: Authority,
    client_ca: Authority,
    certificate: ServerCertificate,
    address: SocketAddr,
}

/// A server that answers `/` with who called.
async fn serve() -> Fixture {
    let (server_ca, client_ca) =
        (Authority::generate("server-ca").unwrap(), Authority::generate("client-ca").unwrap());
    let pair = server_ca.issue(&leaf("first", Usage::Server)).unwrap();
    let certificate = ServerCertificate::from_pem(&pair.certificate, &pair.key).unwrap();
    let auth = ClientAuth::Optional { ca_pem: client_ca.certificate_pem().to_owned() };
    let config = server_config(&certificate, auth, &[b"http/1.1"]).unwrap();
    let listener = TlsListener::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route(
        "/",
        get(|ConnectInfo(peer): ConnectInfo<Peer>| async move {
            match peer.certificate {
                Some(who) => format!("{} of {}", who.common_name, who.organizations.join(",")),
                None => "nobody".to_owned(),
            }
        }),
    );
    tokio::spawn(
        async move { axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()).await },
    );
    Fixture { server_ca, client_ca, certificate, address }
}

fn client(trusted: &str, identity: Option<&Pair>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for root in chain(trusted, "the root").unwrap() {
        roots.add(root).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(pair) => builder
            .with_client_auth_cert(
                chain(&pair.certificate, "the client").unwrap(),
                PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
            )
            .unwrap(),
    }
}

/// Asks for `/`. Gives the body and the common name of the server.
async fn ask(address: SocketAddr, config: ClientConfig, name: &str) -> io::Result<(String, String)> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    let server = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let (_, server) = X509Certificate::from_der(&server).unwrap();
    let server = certificates::facts(&server).unwrap().common_name;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    Ok((body.ok_or_else(|| io::Error::other(answer))?, server))
}

#[tokio::test]
async fn a_verified_client_is_known_by_its_subject() {
    let at = serve().await;
    let pair = at.client_ca.issue(&leaf("system:apiserver", Usage::Client)).unwrap();
    for name in ["127.0.0.1", "k3k-dev"] {
        let config = client(at.server_ca.certificate_pem(), Some(&pair));
        let (body, _) = ask(at.address, config, name).await.unwrap();
        assert_eq!(body, "system:apiserver of system:masters");
    }
}

#[tokio::test]
async fn a_client_without_certificate_is_nobody() {
    let at = serve().await;
    let (body, _) = ask(at.address, client(at.server_ca.certificate_pem(), None), "k3k-dev").await.unwrap();
    assert_eq!(body, "nobody");
}

#[tokio::test]
async fn certificates_of_others_or_for_servers_are_refused() {
    let at = serve().await;
    let strangers = Authority::generate("client-ca").unwrap();
    let stranger = strangers.issue(&leaf("system:apiserver", Usage::Client)).unwrap();
    let server = at.client_ca.issue(&leaf("system:apiserver", Usage::Server)).unwrap();
    for pair in [stranger, server] {
        let config = client(at.server_ca.certificate_pem(), Some(&pair));
        ask(at.address, config, "k3k-dev").await.unwrap_err();
    }
}

#[tokio::test]
async fn the_chain_and_the_names_verify_and_others_do_not() {
    let at = serve().await;
    let trusted = at.server_ca.certificate_pem();
    ask(at.address, client(trusted, None), "elsewhere").await.unwrap_err();
    let other = Authority::generate("server-ca").unwrap();
    ask(at.address, client(other.certificate_pem(), None), "k3k-dev").await.unwrap_err();
    // An authority that was stored and read again issues certificates that verify against the same root.
    let stored = at.server_ca.pair();
    let again = Authority::from_pem(&stored.certificate, &stored.key).unwrap();
    let pair = again.issue(&leaf("second", Usage::Server)).unwrap();
    at.certificate.replace(&pair.certificate, &pair.key).unwrap();
    ask(at.address, client(trusted, None), "k3k-dev").await.unwrap();
}

#[tokio::test]
async fn a_replaced_certificate_serves_new_connections() {
    let at = serve().await;
    let trusted = at.server_ca.certificate_pem();
    assert_eq!(ask(at.address, client(trusted, None), "k3k-dev").await.unwrap().1, "first");
    let pair = at.server_ca.issue(&leaf("second", Usage::Server)).unwrap();
    at.certificate.replace(&pair.certificate, &pair.key).unwrap();
    assert_eq!(ask(at.address, client(trusted, None), "k3k-dev").await.unwrap().1, "second");
    // What does not fit together changes nothing.
    let foreign = crate::certificates::generate_key().unwrap();
    assert!(matches!(at.certificate.replace(&pair.certificate, &foreign), Err(Error::Certificate(_))));
    assert!(matches!(at.certificate.replace("", &pair.key), Err(Error::Empty(_))));
    assert_eq!(ask(at.address, client(trusted, None), "k3k-dev").await.unwrap().1, "second");
}

#[tokio::test]
async fn silent_peers_delay_no_one() {
    let at = serve().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(at.address).await.unwrap());
    }
    let trusted = at.server_ca.certificate_pem();
    // Within the default test limits this returns at once; were accept serial, each peer would cost 10 s.
    let asked =
        tokio::time::timeout(Duration::from_secs(60), ask(at.address, client(trusted, None), "k3k-dev"));
    assert_eq!(asked.await.unwrap().unwrap().0, "nobody");
}

#[tokio::test]
async fn a_peer_that_never_speaks_tls_is_hung_up_on() {
    let at = serve().await;
    let mut peer = TcpStream::connect(at.address).await.unwrap();
    peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(120), peer.read_to_end(&mut rest));
    let _ = read.await.expect("the connection ends");
    assert!(!rest.starts_with(b"HTTP"));
}

#[tokio::test]
async fn only_the_offered_protocol_is_spoken() {
    let at = serve().await;
    let mut config = client(at.server_ca.certificate_pem(), None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    ask(at.address, config, "k3k-dev").await.unwrap_err();
    let mut config = client(at.server_ca.certificate_pem(), None);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    ask(at.address, config, "k3k-dev").await.unwrap();
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let at = serve().await;
    let config = server_config(&at.certificate, ClientAuth::None, &[]).unwrap();
    let error = TlsListener::bind(at.address, config).await.unwrap_err().to_string();
    assert!(error.contains(&at.address.to_string()), "{error}");
}
