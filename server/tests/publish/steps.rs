//! The durable steps P1 to P3: a registry that stops behind any of them goes on when it is asked again.

use std::sync::{Arc, Mutex};

use assay_schema::api::{Published, Visibility};
use assay_server::steps::{Observer, Step, Steps, Stopped};

use crate::authority::{publication, role};
use crate::support::Registry;

/// Stops once behind a step, and remembers every step.
struct StopBehind {
    step: Step,
    seen: Mutex<Vec<Step>>,
}

impl Observer for StopBehind {
    fn done(&self, step: Step) -> Result<(), Stopped> {
        let mut seen = self.seen.lock().unwrap();
        seen.push(step);
        let first = seen.iter().filter(|s| **s == step).count() == 1;
        if step == self.step && first {
            Err(Stopped(step))
        } else {
            Ok(())
        }
    }
}

#[actix_web::test]
async fn a_stop_behind_any_step_of_a_publication_loses_nothing() {
    for step in Step::PUBLISH {
        let mut registry = Registry::new().await;
        let authority = registry.namespace("acme", Visibility::Public).await;
        registry.upload("acme", b"weights").await;
        let observer = Arc::new(StopBehind {
            step,
            seen: Mutex::default(),
        });
        registry.state.steps = Steps::observed_by(observer.clone());
        let manifest = authority.manifest("minilm", "1.0.0", 1, &[b"weights"]);
        let file = authority.model(&role("minilm"), 1, &[&manifest]);
        let sent = publication(&[("model.minilm.0", &file, None)]);

        let put = registry.put("acme", &manifest).await;
        let published = registry.publish("acme", &sent).await;
        let stopped = [&put, &published].iter().filter(|a| a.status == 500).count();
        match step {
            // The candidate is not there, so the publication finds none.
            Step::P1 => assert_eq!((put.status.as_u16(), published.status.as_u16()), (500, 422)),
            // It is there although its publisher was not told.
            Step::P2 => assert_eq!((put.status.as_u16(), published.status.as_u16()), (500, 200)),
            _ => assert_eq!((put.status.as_u16(), published.status.as_u16()), (201, 500)),
        }
        assert_eq!(stopped, 1);

        let visible = registry
            .get("/v1/namespaces/acme/models/minilm/releases/1.0.0")
            .await;
        assert_eq!(visible.status == 200, step != Step::P1, "behind {step:?}");
        let again = registry.put("acme", &manifest).await;
        assert!(again.status.is_success(), "{again:?}");
        let done: Published = registry.publish("acme", &sent).await.expect(200).json();
        assert_eq!(done.releases, std::slice::from_ref(&manifest.version));
        registry
            .get("/v1/namespaces/acme/models/minilm/check?root=1")
            .await
            .expect(200);
        let seen = observer.seen.lock().unwrap();
        assert_eq!(seen.iter().filter(|s| **s == Step::P3).count(), 1, "{seen:?}");
    }
}

#[actix_web::test]
async fn every_write_of_a_publication_is_a_step() {
    let mut registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    registry.upload("acme", b"weights").await;
    let observer = Arc::new(StopBehind {
        step: Step::U6,
        seen: Mutex::default(),
    });
    registry.state.steps = Steps::observed_by(observer.clone());
    let transactions = registry.state.db.writes().get();
    let objects = registry.state.blobs.count().puts();
    let manifest = authority.manifest("minilm", "1.0.0", 1, &[b"weights"]);
    registry.put("acme", &manifest).await.expect(201);
    let file = authority.model(&role("minilm"), 1, &[&manifest]);
    registry
        .publish("acme", &publication(&[("model.minilm.0", &file, None)]))
        .await
        .expect(200);
    assert_eq!(*observer.seen.lock().unwrap(), Step::PUBLISH);
    assert_eq!(registry.state.blobs.count().puts() - objects, 1);
    assert_eq!(registry.state.db.writes().get() - transactions, 2);
}

#[actix_web::test]
async fn creating_a_namespace_goes_on_behind_its_step() {
    let mut registry = Registry::new().await;
    let keys = registry.keys("acme").await;
    let authority = crate::authority::Authority::new(&keys, "2027-05-01T00:00:00Z");
    let observer = Arc::new(StopBehind {
        step: Step::P3,
        seen: Mutex::default(),
    });
    registry.state.steps = Steps::observed_by(observer);
    let request = authority.creation(&[]);
    registry.create("acme", &request).await.expect(500);
    registry.create("acme", &request).await.expect(200);
}
