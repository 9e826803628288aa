//! Attacks that take files and connections: a device with a store on disk against registries that are slow, blocked or bad. What is
//! active stays active, and a later honest answer is enough.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use assay_client::device::Fingerprint;
use assay_client::transport::{
    Fetched, HttpTransport, Limits, Reply, Request, Traffic, Transport, TransportError,
};
use assay_client::{Device, Store};
use assay_schema::Outcome;
use common::{Answering, MemoryRegistry, World, contents, noise, pull};

const MIB: usize = 1 << 20;

/// A world in which 1.0.0 is active on a device and 1.1.0 waits on the registry.
fn world() -> World {
    let world = World::new();
    world.publish("1.0.0", &[("weights.bin", b"old")]);
    assert_eq!(pull(&world.device()).unwrap().verdict.outcome, Outcome::Permit);
    world.publish(
        "1.1.0",
        &[("weights.bin", &noise(3 * MIB + 5, 9)), ("config.json", b"{}")],
    );
    world
}

/// A device of this world that reaches its registry by another way.
fn device_by(world: &World, transport: Arc<dyn Transport>) -> Device {
    Device::new(Store::open(&world.store_path()).unwrap())
        .connect_by(move |_| Ok(Arc::clone(&transport)))
        .clock(common::now)
        .threads(1)
}

fn keeps_the_old(device: &Device) {
    assert_eq!(
        contents(device, "weights.bin").unwrap(),
        b"old",
        "the previous release stays active"
    );
}

fn goes_on(world: &World) {
    let device = world.device();
    assert_eq!(pull(&device).unwrap().verdict.outcome, Outcome::Permit);
    assert!(contents(&device, "weights.bin").unwrap() == noise(3 * MIB + 5, 9));
}

/// Waits no longer than a test may.
fn impatient() -> Limits {
    Limits {
        connect: Duration::from_secs(2),
        answer: Duration::from_millis(300),
        write: Duration::from_millis(300),
        grace: Duration::from_millis(200),
        rate: 100_000,
        attempts: 1,
        pause: Duration::from_millis(1),
    }
}

/// A registry that answers every request with a head, and then a byte now and then, or nothing more.
fn trickling(silent: bool, ended: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = move |mut stream: TcpStream, ended: &AtomicBool| {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
        let mut head = [0; 4096];
        let _ = stream.read(&mut head);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\nConnection: close\r\n\r\n");
        while !ended.load(Ordering::Relaxed) {
            if !silent && stream.write_all(b" ").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let ended = Arc::clone(&ended);
            std::thread::spawn(move || answer(stream.unwrap(), &ended));
        }
    });
    address
}

#[test]
fn slow_retrieval() {
    for silent in [false, true] {
        let world = world();
        let ended = Arc::new(AtomicBool::new(false));
        let transport =
            HttpTransport::new(&trickling(silent, Arc::clone(&ended)), None, impatient()).unwrap();
        let device = device_by(&world, Arc::new(transport));
        // The check ends although the registry never does; nothing is begun that would have to be undone.
        let pulled = pull(&device).unwrap();
        assert_eq!(pulled.verdict.outcome, Outcome::Refuse);
        assert_eq!(pulled.verdict.refusal().unwrap().1.code, "unavailable");
        keeps_the_old(&device);
        ended.store(true, Ordering::Relaxed);
        drop(device);
        goes_on(&world);
    }
}

/// Passes everything on but one request, which is reset.
struct Blocked {
    to: Arc<MemoryRegistry>,
    left: AtomicUsize,
    hit: Arc<AtomicBool>,
}

impl Blocked {
    fn is_this(&self, path: &str) -> Result<(), TransportError> {
        if self.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return Ok(());
        }
        self.hit.store(true, Ordering::Relaxed);
        Err(TransportError::Unreachable {
            registry: "memory".into(),
            path: path.into(),
            reason: "connection reset".into(),
            attempts: 1,
        })
    }
}

impl Transport for Blocked {
    fn get(&self, path: &str, max: u64, etag: Option<&str>) -> Result<Fetched, TransportError> {
        self.is_this(path)?;
        self.to.get(path, max, etag)
    }

    fn open(&self, path: &str, offset: u64, len: u64) -> Result<Box<dyn Read + '_>, TransportError> {
        self.is_this(path)?;
        self.to.open(path, offset, len)
    }

    fn send(&self, request: Request<'_>) -> Result<Reply, TransportError> {
        self.to.send(request)
    }

    fn traffic(&self) -> Traffic {
        self.to.traffic()
    }
}

#[test]
fn one_blocked_request_activates_nothing() {
    // Every request of a pull in turn; a piece is asked for again, so the pull may do without it. Then it is whole.
    let mut refused = 0;
    for n in 1.. {
        let world = world();
        let hit = Arc::new(AtomicBool::new(false));
        let blocked = Blocked {
            to: Arc::clone(&world.registry),
            left: AtomicUsize::new(n),
            hit: Arc::clone(&hit),
        };
        let device = device_by(&world, Arc::new(blocked));
        let outcome = pull(&device).unwrap().verdict.outcome;
        if !hit.load(Ordering::Relaxed) {
            assert_eq!(outcome, Outcome::Permit);
            assert!(n > 3, "a pull is more than {n} requests");
            break;
        }
        match outcome {
            Outcome::Permit => assert!(contents(&device, "weights.bin").unwrap() == noise(3 * MIB + 5, 9)),
            _ => {
                refused += 1;
                keeps_the_old(&device);
            }
        }
        drop(device);
        goes_on(&world);
    }
    assert!(refused > 0, "the check's own request cannot be done without");
    // A file that stays blocked: its chunks never come, those of the others do.
    let world = world();
    let small = assay_client::sha256(b"{}");
    world
        .registry
        .hostile(move |digest, _, _| match *digest == small {
            true => Answering::Missing,
            false => Answering::Honestly,
        });
    let device = world.device();
    assert_eq!(pull(&device).unwrap().verdict.outcome, Outcome::Refuse);
    keeps_the_old(&device);
    world.registry.honest();
    drop(device);
    goes_on(&world);
}

#[test]
fn a_bad_registry_is_left_for_another_one() {
    // The mirror's chunks are all wrong. The same namespace, by the same fingerprint, is there at another address.
    let world = world();
    let bad = World::new();
    bad.registry.adopt(&world.registry);
    bad.registry
        .hostile(|_, _, part| Answering::With(vec![0; part.len()]));
    let (mirror, honest) = (Arc::clone(&bad.registry), Arc::clone(&world.registry));
    let device = Device::new(Store::open(&world.store_path()).unwrap())
        .connect_by(move |address| {
            let transport: Arc<dyn Transport> = match address {
                "http://mirror.test" => mirror.clone(),
                _ => honest.clone(),
            };
            Ok(transport)
        })
        .clock(common::now)
        .threads(1);
    let known = Fingerprint::Known(world.identity);
    let acme = "acme".parse().unwrap();
    device.trust_add("http://mirror.test", &acme, known).unwrap();
    let pulled = pull(&device).unwrap();
    assert_eq!(pulled.verdict.refusal().unwrap().1.code, "digest-mismatch");
    keeps_the_old(&device);
    device.trust_add("http://registry.test", &acme, known).unwrap();
    assert_eq!(pull(&device).unwrap().verdict.outcome, Outcome::Permit);
    assert!(contents(&device, "weights.bin").unwrap() == noise(3 * MIB + 5, 9));
}
