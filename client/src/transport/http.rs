//! [`Transport`] over HTTP.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use assay_schema::limits::{MAX_JSON_BODY, MAX_PUBLICATION};
use assay_schema::problem::{self, Problem};
use flate2::read::MultiGzDecoder;
use ureq::http::{self, Response, StatusCode, header};

use super::paced::Paced;
use super::{Body, Fetched, Meter, Reply, Request, Traffic, Transport, TransportError, read_bounded};

/// Bytes of an entity tag; the registry's own have 66.
const MAX_ENTITY_TAG: usize = 256;

/// A bearer token, kept out of every log and error.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a token; white space around it (a file's newline) is dropped.
    pub fn new(token: &str) -> Self {
        Self(token.trim().to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How long to wait and how often to try.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the head of an answer (finishing a large upload is part of it), and for the next bytes of a body.
    pub answer: Duration,
    /// For the registry to take the next bytes of a body.
    pub write: Duration,
    /// Waiting that is allowed before `rate` counts.
    pub grace: Duration,
    /// Bytes a second that a body must bring on average.
    pub rate: u64,
    /// How often a request is tried at most when the registry is busy or away.
    pub attempts: u32,
    /// Pause before the second attempt; doubled each time, at most ten seconds.
    pub pause: Duration,
}

impl Limits {
    /// For what is asked once and briefly: whatever does not come is done without, or asked for another time.
    pub fn brief() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            rate: 64 * 1024,
            attempts: 1,
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            write: Duration::from_secs(20),
            grace: Duration::from_secs(20),
            rate: 1024,
            attempts: 4,
            pause: Duration::from_millis(250),
        }
    }
}

/// A registry over HTTP or HTTPS.
pub struct HttpTransport {
    base: String,
    token: Option<Secret>,
    limits: Limits,
    agent: ureq::Agent,
    meter: Meter,
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("base", &self.base)
            .field("token", &self.token)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Checks the address of a registry and drops the slash at its end.
///
/// # Errors
/// Not `http://` or `https://` with a host, or it holds a user, query or fragment.
pub fn registry_address(text: &str) -> Result<String, TransportError> {
    let bad = |expected| TransportError::Address {
        found: text.chars().take(200).collect(),
        expected,
    };
    let uri: http::Uri = text.trim().parse().map_err(|_| bad("an address"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(bad("http:// or https:// at its beginning")),
    }
    let authority = uri.authority().ok_or_else(|| bad("a host"))?;
    if authority.host().is_empty() {
        return Err(bad("a host"));
    }
    // A password in an address ends up in logs and in pin.json.
    if authority.as_str().contains('@') {
        return Err(bad("no user or password in it"));
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(bad("no query or fragment"));
    }
    Ok(text.trim().trim_end_matches('/').to_owned())
}

fn is_loopback(base: &str) -> bool {
    let host = base
        .parse::<http::Uri>()
        .ok()
        .and_then(|uri| uri.host().map(str::to_owned));
    host.is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

impl HttpTransport {
    /// A transport to the registry at `address`. Nothing is sent yet.
    ///
    /// # Errors
    /// The address is malformed, or a token would travel unencrypted.
    pub fn new(address: &str, token: Option<Secret>, limits: Limits) -> Result<Self, TransportError> {
        let base = registry_address(address)?;
        if token.is_some() && base.starts_with("http://") && !is_loopback(&base) {
            return Err(TransportError::PlainToken { registry: base });
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A redirect could carry the token, or a device's request, to another host.
            .max_redirects(0)
            .timeout_connect(Some(limits.connect))
            .timeout_recv_response(Some(limits.answer))
            .timeout_per_read(Some(limits.answer))
            .timeout_per_write(Some(limits.write))
            .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections_per_host(16)
            .build();
        Ok(Self {
            base,
            token,
            limits,
            agent: ureq::Agent::new_with_config(config),
            meter: Meter::default(),
        })
    }

    /// The registry's address.
    pub fn address(&self) -> &str {
        &self.base
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        match &self.token {
            Some(Secret(token)) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    /// Sends what `attempt` sends until it is answered with something else than "later", as often as the limits allow.
    fn persist(
        &self,
        path: &str,
        repeatable: bool,
        mut attempt: impl FnMut() -> Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Response<ureq::Body>, TransportError> {
        let allowed = if repeatable {
            self.limits.attempts.max(1)
        } else {
            1
        };
        let mut pause = self.limits.pause;
        for attempts in 1.. {
            self.meter.request();
            let (error, wait) = match attempt() {
                Ok(response) if matches!(response.status().as_u16(), 429 | 500 | 502 | 503 | 504) => {
                    let asked = retry_after(&response);
                    (self.refusal(path, response), asked)
                }
                Ok(response) => return Ok(response),
                Err(error) => (self.unreachable(path, &error, attempts), None),
            };
            if attempts >= allowed || !error.is_passing() {
                return Err(error);
            }
            std::thread::sleep(wait.unwrap_or(pause).min(Duration::from_secs(10)));
            pause = pause.saturating_mul(2);
        }
        Err(self.unreachable(path, &ureq::Error::ConnectionFailed, allowed))
    }

    fn unreachable(&self, path: &str, error: &ureq::Error, attempts: u32) -> TransportError {
        TransportError::Unreachable {
            registry: self.base.clone(),
            path: path.to_owned(),
            reason: error.to_string(),
            attempts,
        }
    }

    fn body<'s>(&'s self, response: Response<ureq::Body>) -> Paced<'s, impl Read + use<>> {
        Paced::new(
            response.into_body().into_reader(),
            &self.meter,
            self.limits.grace,
            self.limits.rate,
        )
    }

    fn refusal(&self, path: &str, response: Response<ureq::Body>) -> TransportError {
        let status = response.status().as_u16();
        let is_problem =
            header_text(&response, header::CONTENT_TYPE).is_some_and(|t| t.starts_with(problem::MEDIA_TYPE));
        let read = read_bounded(self.body(response), MAX_JSON_BODY, None);
        match read {
            Ok(Some(bytes)) if is_problem => match serde_json::from_slice::<Problem>(&bytes) {
                Ok(problem) => TransportError::Problem {
                    path: path.to_owned(),
                    problem: Box::new(problem),
                },
                Err(_) => self.status(path, status),
            },
            _ => self.status(path, status),
        }
    }

    fn status(&self, path: &str, status: u16) -> TransportError {
        TransportError::Status {
            registry: self.base.clone(),
            path: path.to_owned(),
            status,
        }
    }

    fn read_all(
        &self,
        path: &str,
        response: Response<ureq::Body>,
        max: u64,
    ) -> Result<Vec<u8>, TransportError> {
        let too_long = || TransportError::TooLong {
            path: path.to_owned(),
            max,
        };
        let announced = response.body().content_length();
        if announced.is_some_and(|n| n > max) {
            return Err(too_long());
        }
        let coding = header_text(&response, header::CONTENT_ENCODING);
        let body = self.body(response);
        // RFC 9110 8.4.1: codings are case-insensitive.
        let coding = coding.map(|coding| coding.to_ascii_lowercase());
        let read = match coding.as_deref() {
            None | Some("identity") => read_bounded(body, max, announced),
            Some("gzip" | "x-gzip") => read_gzip(body, max),
            Some(other) => {
                return Err(TransportError::Malformed {
                    path: path.to_owned(),
                    expected: "no content coding, or gzip",
                    found: other.chars().take(80).collect(),
                });
            }
        };
        match read {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(too_long()),
            Err(e) => Err(self.broken(path, &e)),
        }
    }

    fn broken(&self, path: &str, error: &io::Error) -> TransportError {
        TransportError::Unreachable {
            registry: self.base.clone(),
            path: path.to_owned(),
            reason: error.to_string(),
            attempts: 1,
        }
    }
}

impl Transport for HttpTransport {
    fn get(&self, path: &str, max: u64, etag: Option<&str>) -> Result<Fetched, TransportError> {
        // A damaged cache costs a request without it, and no more.
        let etag = etag.filter(|tag| is_entity_tag(tag));
        let mut tries = 0;
        loop {
            tries += 1;
            let response = self.persist(path, true, || {
                let mut request = self.request("GET", path).header(header::ACCEPT_ENCODING, "gzip");
                if let Some(etag) = etag {
                    request = request.header(header::IF_NONE_MATCH, etag);
                }
                self.agent.run(request.body(())?)
            })?;
            return match response.status() {
                StatusCode::NOT_FOUND => {
                    // Read to its end, the connection serves the next request too.
                    let _ = read_bounded(self.body(response), MAX_JSON_BODY, None);
                    Ok(Fetched::Missing)
                }
                StatusCode::NOT_MODIFIED if etag.is_some() => Ok(Fetched::NotModified),
                StatusCode::OK => {
                    let etag = header_text(&response, header::ETAG).filter(|tag| is_entity_tag(tag));
                    match self.read_all(path, response, max) {
                        Ok(bytes) => Ok(Fetched::Found { bytes, etag }),
                        // The connection broke in the middle of the body.
                        Err(TransportError::Unreachable { .. }) if tries < self.limits.attempts => continue,
                        Err(error) => Err(error),
                    }
                }
                _ => Err(self.refusal(path, response)),
            };
        }
    }

    fn open(&self, path: &str, offset: u64, len: u64) -> Result<Box<dyn Read + '_>, TransportError> {
        if len == 0 {
            return Ok(Box::new(io::empty()));
        }
        let last = offset.saturating_add(len - 1);
        let response = self.persist(path, true, || {
            let request = self
                .request("GET", path)
                .header(header::RANGE, format!("bytes={offset}-{last}"));
            self.agent.run(request.body(())?)
        })?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                // RFC 9110 15.3.7: a server may answer another range than the one asked for.
                let found = header_text(&response, header::CONTENT_RANGE).unwrap_or_default();
                if !found.starts_with(&format!("bytes {offset}-{last}/")) {
                    return Err(TransportError::Malformed {
                        path: path.to_owned(),
                        expected: "Content-Range with the range that was asked for",
                        found,
                    });
                }
                let whole = response.body().content_length() == Some(len);
                Ok(Box::new(Exactly {
                    inner: self.body(response),
                    left: len,
                    whole,
                }))
            }
            // RFC 9110 14.2: a server may ignore Range, and send everything.
            StatusCode::OK => {
                let mut body = self.body(response);
                let skipped = io::copy(&mut (&mut body).take(offset), &mut io::sink());
                match skipped {
                    Ok(n) if n == offset => Ok(Box::new(body.take(len))),
                    Ok(_) => Ok(Box::new(io::empty())),
                    Err(e) => Err(self.broken(path, &e)),
                }
            }
            _ => Err(self.refusal(path, response)),
        }
    }

    fn send(&self, request: Request<'_>) -> Result<Reply, TransportError> {
        let Request {
            method,
            path,
            body,
            offset,
        } = request;
        let head = || {
            let request = self.request(method, &path);
            match offset {
                Some(offset) => request.header("Upload-Offset", offset.to_string()),
                None => request,
            }
        };
        let response = match body {
            Body::Empty => self.persist(&path, true, || {
                self.agent
                    .run(head().header(header::CONTENT_LENGTH, "0").body(&[][..])?)
            })?,
            Body::Json(bytes) => self.persist(&path, true, || {
                self.meter.sent(bytes.len() as u64);
                self.agent.run(
                    head()
                        .header(header::CONTENT_TYPE, "application/json")
                        .body(&bytes[..])?,
                )
            })?,
            Body::Part(reader, len) => {
                let mut counted = Counted {
                    inner: reader,
                    meter: &self.meter,
                };
                self.persist(&path, false, || {
                    let request = head()
                        .header(header::CONTENT_TYPE, "application/octet-stream")
                        .header(header::CONTENT_LENGTH, len);
                    self.agent
                        .run(request.body(ureq::SendBody::from_reader(&mut counted))?)
                })?
            }
        };
        let status = response.status();
        if !status.is_success() {
            return Err(self.refusal(&path, response));
        }
        let body = self.read_all(&path, response, MAX_PUBLICATION)?;
        Ok(Reply {
            status: status.as_u16(),
            body,
        })
    }

    fn traffic(&self) -> Traffic {
        self.meter.total()
    }
}

/// Reads a gzip body to its end, all members of it (RFC 1952 2.2): at most `max` bytes of it, which make at most `max` bytes. `None` if they make more.
fn read_gzip(body: impl Read, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut decoder = MultiGzDecoder::new(body.take(max));
    let read = read_bounded(&mut decoder, max, None)?;
    // Only a body that was seen to end gives its connection back for the next request.
    let _ = decoder.into_inner().read(&mut [0]);
    Ok(read)
}

/// At most so many bytes, and then no more whatever comes.
struct Exactly<R> {
    inner: R,
    left: u64,
    /// The body announced that it ends there.
    whole: bool,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let Some(buffer) = buffer.get_mut(..most).filter(|b| !b.is_empty()) else {
            return Ok(0);
        };
        let n = self.inner.read(buffer)?;
        self.left -= n as u64;
        if self.left == 0 && self.whole {
            // Only a body that was seen to end gives its connection back for the next request.
            let _ = self.inner.read(&mut [0]);
        }
        Ok(n)
    }
}

struct Counted<'a> {
    inner: &'a mut dyn Read,
    meter: &'a Meter,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.meter.sent(n as u64);
        Ok(n)
    }
}

/// Whether a tag can be sent back (RFC 9110 8.8.3). It stands in every later request: one that is too long for some server on the
/// way would keep a device from asking at all.
fn is_entity_tag(tag: &str) -> bool {
    tag.len() <= MAX_ENTITY_TAG && tag.bytes().all(|b| b.is_ascii_graphic())
}

fn header_text(response: &Response<ureq::Body>, name: header::HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn retry_after(response: &Response<ureq::Body>) -> Option<Duration> {
    header_text(response, header::RETRY_AFTER)?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}
