//! The configuration: one TOML file, overridden by options and environment variables; parsed once, at boot, into types.

mod line;
mod transparency;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::cors::CorsConfig;

pub use line::{Command, Line, LogKeyCommand, Options};
pub use transparency::{TransparencyConfig, WitnessConfig};

/// Text that no log and no `Debug` shows.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever must use it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(redacted)")
    }
}

/// The configuration as everything else sees it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The folder of whatever has no place of its own.
    pub data_dir: PathBuf,
    /// The database.
    pub database: DatabaseConfig,
    /// The object store.
    pub storage: StorageConfig,
    /// Uploads.
    pub uploads: UploadConfig,
    /// Requests' bodies.
    pub requests: RequestConfig,
    /// Requests per client.
    pub rate: RateConfig,
    /// Web pages of other origins.
    pub cors: CorsConfig,
    /// Online roles.
    pub signing: SigningConfig,
    /// Stopping.
    pub shutdown: ShutdownConfig,
    /// Logs.
    pub log: LogConfig,
    /// The transparency log.
    pub transparency: TransparencyConfig,
    /// Deltas that the registry makes.
    pub deltas: DeltaConfig,
    /// Faults on purpose.
    #[cfg(feature = "crash-points")]
    pub testing: TestingConfig,
}

/// Where the database is.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// May hold a password.
    pub url: Secret,
}

/// Where the objects are.
#[derive(Debug, Clone)]
pub enum StorageConfig {
    /// A local folder; every write is synced.
    Folder(PathBuf),
    /// Any store that `object_store` knows.
    Url {
        /// Scheme, bucket, prefix.
        url: Url,
        /// The store's own options (credentials, region, endpoint).
        options: BTreeMap<String, Secret>,
    },
}

/// `[uploads]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UploadConfig {
    /// The largest blob, in bytes.
    pub max_size: u64,
    /// An upload that has not moved for so many days is forgotten.
    pub idle_days: u16,
    /// Seconds between two sweeps.
    pub sweep_seconds: u64,
    /// Uploads that may write at the same time; each needs up to 20 MiB of memory.
    pub concurrent: usize,
}

impl Default for UploadConfig {
    fn default() -> Self {
        Self {
            max_size: assay_schema::limits::MAX_FILE_SIZE,
            idle_days: 7,
            sweep_seconds: 3600,
            concurrent: 32,
        }
    }
}

/// `[requests]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestConfig {
    /// Seconds that a body may stand still. Sending nothing holds a connection and, for uploads, the right to write.
    pub body_idle_seconds: u64,
}

impl Default for RequestConfig {
    fn default() -> Self {
        Self {
            body_idle_seconds: 30,
        }
    }
}

impl RequestConfig {
    /// How long a body may stand still.
    pub const fn idle(&self) -> Duration {
        Duration::from_secs(self.body_idle_seconds)
    }
}

/// `[rate]`: requests that one client may make. A burst, and what comes back per second.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateConfig {
    /// Off for tests and for registries behind a proxy that limits by itself.
    pub enabled: bool,
    /// Requests per second of one client address.
    pub address_per_second: u32,
    /// Requests that an address may make at once.
    pub address_burst: u32,
    /// Requests per second of one token.
    pub token_per_second: u32,
    /// Requests that a token may make at once.
    pub token_burst: u32,
    /// The address is the last one in `X-Forwarded-For`: only behind a proxy that sets it.
    pub behind_proxy: bool,
}

impl Default for RateConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            // A release of 20,000 files is 40,000 requests for its publisher: a minute, not an outage.
            address_per_second: 1_000,
            address_burst: 5_000,
            token_per_second: 1_000,
            token_burst: 5_000,
            behind_proxy: false,
        }
    }
}

/// `[signing]`: the online roles.
#[derive(Debug, Clone)]
pub struct SigningConfig {
    /// The file of the key that seals the online keys in the database; made at the first start.
    pub seal_key: PathBuf,
    /// How long a snapshot lasts.
    pub snapshot: Duration,
    /// How long a timestamp lasts.
    pub timestamp: Duration,
    /// How often to look for what must be signed again.
    pub check: Duration,
}

/// `[deltas]`: those that the registry makes by itself, in the background.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeltaConfig {
    /// Off: it makes none and drops none, and serves what there is.
    pub enabled: bool,
    /// From how many of the releases before the highest one, besides those that devices report.
    pub bases: u32,
    /// The largest part of the full size that still pays, 0 to 1.
    pub most_of_full: f64,
    /// Threads that it takes for one delta; each needs up to 24 MiB of memory.
    pub threads: usize,
}

impl Default for DeltaConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            bases: 3,
            most_of_full: 0.8,
            threads: 1,
        }
    }
}

/// `[shutdown]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// Seconds that requests under way may take.
    pub grace_seconds: u64,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { grace_seconds: 30 }
    }
}

/// `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// As in `info` or `assay_server=debug,info`.
    pub filter: String,
    /// One JSON object per line.
    pub json: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            // What these two say at every start is not news.
            filter: "info,actix_server=warn,sea_orm_migration=warn".to_owned(),
            json: false,
        }
    }
}

/// `[testing]`: there only when built for tests.
#[cfg(feature = "crash-points")]
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestingConfig {
    /// Abort the process behind this durable step.
    pub stop_after: Option<crate::steps::Step>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    listen: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    database: DatabaseSection,
    storage: StorageSection,
    uploads: UploadConfig,
    requests: RequestConfig,
    rate: RateConfig,
    cors: CorsConfig,
    signing: SigningSection,
    shutdown: ShutdownConfig,
    log: LogConfig,
    transparency: TransparencyConfig,
    deltas: DeltaConfig,
    #[cfg(feature = "crash-points")]
    testing: TestingConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DatabaseSection {
    url: Option<Secret>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StorageSection {
    url: Option<String>,
    options: BTreeMap<String, Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SigningSection {
    seal_key: Option<PathBuf>,
    snapshot_days: u16,
    timestamp_hours: u16,
    check_seconds: u64,
}

impl Default for SigningSection {
    fn default() -> Self {
        Self {
            seal_key: None,
            snapshot_days: 7,
            timestamp_hours: 24,
            check_seconds: 300,
        }
    }
}

/// A configuration that the registry does not start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("configuration {file}: {source}")]
    Toml {
        /// The file.
        file: PathBuf,
        /// Line, column and what was expected.
        source: Box<toml::de::Error>,
    },
    /// A value that cannot be used.
    #[error("configuration: {what}: expected {expected}, found {found}")]
    Value {
        /// Its key.
        what: &'static str,
        /// The rule.
        expected: &'static str,
        /// What is there, without secrets.
        found: String,
    },
}

impl Config {
    /// Reads the file that the options name, if any; options win over the file. `environment` is what the object store takes
    /// its credentials from.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(
        options: Options,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let file = match &options.config {
            None => File::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                    file: path.clone(),
                    source,
                })?;
                toml::from_str(&text).map_err(|source| ConfigError::Toml {
                    file: path.clone(),
                    source: Box::new(source),
                })?
            }
        };
        Self::from_parts(options, file, environment)
    }

    /// The defaults with everything in one folder.
    ///
    /// # Errors
    /// The folder's name cannot stand in a URL.
    pub fn in_folder(folder: &Path) -> Result<Self, ConfigError> {
        let options = Options {
            config: None,
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            data_dir: Some(folder.to_owned()),
            database_url: None,
            storage_url: None,
        };
        Self::from_parts(options, File::default(), std::iter::empty())
    }

    fn from_parts(
        options: Options,
        file: File,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let data_dir = options
            .data_dir
            .or(file.data_dir)
            .unwrap_or_else(|| PathBuf::from("./assay-data"));
        let database = match options.database_url.map(Secret::new).or(file.database.url) {
            Some(url) => database_url(url)?,
            None => default_database(&data_dir)?,
        };
        let storage = match options.storage_url.or(file.storage.url) {
            None => StorageConfig::Folder(data_dir.join("storage")),
            Some(text) => storage(&text, file.storage.options, environment)?,
        };
        let positive = |what, value: u64| match value {
            0 => Err(ConfigError::Value {
                what,
                expected: "at least 1",
                found: "0".to_owned(),
            }),
            value => Ok(Duration::from_secs(value)),
        };
        let signing = SigningConfig {
            seal_key: file.signing.seal_key.unwrap_or_else(|| data_dir.join("seal.key")),
            snapshot: positive(
                "signing.snapshot_days",
                u64::from(file.signing.snapshot_days) * 86_400,
            )?,
            timestamp: positive(
                "signing.timestamp_hours",
                u64::from(file.signing.timestamp_hours) * 3_600,
            )?,
            check: positive("signing.check_seconds", file.signing.check_seconds)?,
        };
        file.transparency.refuse_bad()?;
        positive("uploads.idle_days", u64::from(file.uploads.idle_days))?;
        positive("uploads.sweep_seconds", file.uploads.sweep_seconds)?;
        positive("uploads.concurrent", file.uploads.concurrent as u64)?;
        positive("requests.body_idle_seconds", file.requests.body_idle_seconds)?;
        positive("deltas.threads", file.deltas.threads as u64)?;
        if !(0.0..=1.0).contains(&file.deltas.most_of_full) {
            return Err(ConfigError::Value {
                what: "deltas.most_of_full",
                expected: "a part of the whole, 0 to 1",
                found: file.deltas.most_of_full.to_string(),
            });
        }
        for (what, value) in [
            ("rate.address_per_second", file.rate.address_per_second),
            ("rate.address_burst", file.rate.address_burst),
            ("rate.token_per_second", file.rate.token_per_second),
            ("rate.token_burst", file.rate.token_burst),
        ] {
            positive(what, u64::from(value))?;
        }
        if let Some(found) = file.cors.bad_origin() {
            return Err(ConfigError::Value {
                what: "cors.origins",
                expected: "[\"*\"], or origins such as https://app.example.org",
                found: found.to_owned(),
            });
        }
        if let Err(error) = EnvFilter::try_new(&file.log.filter) {
            return Err(ConfigError::Value {
                what: "log.filter",
                expected: "directives such as info or assay_server=debug,info",
                found: format!("{:?}: {error}", file.log.filter),
            });
        }
        if file.uploads.max_size > assay_schema::limits::MAX_FILE_SIZE {
            return Err(ConfigError::Value {
                what: "uploads.max_size",
                expected: "at most 4398046511104 (4 TiB), which is what devices accept",
                found: file.uploads.max_size.to_string(),
            });
        }
        Ok(Self {
            listen: options
                .listen
                .or(file.listen)
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8750))),
            data_dir,
            database,
            storage,
            uploads: file.uploads,
            requests: file.requests,
            rate: file.rate,
            cors: file.cors,
            signing,
            shutdown: file.shutdown,
            log: file.log,
            transparency: file.transparency,
            deltas: file.deltas,
            #[cfg(feature = "crash-points")]
            testing: file.testing,
        })
    }
}

fn database_url(url: Secret) -> Result<DatabaseConfig, ConfigError> {
    let known = ["sqlite:", "postgres:", "postgresql:"];
    if known.iter().any(|scheme| url.expose().starts_with(scheme)) {
        return Ok(DatabaseConfig { url });
    }
    Err(ConfigError::Value {
        what: "database.url",
        expected: "sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE",
        // What comes behind the scheme may be a password.
        found: url
            .expose()
            .split(':')
            .next()
            .unwrap_or_default()
            .chars()
            .take(20)
            .collect(),
    })
}

fn default_database(data_dir: &Path) -> Result<DatabaseConfig, ConfigError> {
    let file = data_dir.join("assay.sqlite");
    let text = file
        .to_str()
        .filter(|text| !text.contains(['?', '#', '%']))
        .ok_or(ConfigError::Value {
            what: "data_dir",
            expected: "a UTF-8 path without '?', '#' and '%'",
            found: data_dir.display().to_string(),
        })?;
    Ok(DatabaseConfig {
        url: Secret::new(format!("sqlite://{text}")),
    })
}

fn storage(
    text: &str,
    options: BTreeMap<String, Secret>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<StorageConfig, ConfigError> {
    let bad = |found: String| ConfigError::Value {
        what: "storage.url",
        expected: "a URL such as file:///var/lib/assay/storage or s3://bucket/prefix",
        found,
    };
    let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
    if url.scheme() == "file" {
        let folder = url
            .to_file_path()
            .map_err(|()| bad("a file URL without an absolute path".to_owned()))?;
        return Ok(StorageConfig::Folder(folder));
    }
    let mut all: BTreeMap<String, Secret> = environment
        .filter(|(key, _)| {
            ["AWS_", "GOOGLE_", "AZURE_"]
                .iter()
                .any(|prefix| key.starts_with(prefix))
        })
        .map(|(key, value)| (key.to_ascii_lowercase(), Secret::new(value)))
        .collect();
    all.extend(options);
    Ok(StorageConfig::Url { url, options: all })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parse(text: &str) -> Result<Config, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        let options = Line::parse_from(["assay-server"]).options;
        let environment = [("AWS_SECRET_ACCESS_KEY", "hush"), ("PATH", "/bin")];
        let environment = environment.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        Config::from_parts(options, file, environment).map_err(|e| e.to_string())
    }

    #[test]
    fn an_unknown_key_is_refused_and_named() {
        let error = parse("[uploads]\nidle_dayz = 3").unwrap_err();
        assert!(error.contains("idle_dayz"), "{error}");
        assert!(parse("colour = 'red'").unwrap_err().contains("colour"));
    }

    #[test]
    fn secrets_do_not_show() {
        let config =
            parse("[database]\nurl = 'postgres://assay:hunter2@db/assay'\n[storage]\nurl = 's3://models'")
                .unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("hush"), "{shown}");
        let StorageConfig::Url { options, .. } = &config.storage else {
            panic!("{shown}")
        };
        assert_eq!(options.keys().collect::<Vec<_>>(), ["aws_secret_access_key"]);
        let error = parse("[database]\nurl = 'mysql://assay:hunter2@db/assay'").unwrap_err();
        assert!(error.contains("mysql") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn values_that_cannot_work_are_refused() {
        for (text, key) in [
            ("[rate]\naddress_burst = 0", "rate.address_burst"),
            ("[uploads]\nidle_days = 0", "uploads.idle_days"),
            ("[transparency]\nbatch_millis = 0", "transparency.batch_millis"),
            ("[requests]\nbody_idle_seconds = 0", "requests.body_idle_seconds"),
            ("[uploads]\nmax_size = 4398046511105", "uploads.max_size"),
            ("[deltas]\nthreads = 0", "deltas.threads"),
            ("[deltas]\nmost_of_full = 1.1", "deltas.most_of_full"),
            ("[deltas]\nmost_of_full = nan", "deltas.most_of_full"),
            ("[storage]\nurl = 'no url'", "storage.url"),
            ("[cors]\norigins = ['app.example.org']", "cors.origins"),
            ("[log]\nfilter = 'assay_server=loud'", "log.filter"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn the_defaults_lie_in_the_data_folder() {
        let config = parse("data_dir = '/srv/assay'").unwrap();
        assert_eq!(config.database.url.expose(), "sqlite:///srv/assay/assay.sqlite");
        assert!(
            matches!(&config.storage, StorageConfig::Folder(folder) if folder == Path::new("/srv/assay/storage"))
        );
        assert_eq!(config.listen.to_string(), "127.0.0.1:8750");
    }
}
