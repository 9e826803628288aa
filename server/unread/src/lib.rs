//! Bodies of requests that a server did not read to their end: the registry's and the witness's.
//!
//! What is left of a body would be taken for the next request, so it is read within a bound, or the connection ends. actix-http
//! alone does not do that for chunked bodies: once their reader is gone it reads on for as long as the client sends, and a stranger
//! who sends one byte a minute holds his connection for ever. It closes the connection if the reader is still there when the
//! answer has been sent; therefore the answer keeps the reader.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// Bytes that are read of a body that nobody wants.
const DRAIN: usize = 8 << 20;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Middleware: after each answer the connection is in step, or it ends.
///
/// # Errors
/// Those of the service.
pub async fn settle<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(reader) = Reader::of(request.take_payload()) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let payload: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(reader.clone());
    request.set_payload(payload.into());
    let mut answer = next.call(request).await?;
    let closing = answer.response().head().connection_type() == ConnectionType::Close;
    if reader.ended() || (!closing && reader.drain().await) {
        return Ok(answer.map_into_boxed_body());
    }
    answer
        .response_mut()
        .head_mut()
        .set_connection_type(ConnectionType::Close);
    Ok(answer.map_body(|_, body| {
        let body = body.boxed();
        Keeping {
            body,
            _reader: reader,
        }
        .boxed()
    }))
}

/// A request's body, for the handler and for whoever comes after it.
#[derive(Clone)]
struct Reader(Rc<RefCell<Body>>);

struct Body {
    payload: Payload,
    ended: bool,
}

impl Reader {
    /// `None` if the request has no body.
    fn of(payload: Payload) -> Option<Self> {
        match payload {
            Payload::None => None,
            payload => Some(Self(Rc::new(RefCell::new(Body {
                payload,
                ended: false,
            })))),
        }
    }

    fn ended(&self) -> bool {
        self.0.borrow().ended
    }

    /// Whether what was left of the body came within the bound.
    async fn drain(&self) -> bool {
        let mut reader = self.clone();
        let drained = async {
            let mut left = DRAIN;
            while let Some(piece) = reader.next().await {
                left = left.checked_sub(piece.ok()?.len())?;
            }
            Some(())
        };
        matches!(tokio::time::timeout(DRAIN_TIME, drained).await, Ok(Some(())))
    }
}

impl Stream for Reader {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut body = self.0.borrow_mut();
        if body.ended {
            return Poll::Ready(None);
        }
        let polled = body.payload.poll_next_unpin(context);
        if matches!(polled, Poll::Ready(None)) {
            body.ended = true;
        }
        polled
    }
}

/// An answer's body that keeps the request's reader until it has been sent.
struct Keeping {
    body: BoxBody,
    _reader: Reader,
}

impl MessageBody for Keeping {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}
