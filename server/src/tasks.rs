//! Work that outlives its request: a dropped connection must not lose what it sent, and a stopping registry waits for it.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Counts the tasks under way, and tells periodic ones to stop.
#[derive(Debug, Clone)]
pub struct Tasks {
    running: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
    runtime: Handle,
}

struct Running(watch::Sender<usize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Tasks {
    /// Tasks of the runtime that calls this. Requests are served by other, single-threaded runtimes, which end before.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn of_this_runtime() -> Self {
        Self {
            running: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            runtime: Handle::current(),
        }
    }

    /// Runs work that ends by itself.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.running.send_modify(|count| *count = count.saturating_add(1));
        let running = Running(self.running.clone());
        self.runtime.spawn(async move {
            let _running = running;
            work.await
        })
    }

    /// Does `work` every `period`, first at once, until the registry stops; a run that began is finished.
    pub fn every<F>(&self, period: Duration, mut work: impl FnMut() -> F + Send + 'static) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut stopping = self.stopping.subscribe();
        self.spawn(async move {
            loop {
                if *stopping.borrow() {
                    return;
                }
                work().await;
                tokio::select! {
                    () = tokio::time::sleep(period) => {}
                    _ = stopping.changed() => {}
                }
            }
        })
    }

    /// Whether the registry is stopping.
    pub fn stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Ends when the registry is stopping, for work that waits by itself.
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Stops periodic work and waits for the rest, within a bound. `false` if something was still under way then.
    pub async fn stop(&self, within: Duration) -> bool {
        self.stopping.send_replace(true);
        let mut running = self.running.subscribe();
        tokio::time::timeout(within, running.wait_for(|count| *count == 0))
            .await
            .is_ok()
    }
}
