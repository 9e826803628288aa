//! What must not compile: a release without its check, a step without the one before, unchecked data where checked is wanted. The
//! compiler's words are committed beside each case, so that it fails for its own reason and no other (`TRYBUILD=overwrite` writes them).
#![allow(missing_docs)]

#[test]
fn no_stage_can_be_skipped_and_nothing_unchecked_be_used() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
