//! Objects that no row names any more.

use crate::problem::ApiResult;
use crate::state::AppState;
use crate::steps::Step;

/// D5: deletes objects that D3 or D4 left without a row, one by one. What a crash leaves over, the sweep of segments finds.
///
/// # Errors
/// The object store fails.
pub(super) async fn delete(state: &AppState, objects: &[String]) -> ApiResult<()> {
    for object in objects {
        state.blobs.delete(object).await?;
        state.steps.done(Step::D5)?;
    }
    Ok(())
}
