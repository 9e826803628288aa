//! Stage 3, its end, where the owner's trust policy names other authorities: each is walked through stages 1 to 4 by itself, up to
//! its own entry for the release's path (TUF TAP 4).
//!
//! It begins when everything else let the release pass. Only what comes out of it as enough makes an [`Approved`].

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::trust_policy::{RequiredAuthority, Requirement};
use assay_schema::tuf::ModelRole;
use assay_schema::verdict::{Refusal, Subject};
use assay_schema::{NamespaceName, Sha256Digest, Stage};
use assay_trust::releases::ListedRelease;
use assay_trust::{Refreshed, restricted};
use jiff::Timestamp;

use super::release::Passed;
use super::{CheckStep, Checked, Context, Goal};
use crate::approved::Approved;
use crate::consensus::{Consensus, Endorsement, Known, Said, judge};
use crate::report::{Reports, refusal};
use crate::request::{CachedBundle, CheckRequest, Route, Want};

/// An authority lists other bytes under the release's path.
const OTHER_DIGEST: &str = "other-digest";

/// A release that its own namespace signed, and the authorities that have to be asked about it.
#[derive(Debug)]
pub(super) struct Gathering {
    requirement: Requirement,
    /// Still to be asked, the next one last.
    waiting: Vec<RequiredAuthority>,
    /// Who is being asked.
    current: Option<RequiredAuthority>,
    known: BTreeMap<NamespaceName, Known>,
    /// By static paths, as the release was.
    by_static_paths: bool,
    passed: Passed,
    reports: Reports,
    bundle: Option<CachedBundle>,
    own: Sha256Digest,
    role: ModelRole,
    /// Raw bytes of the keys of everybody who counts so far, the release's own namespace included.
    keys: BTreeMap<Vec<u8>, NamespaceName>,
    require_log: bool,
    now: Timestamp,
    found: Vec<Endorsement>,
}

impl Gathering {
    /// Begins to ask, with what the check of the release itself came to.
    pub(super) fn begin(
        (requirement, known): (Requirement, BTreeMap<NamespaceName, Known>),
        ctx: &mut Context,
        passed: Passed,
        bundle: Option<CachedBundle>,
    ) -> CheckStep {
        let manifest = &passed.manifest;
        let own = ctx.pin.namespace.clone();
        let mut waiting = requirement.authorities.clone();
        waiting.reverse();
        let gathering = Self {
            waiting,
            current: None,
            known,
            by_static_paths: matches!(ctx.request.route, Route::Static { .. }),
            reports: ctx.reports.clone(),
            bundle,
            own: ctx.pin.identity,
            role: ModelRole::of(&manifest.model, manifest.order),
            keys: std::mem::take(&mut ctx.keys)
                .into_iter()
                .map(|key| (key, own.clone()))
                .collect(),
            require_log: ctx.request.require.contains(&Stage::Log),
            now: ctx.clock,
            found: Vec::new(),
            requirement,
            passed,
        };
        Box::new(gathering).next()
    }

    /// The role whose word is asked for: it has the same name in every namespace.
    pub(super) fn role(&self) -> &ModelRole {
        &self.role
    }

    /// Asks the next one; after the last one, decides.
    fn next(mut self: Box<Self>) -> CheckStep {
        while let Some(authority) = self.waiting.pop() {
            match self.known(&authority) {
                Ok(known) => {
                    self.current = Some(authority);
                    return self.ask(known);
                }
                Err(refused) => self.found.push(Endorsement {
                    authority,
                    said: Said::Nothing(Stage::TrustRoot, *refused),
                    bundle: None,
                }),
            }
        }
        self.decide()
    }

    /// What the device knows of an authority, if that may count at all.
    fn known(&mut self, authority: &RequiredAuthority) -> Result<Known, Box<Refusal>> {
        let (name, identity) = (&authority.namespace, authority.identity);
        let refuse = |code, expected: String, found: String, advice: &str| {
            Err(Box::new(refusal(code, name, expected, found, advice)))
        };
        if identity == self.own {
            return refuse(
                "not-independent",
                "another authority than the release's own".to_owned(),
                format!("the release's own, {identity}, under another name"),
                "Name another authority: `assay trust require`.",
            );
        }
        match self.known.remove(name) {
            Some(known) if known.pin.identity == identity => Ok(known),
            Some(known) => refuse(
                "other-identity",
                format!("identity {identity}, for which the trust policy was made"),
                format!("identity {}", known.pin.identity),
                "Another namespace has taken the name: `assay trust require` again, if that is meant.",
            ),
            None => refuse(
                "not-trusted",
                format!("a pin of identity {identity}"),
                "none on this device".to_owned(),
                "Run `assay trust add` with the authority's fingerprint.",
            ),
        }
    }

    fn ask(self: Box<Self>, known: Known) -> CheckStep {
        let Known { pin, state, cached } = known;
        let manifest = &self.passed.manifest;
        let (model, version, now) = (manifest.model.clone(), manifest.version.clone(), self.now);
        let subject = Subject {
            namespace: pin.namespace.clone(),
            identity: pin.identity,
            model: model.clone(),
            version: Some(version.clone()),
            order: Some(manifest.order),
            manifest: Some(self.passed.digest),
        };
        // Who made the model is judged once, by the signers of its own namespace.
        let require: BTreeSet<Stage> = self.require_log.then_some(Stage::Log).into_iter().collect();
        let mut reports = Reports::new(subject, now, require.clone());
        if pin.first_use {
            reports.evidence(Stage::TrustRoot, "trust_on_first_use", true);
        }
        let request = CheckRequest {
            model,
            want: Want::Version(version),
            route: match self.by_static_paths {
                true => Route::Static { cached },
                false => Route::Bundle { cached },
            },
            require,
            consensus: Consensus::none(),
        };
        let ctx = Context::new(pin, &state, request, now, reports, Goal::Endorsement(self));
        ctx.begin(state)
    }

    /// TUF TAP 4: the same target path with the same length and digest, in this authority's own metadata.
    pub(super) fn judge(
        &self,
        trust: &Refreshed,
        listed: &ListedRelease,
        ctx: &Context,
    ) -> Result<(Passed, BTreeSet<Vec<u8>>), Refusal> {
        let target = &listed.target;
        let expected = (self.passed.digest, self.passed.bytes.len() as u64);
        if (target.sha256, target.length) != expected {
            return Err(refusal(
                OTHER_DIGEST,
                &target.path,
                format!("{} bytes with SHA-256 {}", expected.1, expected.0),
                format!("{} bytes with SHA-256 {}", target.length, target.sha256),
                "Two authorities signed different bytes as the same release: tell both of them.",
            ));
        }
        let order = self.passed.manifest.order;
        if listed.order != order {
            return Err(refusal(
                "wrong-release",
                &target.path,
                format!("order {order}, as the manifest says"),
                format!("order {}", listed.order),
                "Ask the authority to sign the release as it is.",
            ));
        }
        if let Some(status) = &ctx.status {
            restricted::release(status, &ctx.request.model, listed).map_err(|e| e.refusal())?;
        }
        let keys = trust.authority_keys(&self.role.name()).map_err(|e| e.refusal())?;
        // Whoever holds the same key twice is one authority, not two.
        if let Some(other) = keys.iter().find_map(|key| self.keys.get(key)) {
            return Err(refusal(
                "not-independent",
                format!("keys of {}", ctx.pin.namespace),
                "keys that no other authority of this release has",
                format!("a key of {other}, too"),
                "Two namespaces with a common key are one authority: name another one, or have the keys changed.",
            ));
        }
        Ok((self.passed.clone(), keys))
    }

    /// The authority signed the release.
    pub(super) fn signed(
        self: Box<Self>,
        reports: &mut Reports,
        keys: BTreeSet<Vec<u8>>,
        bundle: Option<CachedBundle>,
    ) -> CheckStep {
        if reports.enforce(&[])
            && let Some((stage, refused)) = reports.verdict().refusal()
        {
            return self.nothing(stage, refused.clone());
        }
        let mut this = self;
        let fact = |stage, key| reports.found(stage, key).unwrap_or("none").to_owned();
        let manifest = &this.passed.manifest;
        let mut evidence = format!(
            "{}, {} bytes, SHA-256 {}; root {}, targets {}, snapshot {}, status {}",
            this.role.manifest_path(&manifest.version),
            this.passed.bytes.len(),
            this.passed.digest,
            fact(Stage::TrustRoot, "root_version"),
            fact(Stage::Freshness, "targets_version"),
            fact(Stage::Freshness, "snapshot_version"),
            fact(Stage::Freshness, "status"),
        );
        match reports.found(Stage::Log, "log") {
            Some(log) => evidence.push_str(&format!("; log {log} {}", fact(Stage::Log, "size"))),
            None => evidence.push_str("; no log"),
        }
        if reports.found(Stage::TrustRoot, "trust_on_first_use").is_some() {
            evidence.push_str("; its identity was taken from its registry itself");
        }
        if let Some(authority) = this.current.take() {
            let name = authority.namespace.clone();
            this.keys.extend(keys.into_iter().map(|key| (key, name.clone())));
            this.found.push(Endorsement {
                authority,
                said: Said::Signed(evidence),
                bundle,
            });
        }
        this.next()
    }

    /// The authority did not sign the release, or nothing that it said can be believed.
    pub(super) fn nothing(mut self: Box<Self>, stage: Stage, refused: Refusal) -> CheckStep {
        if let Some(authority) = self.current.take() {
            let said = match refused.code == OTHER_DIGEST {
                true => Said::Contradicted(refused),
                false => Said::Nothing(stage, refused),
            };
            self.found.push(Endorsement {
                authority,
                said,
                bundle: None,
            });
        }
        self.next()
    }

    fn decide(self: Box<Self>) -> CheckStep {
        let Self {
            requirement,
            passed,
            mut reports,
            bundle,
            found,
            ..
        } = *self;
        let counted = found.iter().filter(|e| e.counts()).count();
        let required = format!(
            "{counted} of {} signed it too, {} required",
            requirement.authorities.len(),
            requirement.threshold
        );
        reports.evidence(Stage::Release, "authorities", required);
        for endorsement in &found {
            let key = format!("authority {}", endorsement.authority.namespace);
            reports.evidence(Stage::Release, &key, endorsement.evidence());
        }
        let release = format!("{}@{}", requirement.model, passed.manifest.version);
        CheckStep::Done(match judge(&requirement, &release, passed.digest, &found) {
            Ok(()) => {
                let approved = Approved {
                    manifest: passed.manifest,
                    bytes: passed.bytes,
                    digest: passed.digest,
                    state: passed.state,
                    bundle,
                    reports,
                    endorsements: found,
                };
                Checked::Permitted(Box::new(approved))
            }
            Err(refused) => {
                reports.refuse(Stage::Release, refused);
                Checked::Refused(Box::new(reports.verdict()))
            }
        })
    }
}

/// The authority does not list the release's path at all.
pub(super) fn not_endorsed(gathering: &Gathering) -> Refusal {
    refusal(
        "not-endorsed",
        gathering.role.manifest_path(&gathering.passed.manifest.version),
        format!("SHA-256 {} among its targets", gathering.passed.digest),
        "nothing under this path",
        "Ask the authority to sign the release (`assay endorse`).",
    )
}
