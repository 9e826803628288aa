//! Slow retrieval: a registry that sends a byte now and then would otherwise hold a device for ever.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::Meter;

/// A reader that fails when it is kept waiting below a minimum rate. Only the time inside `read` counts: a slow consumer is
/// not the registry's fault.
pub(super) struct Paced<'m, R> {
    inner: R,
    meter: &'m Meter,
    waited: Duration,
    bytes: u64,
    grace: Duration,
    rate: u64,
}

impl<'m, R: Read> Paced<'m, R> {
    /// At least `rate` bytes a second on average once `grace` has passed in waiting.
    pub(super) fn new(inner: R, meter: &'m Meter, grace: Duration, rate: u64) -> Self {
        Self {
            inner,
            meter,
            waited: Duration::ZERO,
            bytes: 0,
            grace,
            rate,
        }
    }
}

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        let n = self.inner.read(buffer)?;
        self.waited += begun.elapsed();
        self.bytes += n as u64;
        self.meter.received(n as u64);
        // TUF 5.1's slow retrieval attack: the transfer must make progress, not merely be alive.
        if n > 0 && self.waited > self.grace {
            let owed = self.rate.saturating_mul((self.waited - self.grace).as_secs());
            if self.bytes < owed {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "too slow: {} bytes in {} seconds, expected at least {} a second",
                        self.bytes,
                        self.waited.as_secs(),
                        self.rate
                    ),
                ));
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Trickle(Duration);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(self.0);
            buffer[0] = 0;
            Ok(1)
        }
    }

    #[test]
    fn a_trickle_is_refused() {
        let meter = Meter::default();
        let trickle = Trickle(Duration::from_millis(300));
        let mut paced = Paced::new(trickle, &meter, Duration::from_millis(100), 1000);
        let error = io::copy(&mut paced, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("too slow"), "{error}");
    }

    #[test]
    fn a_slow_consumer_is_not_the_registrys_fault() {
        let meter = Meter::default();
        let mut paced = Paced::new(&[0_u8; 4][..], &meter, Duration::ZERO, 1000);
        let mut byte = [0];
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(30));
            paced.read_exact(&mut byte).unwrap();
        }
        assert_eq!(meter.total().received, 4);
    }
}
