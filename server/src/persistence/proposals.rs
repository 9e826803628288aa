//! Proposals and their signatures: a row for each signature, so that two signers at once lose none.

use assay_schema::proposal::RoleSignature;
use assay_schema::{NamespaceName, Sha256Digest};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::connection::Database;
use super::convert::{digest, micros, parsed, time};
use super::entity::{namespace, proposal, proposal_signature};
use super::error::DatabaseError;

type Result<T> = std::result::Result<T, DatabaseError>;

/// A proposal as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalRecord {
    /// Its namespace.
    pub namespace: NamespaceName,
    /// The digest of its content without signatures.
    pub id: Sha256Digest,
    /// The publication as JSON, without signatures.
    pub publication: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was signed last.
    pub updated: Timestamp,
}

/// A signature of one of a proposal's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalSignature {
    /// The role whose file it signs.
    pub role: String,
    /// The signature.
    pub signature: RoleSignature,
}

/// What came of adding a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddedProposal {
    /// It is new.
    New,
    /// It was there; its new signatures were added.
    Known,
    /// The namespace keeps as many as it may; nothing was stored.
    Full,
}

impl Database {
    /// C1: stores a proposal with the signatures that it came with; of one that is there already, the signatures only.
    ///
    /// # Errors
    /// The database fails.
    pub async fn add_proposal(
        &self,
        new: ProposalRecord,
        signatures: Vec<ProposalSignature>,
        limit: u32,
    ) -> Result<AddedProposal> {
        let transaction = self.begin().await?;
        // PostgreSQL counts and inserts one after the other by this lock; SQLite has one writer anyway.
        namespace::Entity::find_by_id(new.namespace.as_str())
            .lock_exclusive()
            .one(&transaction)
            .await?;
        let (name, id) = (new.namespace.clone(), new.id);
        let key = (name.to_string(), id.to_hex());
        let known = proposal::Entity::find_by_id(key)
            .one(&transaction)
            .await?
            .is_some();
        if !known {
            let kept = proposal::Entity::find()
                .filter(proposal::Column::Namespace.eq(name.as_str()))
                .count(&transaction)
                .await?;
            if kept >= u64::from(limit) {
                return Ok(AddedProposal::Full);
            }
            let row = proposal::ActiveModel {
                namespace: Set(name.to_string()),
                id: Set(id.to_hex()),
                publication: Set(new.publication),
                created: Set(micros(new.created)),
                updated: Set(micros(new.updated)),
            };
            proposal::Entity::insert(row)
                .exec_without_returning(&transaction)
                .await?;
        }
        insert_signatures(&transaction, &name, &id, signatures, new.updated).await?;
        self.commit(transaction).await?;
        Ok(if known {
            AddedProposal::Known
        } else {
            AddedProposal::New
        })
    }

    /// C2: adds signatures to a proposal; `false` if it is gone. A key's first signature of a file stays.
    ///
    /// # Errors
    /// The database fails.
    pub async fn add_proposal_signatures(
        &self,
        name: &NamespaceName,
        id: &Sha256Digest,
        signatures: Vec<ProposalSignature>,
        now: Timestamp,
    ) -> Result<bool> {
        let transaction = self.begin().await?;
        if !insert_signatures(&transaction, name, id, signatures, now).await? {
            return Ok(false);
        }
        self.commit(transaction).await?;
        Ok(true)
    }

    /// A proposal and its signatures, by role and key id.
    ///
    /// # Errors
    /// The database fails.
    pub async fn proposal(
        &self,
        name: &NamespaceName,
        id: &Sha256Digest,
    ) -> Result<Option<(ProposalRecord, Vec<ProposalSignature>)>> {
        let key = (name.to_string(), id.to_hex());
        let Some(row) = proposal::Entity::find_by_id(key).one(&self.read).await? else {
            return Ok(None);
        };
        let signatures = proposal_signature::Entity::find()
            .filter(of_proposal(name, id))
            .order_by_asc(proposal_signature::Column::Role)
            .order_by_asc(proposal_signature::Column::Keyid)
            .all(&self.read)
            .await?;
        let signatures = signatures.into_iter().map(|row| ProposalSignature {
            role: row.role,
            signature: RoleSignature {
                keyid: row.keyid,
                sig: row.sig,
            },
        });
        Ok(Some((row.try_into()?, signatures.collect())))
    }

    /// Ids of a namespace's proposals above `after`, ascending, at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn proposal_ids(
        &self,
        name: &NamespaceName,
        after: Option<&Sha256Digest>,
        limit: u32,
    ) -> Result<Vec<Sha256Digest>> {
        let mut query = proposal::Entity::find()
            .select_only()
            .column(proposal::Column::Id)
            .filter(proposal::Column::Namespace.eq(name.as_str()))
            .order_by_asc(proposal::Column::Id)
            .limit(u64::from(limit));
        if let Some(after) = after {
            query = query.filter(proposal::Column::Id.gt(after.to_hex()));
        }
        let ids: Vec<String> = query.into_tuple().all(&self.read).await?;
        ids.iter().map(|id| digest(id)).collect()
    }

    /// Namespaces above `after` with proposals that nobody signed since a time, by name, at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn namespaces_with_idle_proposals(
        &self,
        before: Timestamp,
        after: Option<&NamespaceName>,
        limit: u32,
    ) -> Result<Vec<NamespaceName>> {
        let mut query = proposal::Entity::find()
            .select_only()
            .column(proposal::Column::Namespace)
            .distinct()
            .filter(proposal::Column::Updated.lt(micros(before)))
            .order_by_asc(proposal::Column::Namespace)
            .limit(u64::from(limit));
        if let Some(after) = after {
            query = query.filter(proposal::Column::Namespace.gt(after.as_str()));
        }
        let names: Vec<String> = query.into_tuple().all(&self.read).await?;
        names
            .iter()
            .map(|name| parsed("proposals.namespace", name))
            .collect()
    }

    /// C3: forgets a proposal and its signatures; `false` if there is none, or if it was signed since `seen`, where that is given.
    ///
    /// # Errors
    /// The database fails.
    pub async fn remove_proposal(
        &self,
        name: &NamespaceName,
        id: &Sha256Digest,
        seen: Option<Timestamp>,
    ) -> Result<bool> {
        let transaction = self.begin().await?;
        let mut removal = proposal::Entity::delete_many()
            .filter(proposal::Column::Namespace.eq(name.as_str()))
            .filter(proposal::Column::Id.eq(id.to_hex()));
        if let Some(seen) = seen {
            removal = removal.filter(proposal::Column::Updated.eq(micros(seen)));
        }
        let removed = removal.exec(&transaction).await?;
        if removed.rows_affected != 1 {
            return Ok(false);
        }
        proposal_signature::Entity::delete_many()
            .filter(of_proposal(name, id))
            .exec(&transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(true)
    }
}

fn of_proposal(name: &NamespaceName, id: &Sha256Digest) -> Condition {
    Condition::all()
        .add(proposal_signature::Column::Namespace.eq(name.as_str()))
        .add(proposal_signature::Column::Proposal.eq(id.to_hex()))
}

/// `false` if there is no such proposal.
async fn insert_signatures<C: ConnectionTrait>(
    connection: &C,
    name: &NamespaceName,
    id: &Sha256Digest,
    signatures: Vec<ProposalSignature>,
    now: Timestamp,
) -> Result<bool> {
    // First, so that a proposal that is being removed gets no signatures that nothing would remove.
    let updated = proposal::Entity::update_many()
        .col_expr(proposal::Column::Updated, Expr::value(micros(now)))
        .filter(proposal::Column::Namespace.eq(name.as_str()))
        .filter(proposal::Column::Id.eq(id.to_hex()))
        .exec(connection)
        .await?;
    if updated.rows_affected != 1 {
        return Ok(false);
    }
    for new in signatures {
        let row = proposal_signature::ActiveModel {
            namespace: Set(name.to_string()),
            proposal: Set(id.to_hex()),
            role: Set(new.role),
            keyid: Set(new.signature.keyid),
            sig: Set(new.signature.sig),
        };
        proposal_signature::Entity::insert(row)
            .on_conflict_do_nothing()
            .exec_without_returning(connection)
            .await?;
    }
    Ok(true)
}

impl TryFrom<proposal::Model> for ProposalRecord {
    type Error = DatabaseError;

    fn try_from(row: proposal::Model) -> Result<Self> {
        Ok(Self {
            namespace: parsed("proposals.namespace", &row.namespace)?,
            id: digest(&row.id)?,
            publication: row.publication,
            created: time(row.created)?,
            updated: time(row.updated)?,
        })
    }
}
