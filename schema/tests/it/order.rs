//! The order of releases.

use assay_schema::ReleaseOrder;
use assay_schema::limits::MAX_INTEGER;
use proptest::prelude::*;

#[test]
fn refuses_zero_and_what_json_readers_round() {
    for (epoch, counter) in [
        (0, 1),
        (1, 0),
        (MAX_INTEGER + 1, 1),
        (1, MAX_INTEGER + 1),
        (u64::MAX, u64::MAX),
    ] {
        assert!(ReleaseOrder::new(epoch, counter).is_err());
        let json = format!("{{\"epoch\":{epoch},\"counter\":{counter}}}");
        assert!(serde_json::from_str::<ReleaseOrder>(&json).is_err(), "{json}");
    }
    assert!(ReleaseOrder::new(MAX_INTEGER, MAX_INTEGER).is_ok());
    for json in [
        r#"{"epoch":1}"#,
        r#"{"epoch":"1","counter":1}"#,
        r#"{"epoch":1.0,"counter":1}"#,
        r#"{"epoch":-1,"counter":1}"#,
    ] {
        assert!(serde_json::from_str::<ReleaseOrder>(json).is_err(), "{json}");
    }
}

#[test]
fn blocks_begin_at_hundreds() {
    let block = |counter| ReleaseOrder::new(1, counter).unwrap().block();
    assert_eq!(
        [block(1), block(99), block(100), block(199), block(200)],
        [0, 0, 1, 1, 2]
    );
}

proptest! {
    #[test]
    fn an_epoch_outweighs_every_counter(a in 1..=MAX_INTEGER, b in 1..=MAX_INTEGER, c in 1..=MAX_INTEGER, d in 1..=MAX_INTEGER) {
        let (x, y) = (ReleaseOrder::new(a, b).unwrap(), ReleaseOrder::new(c, d).unwrap());
        prop_assert_eq!(x.cmp(&y), (a, b).cmp(&(c, d)));
        let json = serde_json::to_string(&x).unwrap();
        prop_assert_eq!(serde_json::from_str::<ReleaseOrder>(&json).unwrap(), x);
    }
}
