//! One suite for every database: the same cases on SQLite and on PostgreSQL.
//!
//! PostgreSQL is the server that `ASSAY_TEST_POSTGRES_URL` names (its user must be allowed to create databases), or one that the
//! test starts in a temporary folder. Where neither is possible the test fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]

mod cosignatures;
mod deltas;
mod log;
mod lookups;
mod postgres;
mod proposals;
mod publishing;
mod releases;
mod samples;
mod storing;
mod tokens;
mod writers;

use std::future::Future;
use std::pin::Pin;

use assay_server::persistence::Database;

/// What a case gets: an empty database, and its URL to connect once more.
pub struct Fixture {
    /// Its tables are there.
    pub db: Database,
    /// For a second connection.
    pub url: String,
}

type Case = fn(Fixture) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! suite {
    ($($module:ident :: $case:ident,)*) => {
        const CASES: &[(&str, Case)] = &[$((stringify!($case), |fixture| Box::pin($module::$case(fixture))),)*];

        mod sqlite {
            $(
                #[tokio::test]
                async fn $case() {
                    let folder = tempfile::tempdir().unwrap();
                    let url = format!("sqlite://{}", folder.path().join("test.sqlite").display());
                    let db = super::Database::connect(&url).await.unwrap();
                    super::$module::$case(super::Fixture { db, url }).await;
                }
            )*
        }
    };
}

suite! {
    publishing::migrating_again_changes_nothing,
    publishing::a_namespace_that_exists_is_refused,
    publishing::the_first_online_keys_win,
    publishing::every_version_of_metadata_is_kept,
    publishing::a_publication_on_an_old_revision_is_refused,
    publishing::of_two_publications_at_once_one_wins,
    publishing::a_publication_that_fails_leaves_nothing,
    publishing::expiring_online_metadata_is_found,
    publishing::a_private_namespace_is_listed_to_its_own_only,
    publishing::names_order_by_their_bytes,
    releases::a_candidate_with_missing_blobs_is_refused,
    releases::the_same_candidate_again_changes_nothing,
    releases::a_candidate_may_be_replaced_but_a_published_release_never,
    releases::a_candidate_that_changed_is_not_published,
    releases::candidates_are_not_shown,
    releases::pages_neither_skip_nor_repeat,
    releases::a_cursor_that_no_page_gave_is_refused,
    releases::search_finds_parts_of_names_and_no_wildcards,
    storing::an_upload_asked_for_twice_is_one_upload,
    storing::an_offset_that_moved_is_refused,
    storing::a_segment_beyond_the_declared_size_is_refused,
    storing::a_blob_is_stored_once_and_linked_to_each_namespace,
    storing::an_unfinished_upload_makes_no_blob,
    storing::a_dropped_upload_leaves_nothing,
    storing::idle_uploads_are_found,
    storing::writers_at_once_do_not_fail_as_busy,
    lookups::only_linked_blobs_are_found,
    lookups::a_blob_is_published_with_its_release,
    lookups::a_counter_is_taken_by_a_published_release_only,
    lookups::a_roles_history_is_newest_first,
    log::roots_and_snapshots_wait_for_a_place,
    log::a_place_is_given_once_and_on_the_present_head_only,
    log::a_log_key_is_changed_once,
    log::three_sequencers_at_once_make_one_history,
    log::a_publication_that_began_earlier_does_not_overtake_the_one_before_it,
    cosignatures::the_first_cosignature_of_a_size_and_key_stays,
    cosignatures::cosigned_sizes_are_found_by_witness_and_in_order,
    deltas::pairs_lead_from_the_last_releases_and_from_reported_bases,
    deltas::a_pair_is_made_by_one_registry_at_a_time,
    deltas::the_smallest_delta_of_a_pair_stays,
    deltas::deltas_are_listed_by_size_and_by_base,
    deltas::old_deltas_of_the_registry_are_stale_and_go_with_their_bytes,
    deltas::reported_bases_are_bounded_and_old_ones_make_room,
    proposals::signatures_of_a_proposal_add_up_and_the_first_of_a_key_stays,
    proposals::signers_at_once_lose_no_signature,
    proposals::a_namespace_keeps_so_many_proposals_and_no_more,
    tokens::a_revoked_token_is_gone,
    tokens::tokens_come_in_pages,
    writers::every_acknowledged_write_stands_for_others,
    writers::nobody_waits_for_a_writer_that_went_away,
    writers::a_write_that_fails_takes_only_itself_back,
}

#[tokio::test]
async fn postgres() {
    let cluster = postgres::Cluster::find_or_start().await;
    for (name, case) in CASES {
        println!("{name}");
        let url = cluster.fresh_database().await;
        let db = Database::connect(&url).await.unwrap();
        case(Fixture {
            db: db.clone(),
            url: url.clone(),
        })
        .await;
        db.close().await.unwrap();
        cluster.drop_database(&url).await;
    }
}
