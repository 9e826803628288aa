//! The owner's trust policy: other authorities that must have signed a model's releases (TUF TAP 4).

use assay_schema::trust_policy::{RequiredAuthority, Requirement};
use assay_schema::{ModelRef, NamespaceName};
use assay_verifier::{Consensus, Known};

use super::{Device, Result};
use crate::store::StoreError;

impl Device {
    /// From now on a release of this model needs the signatures of so many of these namespaces beside that of its own. What is
    /// active stays on the device, but is not handed out before they have signed it, too: the next pull asks them. Takes the place
    /// of what was required of the model before.
    ///
    /// # Errors
    /// A namespace is not trusted here, named twice, or the model's own; the threshold is out of range; or the store cannot be
    /// written.
    pub fn trust_require(
        &self,
        model: &ModelRef,
        authorities: &[NamespaceName],
        threshold: u32,
    ) -> Result<Requirement> {
        let own = self.store.pin(&model.namespace)?;
        let named = authorities.iter().map(|namespace| {
            let identity = self.store.pin(namespace)?.identity;
            match identity == own.identity {
                true => Err(StoreError::OwnAuthority {
                    model: model.clone(),
                    namespace: namespace.clone(),
                }),
                false => Ok(RequiredAuthority {
                    namespace: namespace.clone(),
                    identity,
                }),
            }
        });
        let requirement = Requirement {
            model: model.clone(),
            authorities: named.collect::<std::result::Result<_, StoreError>>()?,
            threshold,
        };
        let writer = self.store.writer()?;
        let mut policy = self.store.trust_policy()?;
        policy.set(requirement.clone()).map_err(StoreError::from)?;
        writer.trust_policy(&policy)?;
        Ok(requirement)
    }

    /// The model's own namespace suffices again. Whether more was required.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn trust_unrequire(&self, model: &ModelRef) -> Result<bool> {
        let writer = self.store.writer()?;
        let mut policy = self.store.trust_policy()?;
        let removed = policy.remove(model);
        if removed {
            writer.trust_policy(&policy)?;
        }
        Ok(removed)
    }

    /// What a check of a model has to ask for, beside the model's own namespace.
    pub(super) fn consensus(&self, model: &ModelRef) -> Result<Consensus> {
        let Some(requirement) = self.store.requirement(model)? else {
            return Ok(Consensus::none());
        };
        let mut known = Vec::new();
        for authority in &requirement.authorities {
            // One that is not trusted here (any more) does not count; the verifier says so.
            if let Some(pin) = self.store.find_pin(&authority.namespace)? {
                known.push(Known {
                    pin: self.pin_of(&pin),
                    state: self.store.state(&authority.namespace)?,
                    cached: self.store.cached_endorsement(model, &authority.namespace),
                });
            }
        }
        Ok(Consensus::new(requirement, known).map_err(StoreError::from)?)
    }
}
