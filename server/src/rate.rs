//! Requests per client: by address always, and by token where one is sent.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use assay_schema::problem::ProblemKind;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::auth;
use crate::config::RateConfig;
use crate::problem::ApiError;

/// The buckets of every client; cheap to clone.
#[derive(Clone)]
pub struct Limits(Option<Arc<Buckets>>);

struct Buckets {
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    /// By a hash of the token as sent, valid or not: who does not know a token's secret cannot use up its requests.
    tokens: DefaultKeyedRateLimiter<u64>,
    hasher: std::hash::RandomState,
    behind_proxy: bool,
}

impl Limits {
    /// Fresh buckets.
    pub fn new(config: &RateConfig) -> Self {
        let quota = |per_second, burst| {
            let least = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
            Quota::per_second(least(per_second)).allow_burst(least(burst))
        };
        Self(config.enabled.then(|| {
            Arc::new(Buckets {
                addresses: RateLimiter::keyed(quota(config.address_per_second, config.address_burst)),
                tokens: RateLimiter::keyed(quota(config.token_per_second, config.token_burst)),
                hasher: std::hash::RandomState::new(),
                behind_proxy: config.behind_proxy,
            })
        }))
    }

    /// Forgets clients whose buckets are full again; without it every address ever seen would stay in memory.
    pub fn forget_idle(&self) {
        if let Some(buckets) = &self.0 {
            buckets.addresses.retain_recent();
            buckets.addresses.shrink_to_fit();
            buckets.tokens.retain_recent();
            buckets.tokens.shrink_to_fit();
        }
    }
}

impl Buckets {
    fn check(&self, request: &HttpRequest) -> Result<(), ApiError> {
        if let Some(address) = self.address(request) {
            take(&self.addresses, &address)?;
        }
        if let Some(Ok(token)) = auth::presented(request) {
            use std::hash::BuildHasher;
            take(&self.tokens, &self.hasher.hash_one(token))?;
        }
        Ok(())
    }

    fn address(&self, request: &HttpRequest) -> Option<IpAddr> {
        let forwarded = || {
            let all = request
                .headers()
                .get_all("x-forwarded-for")
                .last()?
                .to_str()
                .ok()?;
            all.rsplit(',').next()?.trim().parse().ok()
        };
        let peer = request.peer_addr().map(|peer| peer.ip());
        let found = if self.behind_proxy {
            forwarded().or(peer)
        } else {
            peer
        };
        found.map(client)
    }
}

/// Whom an address stands for. One subscriber of IPv6 has at least 64 bits of addresses to himself: his network is the client, or
/// he would have as many buckets as he likes.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

fn take<K: Hash + Eq + Clone>(bucket: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), ApiError> {
    bucket.check_key(key).map_err(|until| {
        let wait = until.wait_time_from(DefaultClock::default().now());
        let seconds = wait.as_secs().saturating_add(1);
        ApiError::new(
            ProblemKind::RateLimited,
            format!("this client asks too often; try again in {seconds} s"),
        )
        .retry_after(seconds)
    })
}

/// Middleware: 429 with `Retry-After` for whoever asks too often. Health checks are free.
///
/// # Errors
/// Those of the service.
pub async fn limit<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let free = matches!(request.path(), "/healthz" | "/readyz");
    if let Some(Limits(Some(buckets))) = request.app_data::<Data<Limits>>().map(Data::get_ref)
        && !free
        && let Err(refused) = buckets.check(request.request())
    {
        // An answer and no error, so that what is wrapped around it sees it.
        return Ok(request.error_response(refused).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_of_ipv6_is_one_client() {
        let of = |text: &str| client(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }
}
