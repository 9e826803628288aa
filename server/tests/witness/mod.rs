//! A witness for tests, on threads of its own: honest by the rules of c2sp.org/tlog-witness, or misbehaving as it is told.

#![allow(dead_code, unreachable_pub)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay_log::note::KeyName;
use assay_log::witness::{AddCheckpoint, Refusal, SIZE_TYPE};
use assay_log::{TreeHead, VerifierKey};
use assay_server::config::WitnessConfig;
use ed25519_dalek::{Signer, SigningKey};
use jiff::Timestamp;

/// What the witness does with requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    Honest,
    /// Takes the request and never answers.
    Silent,
    /// Answers after so long, honestly.
    Slow(Duration),
    /// Says that it is at this size.
    Claims(u64),
    /// Signs another text.
    Forges,
    /// Sends without end.
    Endless,
    /// This status, with a text.
    Refuses(u16),
}

pub struct Witness {
    pub key: VerifierKey,
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    key: VerifierKey,
    secret: SigningKey,
    inner: Mutex<Inner>,
}

struct Inner {
    manner: Manner,
    trusts: Vec<VerifierKey>,
    stored: Option<TreeHead>,
    asked: Vec<(u64, TreeHead)>,
}

impl Witness {
    pub fn start(name: &str) -> Self {
        let secret = SigningKey::from_bytes(&[name.bytes().fold(7, u8::wrapping_add); 32]);
        let public = secret.verifying_key().to_bytes();
        let key = VerifierKey::witness(KeyName::new(name).unwrap(), &public).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            key: key.clone(),
            secret,
            inner: Mutex::new(Inner {
                manner: Manner::Honest,
                trusts: Vec::new(),
                stored: None,
                asked: Vec::new(),
            }),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                // A registry that hangs up is no failure of the test.
                std::thread::spawn(move || shared.serve(stream).ok());
            }
        });
        Self { key, address, shared }
    }

    pub fn config(&self) -> WitnessConfig {
        WitnessConfig {
            url: format!("http://{}/witness/", self.address).parse().unwrap(),
            key: self.key.clone(),
            timeout_seconds: 10,
        }
    }

    /// A configuration under which nobody listens.
    pub fn nobody(name: &str) -> WitnessConfig {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let absent = SigningKey::from_bytes(&[99; 32]).verifying_key().to_bytes();
        WitnessConfig {
            url: format!("http://{free}").parse().unwrap(),
            key: VerifierKey::witness(KeyName::new(name).unwrap(), &absent).unwrap(),
            timeout_seconds: 10,
        }
    }

    pub fn follows(&self, log: &str) {
        self.shared.inner.lock().unwrap().trusts = vec![log.parse().unwrap()];
    }

    pub fn behaves(&self, manner: Manner) {
        self.shared.inner.lock().unwrap().manner = manner;
    }

    /// As if its store held this.
    pub fn knows(&self, head: Option<TreeHead>) {
        self.shared.inner.lock().unwrap().stored = head;
    }

    pub fn head(&self) -> Option<TreeHead> {
        self.shared.inner.lock().unwrap().stored
    }

    /// Old size and checkpoint of every request.
    pub fn asked(&self) -> Vec<(u64, TreeHead)> {
        self.shared.inner.lock().unwrap().asked.clone()
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (line, body) = read(&mut stream)?;
        assert_eq!(line, "POST /witness/add-checkpoint HTTP/1.1");
        let request = AddCheckpoint::parse(&body).unwrap();
        let manner = {
            let mut inner = self.inner.lock().unwrap();
            let head = request.checkpoint().checkpoint().head();
            inner.asked.push((request.old(), head));
            inner.manner.clone()
        };
        match manner {
            Manner::Honest => self.decide(&mut stream, &request),
            Manner::Slow(time) => {
                std::thread::sleep(time);
                self.decide(&mut stream, &request)
            }
            Manner::Silent => {
                // Until the registry hangs up.
                stream.read_exact(&mut [0]).or(Ok(()))
            }
            Manner::Claims(size) => answer(&mut stream, 409, SIZE_TYPE, &format!("{size}\n")),
            Manner::Forges => {
                let key = &self.key;
                let signature = [0; 72];
                let line = assay_log::note::SignatureLine {
                    name: key.name().clone(),
                    id: key.id(),
                    signature: signature.to_vec(),
                };
                answer(&mut stream, 200, "text/plain", &line.to_string())
            }
            Manner::Endless => {
                write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                loop {
                    stream.write_all(&[b'x'; 4096])?;
                }
            }
            Manner::Refuses(status) => answer(&mut stream, status, "text/plain", "no\n"),
        }
    }

    fn decide(&self, stream: &mut TcpStream, request: &AddCheckpoint) -> std::io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        let decided = request.decide(&inner.trusts, inner.stored);
        match decided {
            Ok(accepted) => {
                inner.stored = Some(accepted.checkpoint().head());
                let time = Timestamp::from_second(1_796_083_200 + inner.asked.len() as i64).unwrap();
                let signer = |text: &[u8]| Ok::<_, Refusal>(self.secret.sign(text).to_bytes());
                let line = accepted.cosign(&self.key, time, signer).unwrap();
                drop(inner);
                answer(stream, 200, "text/plain; charset=utf-8", &line.to_string())
            }
            Err(refusal) => {
                let (media_type, body) = refusal.body();
                drop(inner);
                answer(stream, refusal.status(), media_type, &body)
            }
        }
    }
}

fn read(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse().unwrap());
    let mut body = vec![0; length.unwrap()];
    stream.read_exact(&mut body)?;
    Ok((head.lines().next().unwrap().to_owned(), body))
}

fn answer(stream: &mut TcpStream, status: u16, media_type: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
