//! The tables. Migrations are transactional on PostgreSQL only, so each statement is idempotent by itself.

use sea_orm::sea_query::{ColumnDef, IntoIden, TableCreateStatement};
use sea_orm_migration::prelude::*;

pub(super) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(FirstTables),
            Box::new(LogTables),
            Box::new(WitnessTables),
            Box::new(LogKeyTables),
            Box::new(ProposalTables),
            Box::new(DeltaTables),
        ]
    }
}

struct FirstTables;

impl MigrationName for FirstTables {
    fn name(&self) -> &'static str {
        "m0001_first_tables"
    }
}

struct Columns {
    postgres: bool,
}

impl Columns {
    /// Text that compares by its bytes: PostgreSQL would else order names by the cluster's locale.
    fn text<T: IntoIden>(&self, name: T) -> ColumnDef {
        let mut column = ColumnDef::new(name);
        column.string();
        if self.postgres {
            column.extra("COLLATE \"C\"");
        }
        column
    }

    fn name<T: IntoIden>(&self, name: T) -> ColumnDef {
        let mut column = self.text(name);
        column.not_null();
        column
    }

    fn integer<T: IntoIden>(&self, name: T) -> ColumnDef {
        let mut column = ColumnDef::new(name);
        column.big_integer().not_null();
        column
    }

    fn integer_null<T: IntoIden>(&self, name: T) -> ColumnDef {
        let mut column = ColumnDef::new(name);
        column.big_integer().null();
        column
    }

    fn bytes<T: IntoIden>(&self, name: T) -> ColumnDef {
        let mut column = ColumnDef::new(name);
        column.binary().not_null();
        column
    }
}

fn table(name: &'static str, columns: Vec<ColumnDef>, key: &[&'static str]) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(Alias::new(name)).if_not_exists();
    for column in columns {
        table.col(column);
    }
    let mut primary = Index::create();
    for column in key {
        primary.col(Alias::new(*column));
    }
    table.primary_key(&mut primary);
    table
}

fn tables(c: &Columns) -> Vec<TableCreateStatement> {
    let mut current = ColumnDef::new("current");
    current.boolean().not_null();
    vec![
        table(
            "namespaces",
            vec![
                c.name("name"),
                c.name("identity"),
                c.name("visibility"),
                c.integer("created"),
                c.integer("revision"),
            ],
            &["name"],
        ),
        table(
            "online_keys",
            vec![
                c.name("namespace"),
                c.name("role"),
                c.name("public"),
                c.bytes("sealed"),
            ],
            &["namespace", "role"],
        ),
        table(
            "metadata",
            vec![
                c.name("namespace"),
                c.name("role"),
                c.integer("version"),
                c.name("sha256"),
                c.bytes("bytes"),
                c.integer("expires"),
                current,
            ],
            &["namespace", "role", "version"],
        ),
        table(
            "releases",
            vec![
                c.name("namespace"),
                c.name("model"),
                c.name("version"),
                c.integer("epoch"),
                c.integer("counter"),
                c.name("manifest"),
                c.name("state"),
                c.integer("size"),
                c.integer("files"),
                c.integer("created"),
                c.integer_null("published"),
            ],
            &["namespace", "model", "version"],
        ),
        table(
            "release_blobs",
            vec![
                c.name("namespace"),
                c.name("model"),
                c.name("version"),
                c.name("sha256"),
            ],
            &["namespace", "model", "version", "sha256"],
        ),
        table(
            "blobs",
            vec![
                c.name("sha256"),
                c.integer("size"),
                c.text("chunks"),
                c.text("upload"),
            ],
            &["sha256"],
        ),
        table(
            "namespace_blobs",
            vec![c.name("namespace"), c.name("sha256")],
            &["namespace", "sha256"],
        ),
        table(
            "uploads",
            vec![
                c.name("id"),
                c.name("namespace"),
                c.name("sha256"),
                c.integer("size"),
                c.integer("stored"),
                c.integer("updated"),
            ],
            &["id"],
        ),
        table(
            "segments",
            vec![
                c.name("upload"),
                c.integer("start"),
                c.integer("len"),
                c.name("object"),
            ],
            &["upload", "start"],
        ),
        table(
            "tokens",
            vec![
                c.name("id"),
                c.name("label"),
                c.name("hash"),
                c.name("scope"),
                c.text("namespace"),
                c.integer("created"),
                c.integer_null("expires"),
                c.integer_null("revoked"),
            ],
            &["id"],
        ),
    ]
}

/// Name, table, columns, unique.
const INDEXES: &[(&str, &str, &[&str], bool)] = &[
    (
        "metadata_current",
        "metadata",
        &["current", "role", "expires"],
        false,
    ),
    (
        "releases_order",
        "releases",
        &["namespace", "model", "epoch", "counter"],
        false,
    ),
    ("release_blobs_sha256", "release_blobs", &["sha256"], false),
    ("blobs_upload", "blobs", &["upload"], false),
    // One upload of a digest in a namespace: asking again finds it.
    ("uploads_digest", "uploads", &["namespace", "sha256"], true),
    ("uploads_updated", "uploads", &["updated"], false),
];

#[async_trait::async_trait]
impl MigrationTrait for FirstTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = Columns {
            postgres: manager.get_database_backend() == sea_orm::DbBackend::Postgres,
        };
        for table in tables(&columns) {
            manager.create_table(table).await?;
        }
        for (name, table, columns, unique) in INDEXES {
            let mut index = Index::create();
            index.name(*name).table(Alias::new(*table)).if_not_exists();
            for column in *columns {
                index.col(Alias::new(*column));
            }
            if *unique {
                index.unique();
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

struct LogTables;

impl MigrationName for LogTables {
    fn name(&self) -> &'static str {
        "m0002_log_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for LogTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let c = Columns {
            postgres: manager.get_database_backend() == sea_orm::DbBackend::Postgres,
        };
        let entries = table(
            "log_entries",
            vec![
                c.name("namespace"),
                c.name("kind"),
                c.integer("version"),
                c.name("sha256"),
                c.integer("created"),
                c.integer_null("place"),
                c.integer_null("tree"),
            ],
            &["namespace", "kind", "version", "sha256"],
        );
        let state = table(
            "log_state",
            vec![
                c.name("name"),
                c.name("key"),
                c.bytes("sealed"),
                c.integer("size"),
                c.name("root"),
                c.integer("published"),
            ],
            &["name"],
        );
        let batches = table("log_batches", vec![c.integer("size"), c.name("root")], &["size"]);
        for table in [entries, state, batches] {
            manager.create_table(table).await?;
        }
        for (name, columns, unique) in [
            ("log_entries_place", ["place"].as_slice(), true),
            ("log_entries_pending", &["place", "created"], false),
        ] {
            let mut index = Index::create();
            index.name(name).table(Alias::new("log_entries")).if_not_exists();
            for column in columns {
                index.col(Alias::new(*column));
            }
            if unique {
                index.unique();
            }
            manager.create_index(index).await?;
        }
        // What was published before there was a log waits for its place like everything else.
        let earlier = "INSERT INTO log_entries (namespace, kind, version, sha256, created) \
             SELECT n.identity, m.role, m.version, m.sha256, n.created FROM metadata m \
             JOIN namespaces n ON n.name = m.namespace WHERE m.role IN ('root', 'snapshot') \
             ON CONFLICT DO NOTHING";
        manager.get_connection().execute_unprepared(earlier).await?;
        Ok(())
    }
}

struct WitnessTables;

impl MigrationName for WitnessTables {
    fn name(&self) -> &'static str {
        "m0003_witness_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for WitnessTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let c = Columns {
            postgres: manager.get_database_backend() == sea_orm::DbBackend::Postgres,
        };
        let cosignatures = table(
            "log_cosignatures",
            vec![
                c.integer("size"),
                c.name("key"),
                c.name("line"),
                c.integer("cosigned"),
            ],
            &["size", "key"],
        );
        manager.create_table(cosignatures).await?;
        let mut index = Index::create();
        index
            .name("log_cosignatures_key")
            .table(Alias::new("log_cosignatures"))
            .if_not_exists()
            .col(Alias::new("key"))
            .col(Alias::new("size"));
        manager.create_index(index).await
    }
}

struct LogKeyTables;

impl MigrationName for LogKeyTables {
    fn name(&self) -> &'static str {
        "m0004_log_key_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for LogKeyTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let c = Columns {
            postgres: manager.get_database_backend() == sea_orm::DbBackend::Postgres,
        };
        let next = table(
            "log_next_key",
            vec![c.name("name"), c.name("key"), c.bytes("sealed")],
            &["name"],
        );
        let retired = table(
            "log_retired_keys",
            vec![c.name("key"), c.integer("retired")],
            &["key"],
        );
        manager.create_table(next).await?;
        manager.create_table(retired).await
    }
}

struct ProposalTables;

impl MigrationName for ProposalTables {
    fn name(&self) -> &'static str {
        "m0005_proposals"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for ProposalTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let c = Columns {
            postgres: manager.get_database_backend() == sea_orm::DbBackend::Postgres,
        };
        let proposals = table(
            "proposals",
            vec![
                c.name("namespace"),
                c.name("id"),
                c.bytes("publication"),
                c.integer("created"),
                c.integer("updated"),
            ],
            &["namespace", "id"],
        );
        let signatures = table(
            "proposal_signatures",
            vec![
                c.name("namespace"),
                c.name("proposal"),
                c.name("role"),
                c.name("keyid"),
                c.name("sig"),
            ],
            &["namespace", "proposal", "role", "keyid"],
        );
        for table in [proposals, signatures] {
            manager.create_table(table).await?;
        }
        let mut index = Index::create();
        index
            .name("proposals_updated")
            .table(Alias::new("proposals"))
            .if_not_exists()
            .col(Alias::new("updated"));
        manager.create_index(index).await
    }
}

struct DeltaTables;

impl MigrationName for DeltaTables {
    fn name(&self) -> &'static str {
        "m0006_deltas"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for DeltaTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let c = Columns {
            postgres: manager.get_database_backend() == sea_orm::DbBackend::Postgres,
        };
        let deltas = table(
            "deltas",
            vec![
                c.name("namespace"),
                c.name("base"),
                c.name("target"),
                c.name("model"),
                c.name("blob"),
                c.integer("size"),
                c.integer("index_size"),
                c.integer("full_size"),
                c.name("made_by"),
                c.integer("created"),
            ],
            &["namespace", "base", "target"],
        );
        let jobs = table(
            "delta_jobs",
            vec![
                c.name("namespace"),
                c.name("base"),
                c.name("target"),
                c.name("model"),
                c.name("state"),
                c.name("holder"),
                c.integer("lease_end"),
            ],
            &["namespace", "base", "target"],
        );
        let bases = table(
            "delta_bases",
            vec![
                c.name("namespace"),
                c.name("model"),
                c.name("base"),
                c.integer("reported"),
            ],
            &["namespace", "model", "base"],
        );
        for table in [deltas, jobs, bases] {
            manager.create_table(table).await?;
        }
        for (name, columns) in [
            ("deltas_target", ["namespace", "model", "target"].as_slice()),
            ("deltas_blob", &["blob", "namespace"]),
        ] {
            let mut index = Index::create();
            index.name(name).table(Alias::new("deltas")).if_not_exists();
            for column in columns {
                index.col(Alias::new(*column));
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }
}
