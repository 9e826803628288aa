//! Starting, serving, stopping.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::web::{Data, PayloadConfig};
use actix_web::{App, HttpServer};
use assay_schema::api::NewToken;
use tokio::task::JoinHandle;

use crate::config::{Config, ConfigError, LogKeyCommand};
use crate::problem::{self, ApiError};
use crate::rate::{self, Limits};
use crate::state::{AppState, LOCK, StartError};
use crate::{access, auth, delta, log, publish, store};

/// How often clients that ask no more are forgotten.
const FORGET: Duration = Duration::from_secs(60);

/// Why the registry does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder, the database or the object store.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The address.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A token for a registry that is not there.
    #[error("expected a registry's data folder, found none at {}; name it with --data-dir", folder.display())]
    NoRegistry {
        /// The folder.
        folder: PathBuf,
    },
    /// The transparency log.
    #[error(transparent)]
    Log(#[from] log::LogError),
    /// What rooms do when they start.
    #[error("cannot start: {0}")]
    Room(#[from] ApiError),
    /// Anything else that the operating system refuses.
    #[error("the registry stopped: {0}")]
    Io(#[from] std::io::Error),
}

/// A registry that serves.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its parts.
    pub state: AppState,
    handle: ServerHandle,
    server: JoinHandle<std::io::Result<()>>,
}

/// Binds, and serves from now on.
///
/// # Errors
/// The address is taken or not this machine's, or a room cannot start.
pub async fn start(state: AppState) -> Result<Running, RunError> {
    // Nothing is served by a registry that would show another history than before.
    log::sequence::prepare(&state).await?;
    let limits = Limits::new(&state.config.rate);
    let (data, shared) = (Data::new(state.clone()), Data::new(limits.clone()));
    let (address, cors) = (state.config.listen, state.config.cors.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(shared.clone())
            // Handlers take bodies as streams with limits of their own.
            .app_data(PayloadConfig::new(0))
            .wrap(from_fn(rate::limit))
            .wrap(from_fn(problem::as_problems))
            // Outside of both, so that a page can read why it was refused.
            .wrap(cors.middleware())
            .wrap(from_fn(access::log))
            // Outside of all, so that it has the answer that is sent.
            .wrap(from_fn(assay_unread::settle))
            .configure(crate::configure)
    })
    .disable_signals()
    .shutdown_timeout(state.config.shutdown.grace_seconds)
    .bind(address)
    .map_err(|source| RunError::Listen { address, source })?;
    let address = server.addrs().first().copied().unwrap_or(address);
    let server = server.run();
    let handle = server.handle();
    background(&state, limits);
    Ok(Running {
        address,
        handle,
        server: tokio::spawn(server),
        state,
    })
}

fn background(state: &AppState, limits: Limits) {
    publish::resign::start(state);
    log::sequence::start(state);
    log::cosign::start(state);
    delta::start(state);
    state.tasks.every(FORGET, move || {
        let limits = limits.clone();
        async move { limits.forget_idle() }
    });
    let sweeping = state.clone();
    state.tasks.every(
        Duration::from_secs(state.config.uploads.sweep_seconds),
        move || {
            let state = sweeping.clone();
            async move {
                if let Err(error) = store::sweep(&state, state.clock.now()).await {
                    tracing::warn!(%error, "sweeping failed; the next round goes on");
                }
                if let Err(error) = publish::collect::sweep(&state, state.clock.now()).await {
                    tracing::warn!(%error, "sweeping proposals failed; the next round goes on");
                }
            }
        },
    );
}

impl Running {
    /// Serves until told to stop; then finishes the requests under way, then background tasks, each within
    /// `[shutdown] grace_seconds`.
    ///
    /// # Errors
    /// The server fails by itself.
    pub async fn until(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut server = self.server;
        tokio::select! {
            () = stop => {}
            ended = &mut server => {
                return Ok(ended.map_err(std::io::Error::other)??);
            }
        }
        tracing::info!("stopping: finishing requests under way");
        self.handle.stop(true).await;
        server.await.map_err(std::io::Error::other)??;
        if !self
            .state
            .tasks
            .stop(Duration::from_secs(self.state.config.shutdown.grace_seconds))
            .await
        {
            tracing::warn!("background work was still under way; what it stored is kept");
        }
        if let Err(error) = self.state.db.clone().close().await {
            tracing::warn!(%error, "closing the database");
        }
        Ok(())
    }

    /// Stops now, as [`Running::until`] does.
    ///
    /// # Errors
    /// The server failed by itself.
    pub async fn stop(self) -> Result<(), RunError> {
        self.until(std::future::ready(())).await
    }
}

/// The parts of a registry that is there and does not run.
async fn open_existing(config: Config) -> Result<AppState, RunError> {
    // A mistyped folder must not become a new registry.
    if !config.data_dir.join(LOCK).exists() {
        return Err(RunError::NoRegistry {
            folder: config.data_dir,
        });
    }
    Ok(AppState::open(config).await?)
}

/// Makes an admin token for a registry that does not run, and prints it as [`serve`] prints the first.
///
/// # Errors
/// There is no registry in the data folder, or it runs; the label is no label; the database fails.
pub async fn admin_token(config: Config, label: String) -> Result<(), RunError> {
    let state = open_existing(config).await?;
    let token = auth::admin_token(&state, label).await?;
    show(&token)?;
    Ok(())
}

/// A step of a change of the log's key, for a registry that does not run; prints the keys.
///
/// # Errors
/// There is no registry in the data folder, or it runs; its log has not begun; there is no next key to go on with; a store fails.
pub async fn log_key(config: Config, command: &LogKeyCommand) -> Result<(), RunError> {
    let state = open_existing(config).await?;
    let mut out = std::io::stdout().lock();
    match command {
        LogKeyCommand::Next => {
            let next = log::rotate::next(&state).await?;
            writeln!(out, "next log key: {next}")?;
        }
        LogKeyCommand::Retire => {
            let changed = log::rotate::retire(&state).await?;
            writeln!(out, "retired log key: {}", changed.retired)?;
            writeln!(out, "log key: {}", changed.present)?;
        }
    }
    out.flush()?;
    Ok(())
}

fn show(token: &NewToken) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "admin token (shown once): {}", token.secret)?;
    out.flush()
}

/// Runs a registry until SIGTERM or SIGINT. Prints two lines that programs may wait for: the first admin token, once, at the
/// first start; and where it listens.
///
/// # Errors
/// It cannot start.
pub async fn serve(config: Config) -> Result<(), RunError> {
    let state = AppState::open(config).await?;
    let running = start(state).await?;
    if let Some(token) = auth::first_token(&running.state).await? {
        show(&token)?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{}", running.address)?;
    out.flush()?;
    drop(out);
    tracing::info!(address = %running.address, version = env!("CARGO_PKG_VERSION"), "serving");
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    running
        .until(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        })
        .await
}
