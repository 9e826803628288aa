//! `limit` and `cursor` of listings.

use assay_schema::limits::{DEFAULT_PAGE, MAX_PAGE};
use assay_schema::problem::ProblemKind;
use serde::Deserialize;

use crate::problem::{ApiError, ApiResult};

/// The query of a listing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Entries, 1 to 200.
    pub limit: Option<u32>,
    /// Where the page begins, from the page before.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// The limit, checked.
    ///
    /// # Errors
    /// `bad-request` outside 1 to 200.
    pub fn limit(&self) -> ApiResult<u32> {
        match self.limit {
            None => Ok(DEFAULT_PAGE),
            Some(limit) if (1..=MAX_PAGE).contains(&limit) => Ok(limit),
            Some(found) => Err(ApiError::new(
                ProblemKind::BadRequest,
                format!("limit: expected 1 to {MAX_PAGE}, found {found}"),
            )),
        }
    }

    /// The cursor, if there is one.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }
}
