use std::collections::BTreeMap;
use std::num::NonZeroU32;

use client::security::scram::ScramMechanism as ClientMechanism;
use meta::Image;
use meta::config::BrokerProperties;

use super::*;

#[test]
fn plain_messages() {
    let users = BTreeMap::from([("alice".to_owned(), "secret".to_owned())]);
    let ask = |message: &[u8]| match plain::check(&users, message) {
        Step::Done { user, .. } => Ok(user),
        Step::Failed(why) => Err(why),
        Step::Continue(_) => Err("more".into()),
    };
    assert_eq!(ask(b"\0alice\0secret"), Ok("alice".into()));
    assert_eq!(ask(b"alice\0alice\0secret"), Ok("alice".into()));
    for wrong in
        [&b"\0alice\0wrong"[..], b"\0bob\0secret", b"bob\0alice\0secret", b"\0alice\0", b"\0\0x", b"x", b""]
    {
        assert!(ask(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(ask(b"\0bob\0x"), ask(b"\0alice\0x"), "users that are not there do not show");
}

fn image(mechanism: ScramMechanism, client: ClientMechanism) -> Image {
    let salted = client.salted_password(b"pencil", b"salt", NonZeroU32::new(4096).unwrap());
    let credential = credential(mechanism, &salted, Bytes::from_static(b"salt"), 4096);
    let mut image = Image::default();
    image.scram = Arc::new(BTreeMap::from([(("u,=".to_owned(), mechanism), credential)]));
    image
}

/// Runs an exchange as `user`; `meddle` changes the last message.
fn exchange(user: &str, password: &str, meddle: impl Fn(String) -> String) -> Step {
    let image = image(ScramMechanism::Sha256, ClientMechanism::Sha256);
    let mut server = scram::ScramServer::new(ScramMechanism::Sha256);
    let text = format!("username=\"{}\" password=\"{password}\"", user.replace('\\', "\\\\"));
    let jaas = format!("org.apache.kafka.common.security.scram.ScramLoginModule required {text};");
    let properties = [
        ("bootstrap.servers", "h:1"),
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.jaas.config", jaas.as_str()),
    ];
    let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let mut login = client::security::Exchange::from_properties(properties).unwrap();
    let Step::Continue(first) = server.step(&image, &[7; 32], &login.first()) else {
        panic!("refused at once")
    };
    let last = login.answer(&first).unwrap().unwrap();
    let last = meddle(String::from_utf8(last).unwrap());
    let step = server.step(&image, &[7; 32], last.as_bytes());
    if let Step::Done { answer, .. } = &step {
        assert!(login.answer(answer).unwrap().is_none(), "the server proves itself");
    }
    step
}

#[test]
fn scram_knows_the_password_and_nothing_else() {
    assert!(matches!(exchange("u,=", "pencil", |m| m), Step::Done { user, .. } if user == "u,="));
    assert!(matches!(exchange("u,=", "pen", |m| m), Step::Failed(_)));
    assert_eq!(
        exchange("nobody", "pencil", |m| m),
        exchange("u,=", "pen", |m| m),
        "users that are not there do not show"
    );
    // CVE-2024-56128: the nonce of the last message is that of the exchange.
    assert!(matches!(exchange("u,=", "pencil", |m| m.replace(",r=", ",r=x")), Step::Failed(_)));
    assert!(matches!(exchange("u,=", "pencil", |m| m.replace("c=biws", "c=eSws")), Step::Failed(_)));
}

#[test]
fn scram_messages_that_are_none() {
    let state = State { image: Image::default(), properties: BrokerProperties::default() };
    for text in [
        "",
        "n",
        "n,,",
        "p=tls-unique,,n=u,r=x",
        "n,,n=u",
        "n,,n==,r=x",
        "n,,n=u,r=",
        "n,a=b,n=u,r=x",
        "n,,n=u,r=x,tokenauth=true",
    ] {
        let mut server = scram::ScramServer::new(ScramMechanism::Sha512);
        assert!(matches!(server.step(&state.image, &[0; 32], text.as_bytes()), Step::Failed(_)), "{text}");
    }
}

mod tokens {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::super::*;
    use crate::security::ListenerValues;

    const NOW_MS: i64 = 1_000_000_000;

    fn key() -> EcdsaKeyPair {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap()
    }

    fn token(key: &EcdsaKeyPair, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", B64.encode(signature))
    }

    /// Logs in with a token; the user, or `None`.
    fn log_in(config: &oauthbearer::OauthConfig, token: &str) -> Option<(String, Option<i64>)> {
        let mut server = oauthbearer::OauthServer::default();
        let message = format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}");
        match server.step(config, message.as_bytes(), NOW_MS) {
            Step::Done { user, expires_ms, .. } => Some((user, expires_ms)),
            // Told why, the client says that it has heard, and is refused.
            Step::Continue(why) => {
                assert_eq!(&*why, b"{\"status\":\"invalid_token\"}");
                assert!(matches!(server.step(config, &[1], NOW_MS), Step::Failed(_)));
                None
            }
            Step::Failed(_) => None,
        }
    }

    #[test]
    fn tokens_are_held_to_key_times_issuer_and_audience() {
        let key = key();
        let point = key.public_key().as_ref();
        let (x, y) = (B64.encode(&point[1..33]), B64.encode(&point[33..]));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        let jwks = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"k","x":"{x}","y":"{y}"}}]}}"#);
        std::fs::write(&path, jwks).unwrap();
        let mut properties = meta::config::BrokerProperties::default();
        for (name, value) in [
            ("sasl.oauthbearer.jwks.endpoint.url", format!("file://{}", path.display()).as_str()),
            ("sasl.oauthbearer.expected.issuer", "me"),
            ("sasl.oauthbearer.expected.audience", "kafka"),
        ] {
            properties.fixed.insert(name.into(), value.into());
        }
        let values = ListenerValues::of("x", &properties);
        let config = oauthbearer::OauthConfig::new(&values).unwrap();
        let es256 = r#"{"alg":"ES256","kid":"k"}"#;
        let good = r#"{"sub":"alice","iss":"me","aud":["kafka"],"exp":1000100}"#;
        assert_eq!(log_in(&config, &token(&key, es256, good)), Some(("alice".into(), Some(1_000_100_000))));
        for claims in [
            r#"{"sub":"alice","iss":"me","aud":"kafka","exp":999900}"#,
            r#"{"sub":"alice","iss":"me","aud":"kafka"}"#,
            r#"{"sub":"alice","iss":"me","aud":"kafka","exp":1000100,"nbf":1000090}"#,
            r#"{"sub":"alice","iss":"you","aud":"kafka","exp":1000100}"#,
            r#"{"sub":"alice","iss":"me","aud":"mqtt","exp":1000100}"#,
            r#"{"iss":"me","aud":"kafka","exp":1000100}"#,
        ] {
            assert_eq!(log_in(&config, &token(&key, es256, claims)), None, "{claims}");
        }
        for header in
            [r#"{"alg":"none"}"#, r#"{"alg":"HS256","kid":"k"}"#, r#"{"alg":"ES256","kid":"other"}"#, "{}"]
        {
            assert_eq!(log_in(&config, &token(&key, header, good)), None, "{header}");
        }
        assert_eq!(log_in(&config, &token(&super::tokens::key(), es256, good)), None, "another key");
        for text in ["", "a.b", "a.b.c", "a.b.c.d"] {
            assert_eq!(log_in(&config, text), None, "{text}");
        }
    }

    fn jwks(keys: &[(&str, &EcdsaKeyPair)]) -> String {
        let one = |(id, key): &(&str, &EcdsaKeyPair)| {
            let point = key.public_key().as_ref();
            let (x, y) = (B64.encode(&point[1..33]), B64.encode(&point[33..]));
            format!(r#"{{"kty":"EC","crv":"P-256","kid":"{id}","x":"{x}","y":"{y}"}}"#)
        };
        format!(r#"{{"keys":[{}]}}"#, keys.iter().map(one).collect::<Vec<_>>().join(","))
    }

    /// An identity provider: answers every request with what `text` holds then; an empty one with an error.
    fn provider(text: Arc<parking_lot::Mutex<String>>, tls: Option<Arc<rustls::ServerConfig>>) -> u16 {
        use std::io::{Read, Write};
        fn answer(mut stream: impl Read + Write, text: &str) {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                request.push(byte[0]);
            }
            assert!(request.is_empty() || request.starts_with(b"GET /keys?v=1 HTTP/1.1\r\n"));
            let status = if text.is_empty() { "503 Busy" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            let _ = stream.flush();
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, text) = (stream.unwrap(), text.lock().clone());
                match &tls {
                    None => answer(stream, &text),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                        answer(rustls::StreamOwned::new(connection, stream), &text);
                    }
                }
            }
        });
        port
    }

    fn config(settings: &[(&str, &str)]) -> Result<oauthbearer::OauthConfig, String> {
        let mut properties = meta::config::BrokerProperties::default();
        properties.fixed.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let values = ListenerValues::of("x", &properties);
        oauthbearer::OauthConfig::new(&values).map_err(|problems| problems[0].message.clone())
    }

    const CLAIMS: &str = r#"{"sub":"alice","exp":1000100}"#;
    const FIRST: &str = r#"{"alg":"ES256","kid":"first"}"#;
    const SECOND: &str = r#"{"alg":"ES256","kid":"second"}"#;

    #[test]
    fn keys_of_a_provider_are_fetched_again_for_a_token_of_a_new_one() {
        let (first, second) = (key(), key());
        let text = Arc::new(parking_lot::Mutex::new(String::new()));
        let url = format!("http://127.0.0.1:{}/keys?v=1", provider(Arc::clone(&text), None));
        let settings = [
            ("sasl.oauthbearer.jwks.endpoint.url", url.as_str()),
            ("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", "1"),
            ("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", "10"),
        ];
        // Without keys nobody could come in: the start fails and says why.
        let why = config(&settings).unwrap_err();
        assert!(why.contains(&url) && why.contains("503 Busy"), "{why}");
        *text.lock() = jwks(&[("first", &first)]);
        let config = config(&settings).unwrap();
        assert!(log_in(&config, &token(&first, FIRST, CLAIMS)).is_some());
        // The provider fails when it is asked for the new key: the keys that were there stay, and it is asked again.
        text.lock().clear();
        assert!(log_in(&config, &token(&second, SECOND, CLAIMS)).is_none());
        assert!(log_in(&config, &token(&first, FIRST, CLAIMS)).is_some());
        *text.lock() = jwks(&[("second", &second)]);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while log_in(&config, &token(&second, SECOND, CLAIMS)).is_none() {
            assert!(std::time::Instant::now() < deadline, "the new key does not come");
            std::thread::yield_now();
        }
        assert!(log_in(&config, &token(&first, FIRST, CLAIMS)).is_none(), "a key that was taken away");
    }

    #[test]
    fn a_provider_behind_tls_must_be_trusted() {
        let first = key();
        let text = Arc::new(parking_lot::Mutex::new(jwks(&[("first", &first)])));
        let pair = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&pair).unwrap();
        let provider_of = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider_of)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(pair.serialize_der()).unwrap(),
            )
            .unwrap();
        let url = format!("https://localhost:{}/keys?v=1", provider(text, Some(Arc::new(tls))));
        let dir = tempfile::tempdir().unwrap();
        let trusted = dir.path().join("trust.pem");
        std::fs::write(&trusted, certificate.pem()).unwrap();
        let jaas = format!(
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
             ssl.truststore.location=\"{}\";",
            trusted.display()
        );
        let own = ("sasl.oauthbearer.jwks.endpoint.url", url.as_str());
        let config_of = config(&[own, ("oauthbearer.sasl.jaas.config", &jaas)]).unwrap();
        assert!(log_in(&config_of, &token(&first, FIRST, CLAIMS)).is_some());
        let stranger = rcgen::generate_simple_self_signed(vec!["other".into()]).unwrap();
        std::fs::write(&trusted, stranger.cert.pem()).unwrap();
        let why = config(&[own, ("oauthbearer.sasl.jaas.config", &jaas)]).unwrap_err();
        assert!(why.contains("certificate"), "{why}");
    }
}
