//! The witness's HTTP side (c2sp.org/tlog-witness). The one place in the command with an asynchronous runtime; it lives and ends here.
//!
//! Strangers may connect: connections, bodies and times are bounded, and nothing that they send is written down unless a log signed
//! it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt};
use assay_client::witness::{Event, Reply, Witness, WitnessError};
use assay_schema::limits::MAX_ADD_CHECKPOINT;
use jiff::Timestamp;

use crate::output::complain;
use crate::verdict::printable;

/// A log asks a few times a minute; this many connections are strangers'.
const CONNECTIONS: usize = 256;
/// Requests that wait for the disk at once; others wait for them.
const WRITERS: usize = 16;
const HEAD_TIME: Duration = Duration::from_secs(5);
const BODY_TIME: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const GRACE_SECONDS: u64 = 10;

struct Shared {
    witness: Arc<Witness>,
    quiet: bool,
    cosigned: AtomicU64,
}

/// Serves until SIGTERM or SIGINT, then finishes what is under way. Calls `ready` once it listens, and returns how many new
/// checkpoints were cosigned.
///
/// # Errors
/// The address is taken or not this machine's.
pub(super) fn serve(
    witness: Arc<Witness>,
    listen: SocketAddr,
    quiet: bool,
    ready: impl FnOnce(SocketAddr),
) -> io::Result<u64> {
    let shared = Data::new(Shared {
        witness,
        quiet,
        cosigned: AtomicU64::new(0),
    });
    let data = shared.clone();
    rt::System::new().block_on(async move {
        let server = HttpServer::new(move || {
            let resource = web::resource("/add-checkpoint").route(web::post().to(add_checkpoint));
            App::new()
                .app_data(data.clone())
                .service(resource)
                .wrap(from_fn(assay_unread::settle))
        })
        .workers(1)
        .worker_max_blocking_threads(WRITERS)
        .max_connections(CONNECTIONS)
        .client_request_timeout(HEAD_TIME)
        .client_disconnect_timeout(HEAD_TIME)
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(GRACE_SECONDS)
        .bind(listen)?;
        ready(server.addrs().first().copied().unwrap_or(listen));
        server.run().await
    })?;
    Ok(shared.cosigned.load(Ordering::Relaxed))
}

async fn add_checkpoint(request: HttpRequest, shared: Data<Shared>, payload: Payload) -> HttpResponse {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_ADD_CHECKPOINT as u64) {
        return too_long();
    }
    let body = rt::time::timeout(BODY_TIME, payload.to_bytes_limited(MAX_ADD_CHECKPOINT)).await;
    let body = match body {
        Ok(Ok(Ok(body))) => body,
        Ok(Ok(Err(_))) => return refuse(StatusCode::BAD_REQUEST, "witness: the body ended early"),
        Ok(Err(_)) => return too_long(),
        Err(_) => {
            return refuse(
                StatusCode::REQUEST_TIMEOUT,
                "witness: the body did not come in time",
            );
        }
    };
    let witness = Arc::clone(&shared.witness);
    let decided = web::block(move || witness.add_checkpoint(&body, &Timestamp::now)).await;
    match decided {
        Ok(Ok(reply)) => answer(&shared, reply),
        Ok(Err(error)) => failed(&error),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "witness: it is stopping"),
    }
}

fn answer(shared: &Shared, reply: Reply) -> HttpResponse {
    match &reply.event {
        Some(Event::Cosigned { origin, head }) => {
            shared.cosigned.fetch_add(1, Ordering::Relaxed);
            if !shared.quiet {
                complain(&format!("cosigned {origin} at {} entries", head.size));
            }
        }
        Some(Event::Split {
            origin,
            refusal,
            kept,
        }) => {
            let place = match kept {
                true => "the request is in the log's folder `evidence`",
                false => {
                    "the folder `evidence` is full: look at what is in it, make room, and start the witness again"
                }
            };
            complain(&printable(&format!("refused {origin}: {refusal}; {place}")));
        }
        None => {}
    }
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, reply.media_type))
        .body(reply.body)
}

/// Its operator learns why, strangers do not: the message names files of this machine.
fn failed(error: &WitnessError) -> HttpResponse {
    complain(&format!("error: {error}"));
    refuse(
        StatusCode::INTERNAL_SERVER_ERROR,
        "witness: it cannot cosign at present; nothing was cosigned, ask again later",
    )
}

fn too_long() -> HttpResponse {
    refuse(
        StatusCode::PAYLOAD_TOO_LARGE,
        &format!("witness: expected at most {MAX_ADD_CHECKPOINT} bytes, found more"),
    )
}

/// The rest of a body that was not read would be taken for the next request.
fn refuse(status: StatusCode, why: &str) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .force_close()
        .body(format!("{why}\n"))
}
