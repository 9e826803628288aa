//! `assay endorse`: another namespace's release, signed in one's own.

use assay_client::Want;
use assay_client::device::Options;
use jiff::Timestamp;
use serde_json::json;

use super::change::{decide, open};
use super::pull::judged;
use crate::args::Endorse;
use crate::context::{self, Context};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, complain};
use crate::verdict::printable;

pub(super) fn run(context: &Context, args: &Endorse) -> Result<Answer, Failure> {
    let (publisher, record) = open(context, &args.sign, args.namespace.as_ref())?;
    let release = &args.release;
    let store = context.store(&args.store)?;
    let pin = store.pin(&release.model.namespace)?;
    let (ways, transport) = context.ways(&store, &release.model, &pin.registry, None)?;
    let device = context::device(store)?.connect_by(ways);
    let options = Options {
        want: Want::Version(release.version.clone()),
        ..Options::default()
    };
    let endorsable = match device.endorsable(&release.model, &options)? {
        Ok(endorsable) => endorsable,
        Err(verdict) => {
            judged(*verdict, Some(&transport))?;
            // `judged` answers nothing but a verdict that permits.
            return Err(Failure::new(
                Exit::Refused,
                "refused",
                format!("{release} is refused"),
            ));
        }
    };
    complain(&printable(&format!(
        "{release}, identity {}, passes; to be signed as a release that {} endorses:",
        pin.identity, record.name
    )));
    let now = Timestamp::now();
    match publisher.propose_endorsement(&endorsable, now)? {
        Some(proposal) => decide(&publisher, proposal, &args.sign),
        None => {
            let text = format!("{release} is endorsed by {} already", record.name);
            let manifest = endorsable.manifest_digest();
            let document = json!({"published": true, "already": true, "manifest": manifest});
            Ok(Answer::new(document, text))
        }
    }
}
