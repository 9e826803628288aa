//! Which deltas are to be made. The pairs follow from releases and reported bases; a job is what somebody makes of one of them, and
//! what came of it when it was no delta.

use assay_schema::{ModelName, NamespaceName, Sha256Digest};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, EntityTrait, FromQueryResult, PaginatorTrait,
    QueryFilter, QueryOrder, Statement,
};

use super::connection::Database;
use super::convert::{PUBLISHED, digest, micros, parsed, unsigned};
use super::deltas::REGISTRY;
use super::entity::{delta_base, delta_job};
use super::error::DatabaseError;

type Result<T> = std::result::Result<T, DatabaseError>;

/// Bases of one model that are kept as reported; whoever reports more replaces the oldest, once that is old.
pub const BASES_OF_A_MODEL: u64 = 16;

/// Somebody makes the delta.
const MAKING: &str = "making";
/// It could not be made; it is tried again once the lease is over.
const FAILED: &str = "failed";
/// It was made and was too large, or cannot be made at all.
const UNPAID: &str = "unpaid";
/// Its publisher deleted it.
pub(super) const UNWANTED: &str = "unwanted";

/// Two published releases of a model, between which there is no delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaPair {
    /// Their namespace.
    pub namespace: NamespaceName,
    /// Their model.
    pub model: ModelName,
    /// The older one's manifest.
    pub base: Sha256Digest,
    /// The highest one's manifest.
    pub target: Sha256Digest,
    /// Bytes of the target's files.
    pub full: u64,
}

/// A delta that the registry made, to a release that is no longer among the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleDelta {
    /// Its namespace.
    pub namespace: NamespaceName,
    /// The base's manifest.
    pub base: Sha256Digest,
    /// The target's manifest.
    pub target: Sha256Digest,
    /// SHA-256 of its bytes.
    pub blob: Sha256Digest,
}

/// How a job ends that made no delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// Nobody is to try again.
    Unpaid,
    /// Somebody may try again from this time on.
    Failed(Timestamp),
}

#[derive(FromQueryResult)]
struct PairRow {
    namespace: String,
    model: String,
    base: String,
    target: String,
    full_size: i64,
}

#[derive(FromQueryResult)]
struct StaleRow {
    namespace: String,
    base: String,
    target: String,
    blob: String,
}

/// Published releases of each model, by their place in its order: 1 is the highest.
fn ranked() -> String {
    format!(
        "SELECT namespace, model, manifest, size, \
         ROW_NUMBER() OVER (PARTITION BY namespace, model ORDER BY epoch DESC, counter DESC) AS place \
         FROM releases WHERE state = '{PUBLISHED}'"
    )
}

impl Database {
    /// The next pair for `holder` to make a delta of: to the highest release of a model from one of the `bases` before it, or from a
    /// reported one. Pairs whose delta others make, or nobody is to make, are passed over.
    ///
    /// # Errors
    /// The database fails.
    pub async fn next_delta_pair(
        &self,
        bases: u32,
        holder: &str,
        now: Timestamp,
    ) -> Result<Option<DeltaPair>> {
        let sql = format!(
            "WITH ranked AS ({ranked}) \
             SELECT t.namespace, t.model, b.manifest AS base, t.manifest AS target, t.size AS full_size \
             FROM ranked t JOIN ranked b ON b.namespace = t.namespace AND b.model = t.model \
             LEFT JOIN delta_bases r ON r.namespace = b.namespace AND r.model = b.model AND r.base = b.manifest \
             LEFT JOIN deltas d ON d.namespace = t.namespace AND d.base = b.manifest AND d.target = t.manifest \
             LEFT JOIN delta_jobs j ON j.namespace = t.namespace AND j.base = b.manifest AND j.target = t.manifest \
             WHERE t.place = 1 AND b.place > 1 AND (b.place <= $1 OR r.base IS NOT NULL) AND d.base IS NULL \
             AND (j.base IS NULL OR (j.state IN ('{MAKING}', '{FAILED}') AND j.lease_end <= $2) \
             OR (j.state = '{MAKING}' AND j.holder = $3)) \
             ORDER BY b.place, t.namespace, t.model LIMIT 1",
            ranked = ranked()
        );
        let values = [
            (i64::from(bases).saturating_add(1)).into(),
            micros(now).into(),
            holder.into(),
        ];
        let statement = Statement::from_sql_and_values(self.read.get_database_backend(), sql, values);
        let row = PairRow::find_by_statement(statement).one(&self.read).await?;
        row.map(DeltaPair::try_from).transpose()
    }

    /// D1: takes a pair to make its delta, or goes on holding it; `false` if somebody else has it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn hold_delta_pair(
        &self,
        pair: &DeltaPair,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool> {
        let transaction = self.begin().await?;
        let row = delta_job::ActiveModel {
            namespace: Set(pair.namespace.to_string()),
            base: Set(pair.base.to_hex()),
            target: Set(pair.target.to_hex()),
            model: Set(pair.model.to_string()),
            state: Set(MAKING.to_owned()),
            holder: Set(holder.to_owned()),
            lease_end: Set(micros(until)),
        };
        let inserted = delta_job::Entity::insert(row)
            .on_conflict_do_nothing()
            .exec_without_returning(&transaction)
            .await?;
        if !matches!(inserted, sea_orm::TryInsertResult::Inserted(1)) {
            let over = Condition::all()
                .add(delta_job::Column::State.is_in([MAKING, FAILED]))
                .add(delta_job::Column::LeaseEnd.lte(micros(now)));
            let own = Condition::all()
                .add(delta_job::Column::State.eq(MAKING))
                .add(delta_job::Column::Holder.eq(holder));
            let held = delta_job::Entity::update_many()
                .col_expr(delta_job::Column::State, Expr::value(MAKING))
                .col_expr(delta_job::Column::Holder, Expr::value(holder))
                .col_expr(delta_job::Column::LeaseEnd, Expr::value(micros(until)))
                .filter(of_pair(pair))
                .filter(Condition::any().add(over).add(own))
                .exec(&transaction)
                .await?;
            if held.rows_affected != 1 {
                self.confirm(transaction).await?;
                return Ok(false);
            }
        }
        self.commit(transaction).await?;
        Ok(true)
    }

    /// D3: remembers that a pair's delta does not pay, or that it could not be made now. Nothing changes if another holds it meanwhile.
    ///
    /// # Errors
    /// The database fails.
    pub async fn end_delta_job(&self, pair: &DeltaPair, holder: &str, end: JobEnd) -> Result<()> {
        let (state, lease_end) = match end {
            JobEnd::Unpaid => (UNPAID, 0),
            JobEnd::Failed(until) => (FAILED, micros(until)),
        };
        let transaction = self.begin().await?;
        delta_job::Entity::update_many()
            .col_expr(delta_job::Column::State, Expr::value(state))
            .col_expr(delta_job::Column::LeaseEnd, Expr::value(lease_end))
            .filter(of_pair(pair))
            .filter(delta_job::Column::Holder.eq(holder))
            .exec(&transaction)
            .await?;
        self.commit(transaction).await
    }

    /// Deltas that the registry made to releases that are not among the last `releases` of their model, at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn stale_deltas(&self, releases: u32, limit: u32) -> Result<Vec<StaleDelta>> {
        let sql = format!(
            "WITH ranked AS ({ranked}) SELECT d.namespace, d.base, d.target, d.blob FROM deltas d \
             JOIN ranked t ON t.namespace = d.namespace AND t.model = d.model AND t.manifest = d.target \
             WHERE t.place > $1 AND d.made_by = '{REGISTRY}' ORDER BY d.namespace, d.target, d.base LIMIT $2",
            ranked = ranked()
        );
        let values = [i64::from(releases).into(), i64::from(limit).into()];
        let statement = Statement::from_sql_and_values(self.read.get_database_backend(), sql, values);
        let rows = StaleRow::find_by_statement(statement).all(&self.read).await?;
        rows.into_iter()
            .map(|row| {
                Ok(StaleDelta {
                    namespace: parsed("deltas.namespace", &row.namespace)?,
                    base: digest(&row.base)?,
                    target: digest(&row.target)?,
                    blob: digest(&row.blob)?,
                })
            })
            .collect()
    }

    /// D4: forgets jobs of pairs to releases that are no model's highest any more, and bases that nobody reported since `before`. `false`
    /// if there is nothing to forget.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_delta_work(&self, before: Timestamp) -> Result<bool> {
        let old = format!(
            "EXISTS (SELECT 1 FROM releases t JOIN releases n ON n.namespace = t.namespace AND n.model = t.model \
             AND n.state = '{PUBLISHED}' AND (n.epoch > t.epoch OR (n.epoch = t.epoch AND n.counter > t.counter)) \
             WHERE t.namespace = delta_jobs.namespace AND t.model = delta_jobs.model AND t.manifest = delta_jobs.target)"
        );
        let backend = self.read.get_database_backend();
        let found = Statement::from_string(backend, format!("SELECT 1 FROM delta_jobs WHERE {old} LIMIT 1"));
        let jobs = self.read.query_one_raw(found).await?.is_some();
        let unreported = delta_base::Column::Reported.lt(micros(before));
        let bases = delta_base::Entity::find()
            .filter(unreported.clone())
            .count(&self.read)
            .await?;
        if !jobs && bases == 0 {
            return Ok(false);
        }
        let transaction = self.begin().await?;
        if jobs {
            transaction
                .execute_unprepared(&format!("DELETE FROM delta_jobs WHERE {old}"))
                .await?;
        }
        delta_base::Entity::delete_many()
            .filter(unreported)
            .exec(&transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// D6: notes bases that devices reported, unless each was noted since `recent`. Beyond [`BASES_OF_A_MODEL`] a new one takes the
    /// place of the one that was reported longest ago, but of none that was reported since `recent`. `false` if nothing changed.
    ///
    /// # Errors
    /// The database fails.
    pub async fn note_delta_bases(
        &self,
        name: &NamespaceName,
        model: &ModelName,
        bases: &[Sha256Digest],
        now: Timestamp,
        recent: Timestamp,
    ) -> Result<bool> {
        let of_model = Condition::all()
            .add(delta_base::Column::Namespace.eq(name.as_str()))
            .add(delta_base::Column::Model.eq(model.as_str()));
        let known = delta_base::Entity::find()
            .filter(of_model)
            .order_by_asc(delta_base::Column::Reported)
            .all(&self.read)
            .await?;
        let recent = micros(recent);
        let mut old: Vec<String> = known
            .iter()
            .filter(|row| row.reported < recent)
            .map(|row| row.base.clone())
            .collect();
        let mut room = BASES_OF_A_MODEL.saturating_sub(known.len() as u64);
        let (mut noted, mut removed) = (Vec::new(), Vec::new());
        for base in bases.iter().map(Sha256Digest::to_hex) {
            if let Some(at) = old.iter().position(|other| *other == base) {
                old.remove(at);
                noted.push(base);
            } else if known.iter().any(|row| row.base == base) || noted.contains(&base) {
                // Reported a while ago.
            } else if room > 0 {
                room -= 1;
                noted.push(base);
            } else if !old.is_empty() {
                removed.push(old.remove(0));
                noted.push(base);
            }
        }
        if noted.is_empty() {
            return Ok(false);
        }
        let transaction = self.begin().await?;
        for base in removed.iter().chain(&noted) {
            delta_base::Entity::delete_by_id((name.to_string(), model.to_string(), base.clone()))
                .exec(&transaction)
                .await?;
        }
        for base in noted {
            let row = delta_base::ActiveModel {
                namespace: Set(name.to_string()),
                model: Set(model.to_string()),
                base: Set(base),
                reported: Set(micros(now)),
            };
            delta_base::Entity::insert(row)
                .on_conflict_do_nothing()
                .exec_without_returning(&transaction)
                .await?;
        }
        self.commit(transaction).await?;
        Ok(true)
    }
}

fn of_pair(pair: &DeltaPair) -> Condition {
    Condition::all()
        .add(delta_job::Column::Namespace.eq(pair.namespace.as_str()))
        .add(delta_job::Column::Base.eq(pair.base.to_hex()))
        .add(delta_job::Column::Target.eq(pair.target.to_hex()))
}

impl TryFrom<PairRow> for DeltaPair {
    type Error = DatabaseError;

    fn try_from(row: PairRow) -> Result<Self> {
        Ok(Self {
            namespace: parsed("releases.namespace", &row.namespace)?,
            model: parsed("releases.model", &row.model)?,
            base: digest(&row.base)?,
            target: digest(&row.target)?,
            full: unsigned(row.full_size)?,
        })
    }
}
