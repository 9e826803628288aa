//! The HTTP transport against servers that behave badly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assay_client::transport::{
    Body, Fetched, HttpTransport, Limits, Request, Secret, Transport, TransportError,
};
use assay_schema::problem::ProblemKind;

/// A server that gives each connection the next of its answers, and keeps what it was asked.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

fn server(answers: Vec<Vec<u8>>) -> Server {
    serve(answers, |stream, answer| {
        let _ = stream.write_all(&answer);
    })
}

fn serve(answers: Vec<Vec<u8>>, send: impl Fn(&mut TcpStream, Vec<u8>) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = asked.clone();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            log.lock().unwrap().push(read_request(&mut stream));
            send(&mut stream, answer);
        }
    });
    Server { address, asked }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "))
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8_lossy(&body)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn quick() -> Limits {
    Limits {
        connect: Duration::from_secs(2),
        answer: Duration::from_millis(600),
        write: Duration::from_millis(400),
        grace: Duration::from_millis(300),
        rate: 1000,
        attempts: 3,
        pause: Duration::from_millis(5),
    }
}

fn transport(server: &Server) -> HttpTransport {
    HttpTransport::new(&server.address, None, quick()).unwrap()
}

#[test]
fn an_entity_tag_that_no_request_could_carry_is_dropped() {
    let long = format!("ETag: \"{}\"\r\n", "a".repeat(4000));
    let server = server(vec![
        answer("200 OK", &long, b"hello"),
        answer("200 OK", "", b"hello"),
        answer("200 OK", "", b"hello"),
    ]);
    let transport = transport(&server);
    let bytes = b"hello".to_vec();
    let found = Fetched::Found { bytes, etag: None };
    assert_eq!(transport.get("/x", 5, None).unwrap(), found);
    for damaged in ["\"a\r\nb: c\"", "\"\0\""] {
        assert_eq!(transport.get("/x", 5, Some(damaged)).unwrap(), found);
    }
    assert!(!server.asked.lock().unwrap().concat().contains("if-none-match"));
}

#[test]
fn a_document_comes_with_its_entity_tag() {
    let server = server(vec![
        answer("200 OK", "ETag: \"abc\"\r\n", b"hello"),
        b"HTTP/1.1 304 Not Modified\r\nETag: \"abc\"\r\nConnection: close\r\n\r\n".to_vec(),
        answer("404 Not Found", "", b"no"),
    ]);
    let transport = transport(&server);
    let found = transport.get("/x", 5, None).unwrap();
    assert_eq!(
        found,
        Fetched::Found {
            bytes: b"hello".to_vec(),
            etag: Some("\"abc\"".into())
        }
    );
    assert_eq!(
        transport.get("/x", 5, Some("\"abc\"")).unwrap(),
        Fetched::NotModified
    );
    assert_eq!(transport.get("/y", 5, None).unwrap(), Fetched::Missing);
    assert!(server.asked.lock().unwrap()[1].contains("if-none-match: \"abc\""));
    let traffic = transport.traffic();
    assert_eq!(
        (traffic.requests, traffic.received),
        (3, 5 + 2),
        "bodies of refusals count too"
    );
}

#[test]
fn longer_documents_than_asked_for_are_refused() {
    let endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    let server = serve(vec![answer("200 OK", "", &[0; 6]), endless], |stream, answer| {
        let _ = stream.write_all(&answer);
        while answer.len() < 50 && stream.write_all(&[0; 4096]).is_ok() {}
        let endless = !answer.ends_with(&[0; 6]);
        while endless && stream.write_all(&[0; 4096]).is_ok() {}
    });
    let transport = transport(&server);
    for _ in 0..2 {
        let refused = transport.get("/x", 5, None);
        assert!(
            matches!(refused, Err(TransportError::TooLong { max: 5, .. })),
            "{refused:?}"
        );
    }
    assert!(
        transport.traffic().received < 1 << 20,
        "nothing is read beyond the limit and a buffer"
    );
}

#[test]
fn a_busy_registry_is_asked_again_within_bounds() {
    let busy = || answer("503 Service Unavailable", "Retry-After: 0\r\n", b"");
    let there = server(vec![busy(), busy(), answer("200 OK", "", b"x")]);
    assert!(matches!(
        transport(&there).get("/x", 5, None),
        Ok(Fetched::Found { .. })
    ));
    let busy = server(vec![busy(), busy(), busy()]);
    let transport = transport(&busy);
    let refused = transport.get("/x", 5, None);
    assert!(
        matches!(refused, Err(TransportError::Status { status: 503, .. })),
        "{refused:?}"
    );
    assert_eq!(transport.traffic().requests, 3);
}

#[test]
fn a_broken_connection_is_tried_again() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhello".to_vec();
    let server = server(vec![Vec::new(), half, answer("200 OK", "", b"helloworld")]);
    let found = transport(&server).get("/x", 50, None).unwrap();
    assert!(matches!(found, Fetched::Found { bytes, .. } if bytes == b"helloworld"));
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = server(vec![answer("200 OK", "", b"stolen")]);
    let there = server(vec![answer(
        "302 Found",
        &format!("Location: {}/x\r\n", elsewhere.address),
        b"",
    )]);
    let secret = Some(Secret::new("s3cret\n"));
    let transport = HttpTransport::new(&there.address, secret, quick()).unwrap();
    let refused = transport.get("/x", 50, None);
    assert!(
        matches!(refused, Err(TransportError::Status { status: 302, .. })),
        "{refused:?}"
    );
    assert!(there.asked.lock().unwrap()[0].contains("authorization: bearer s3cret\r\n"));
    assert!(elsewhere.asked.lock().unwrap().is_empty());
    assert!(
        !format!("{transport:?} {refused:?}").contains("s3cret"),
        "the token is shown nowhere"
    );
}

#[test]
fn problems_are_decoded() {
    let body = br#"{"type":"urn:assay:problem:stale-parent","title":"t","status":409,"detail":"another came first"}"#;
    let server = server(vec![answer(
        "409 Conflict",
        "Content-Type: application/problem+json\r\n",
        body,
    )]);
    let request = Request {
        method: "POST",
        path: "/m".into(),
        body: Body::Json(b"{}".to_vec()),
        offset: None,
    };
    let refused = transport(&server).send(request).unwrap_err();
    assert_eq!(refused.problem().unwrap().kind, ProblemKind::StaleParent);
    assert!(refused.to_string().contains("another came first"));
    assert!(!refused.is_passing());
}

#[test]
fn a_part_goes_with_its_length_and_offset_and_only_once() {
    let server = server(vec![
        answer("200 OK", "", b"{}"),
        Vec::new(),
        answer("200 OK", "", b"{}"),
    ]);
    let transport = transport(&server);
    let send = |bytes: &[u8]| {
        let mut reader = bytes;
        let body = Body::Part(&mut reader, bytes.len() as u64);
        transport.send(Request {
            method: "PATCH",
            path: "/u".into(),
            body,
            offset: Some(7),
        })
    };
    send(b"part").unwrap();
    let asked = server.asked.lock().unwrap()[0].clone();
    assert!(
        asked.contains("content-length: 4\r\n") && asked.contains("upload-offset: 7\r\n"),
        "{asked}"
    );
    assert!(!asked.contains("chunked") && asked.ends_with("part"));
    let broken = send(b"part").unwrap_err();
    assert!(
        matches!(broken, TransportError::Unreachable { attempts: 1, .. }),
        "{broken}"
    );
}

#[test]
fn ranges_are_what_was_asked_for() {
    let server = server(vec![
        answer("206 Partial Content", "Content-Range: bytes 2-4/10\r\n", b"cde"),
        answer("200 OK", "", b"abcdefghij"),
        answer("206 Partial Content", "Content-Range: bytes 0-2/10\r\n", b"abc"),
        answer(
            "206 Partial Content",
            "Content-Range: bytes 2-4/10\r\n",
            b"cdefghij",
        ),
    ]);
    let transport = transport(&server);
    let open = || -> Result<Vec<u8>, TransportError> {
        let mut bytes = Vec::new();
        transport.open("/b", 2, 3)?.read_to_end(&mut bytes).unwrap();
        Ok(bytes)
    };
    assert_eq!(open().unwrap(), b"cde");
    assert_eq!(open().unwrap(), b"cde", "a server may ignore ranges");
    assert!(
        matches!(open(), Err(TransportError::Malformed { .. })),
        "another range than asked for"
    );
    assert_eq!(open().unwrap(), b"cde", "never more than asked for");
    assert!(server.asked.lock().unwrap()[0].contains("range: bytes=2-4\r\n"));
}

#[test]
fn one_connection_serves_request_after_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answers = [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\nContent-Range: bytes 2-4/10\r\n\r\ncde",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    ];
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for answer in answers {
            read_request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let transport = HttpTransport::new(
        &address,
        None,
        Limits {
            attempts: 1,
            ..quick()
        },
    )
    .unwrap();
    assert_eq!(transport.get("/a", 9, None).unwrap(), Fetched::Missing);
    let mut part = [0; 3];
    transport.open("/b", 2, 3).unwrap().read_exact(&mut part).unwrap();
    assert_eq!(&part, b"cde");
    assert!(matches!(
        transport.get("/c", 9, None).unwrap(),
        Fetched::Found { .. }
    ));
    server.join().unwrap();
}

#[test]
fn a_registry_that_trickles_or_falls_silent_is_given_up() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n".to_vec();
    let trickle = serve(vec![head.clone(), head.clone(), head.clone()], |stream, head| {
        let _ = stream.write_all(&head);
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let begun = Instant::now();
    let slow = transport(&trickle).get("/x", 100_000, None).unwrap_err();
    assert!(slow.to_string().contains("too slow"), "{slow}");
    assert!(begun.elapsed() < Duration::from_secs(12));

    let silent = serve(vec![head.clone(), head.clone(), head], |stream, head| {
        let _ = stream.write_all(&head);
        std::thread::sleep(Duration::from_secs(3));
    });
    let begun = Instant::now();
    let silent = transport(&silent).get("/x", 100_000, None).unwrap_err();
    assert!(matches!(silent, TransportError::Unreachable { .. }), "{silent}");
    assert!(begun.elapsed() < Duration::from_secs(12));
}

#[test]
fn addresses_that_leak_or_mislead_are_refused() {
    for bad in [
        "",
        "models.example.org",
        "ftp://x",
        "http://",
        "https://user:pw@x",
        "https://x?token=1",
        "https://x/#a",
    ] {
        let refused = HttpTransport::new(bad, None, Limits::default());
        assert!(matches!(refused, Err(TransportError::Address { .. })), "{bad}");
    }
    let plain = HttpTransport::new(
        "http://models.example.org",
        Some(Secret::new("t")),
        Limits::default(),
    );
    assert!(matches!(plain, Err(TransportError::PlainToken { .. })));
    for fine in [
        "https://models.example.org/",
        "http://127.0.0.1:8080",
        "http://[::1]:80",
        "http://localhost",
    ] {
        HttpTransport::new(fine, Some(Secret::new("t")), Limits::default()).unwrap();
    }
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_gzip_answer_is_read_and_its_bytes_on_the_wire_are_counted() {
    let plain = vec![b'x'; 50_000];
    let coded = gzipped(&plain);
    let server = server(vec![answer("200 OK", "Content-Encoding: gzip\r\n", &coded)]);
    let transport = transport(&server);
    let found = transport.get("/x", 50_000, None).unwrap();
    assert_eq!(
        found,
        Fetched::Found {
            bytes: plain,
            etag: None
        }
    );
    assert_eq!(transport.traffic().received, coded.len() as u64);
    assert!(server.asked.lock().unwrap()[0].contains("accept-encoding: gzip\r\n"));
}

/// RFC 1952 2.2: several members are one body; RFC 9110 8.4.1: the coding's name is case-insensitive.
#[test]
fn a_gzip_answer_of_several_members_is_read_to_its_end() {
    let coded = [gzipped(b"hello "), gzipped(b"again")].concat();
    let server = server(vec![answer("200 OK", "Content-Encoding: GZip\r\n", &coded); 2]);
    let transport = transport(&server);
    let found = transport.get("/x", 100, None).unwrap();
    let bytes = b"hello again".to_vec();
    assert_eq!(found, Fetched::Found { bytes, etag: None });
    let refused = transport.get("/x", 9, None).unwrap_err();
    assert!(
        matches!(refused, TransportError::TooLong { max: 9, .. }),
        "{refused}"
    );
}

#[test]
fn refuses_a_gzip_bomb() {
    let coded = gzipped(&vec![0; 64 << 20]);
    let server = server(vec![answer("200 OK", "Content-Encoding: gzip\r\n", &coded)]);
    let refused = transport(&server).get("/x", 1 << 20, None).unwrap_err();
    assert!(
        matches!(refused, TransportError::TooLong { max: 0x10_0000, .. }),
        "{refused}"
    );
}

#[test]
fn refuses_gzip_that_is_cut_off_or_none_and_other_codings() {
    let mut cut = gzipped(b"hello");
    cut.truncate(12);
    for body in [cut, b"hello".to_vec()] {
        let server = server(vec![answer("200 OK", "Content-Encoding: gzip\r\n", &body); 3]);
        let refused = transport(&server).get("/x", 100, None).unwrap_err();
        assert!(matches!(refused, TransportError::Unreachable { .. }), "{refused}");
    }
    let server = server(vec![answer("200 OK", "Content-Encoding: br\r\n", b"hello")]);
    let refused = transport(&server).get("/x", 100, None).unwrap_err();
    assert!(matches!(refused, TransportError::Malformed { .. }), "{refused}");
}
