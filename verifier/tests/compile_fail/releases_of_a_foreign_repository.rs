// What is followed by plain TUF has no releases: nothing in it says which namespace and role it is of.
use assay_schema::tuf::ModelRole;
use assay_trust::{Plain, Refreshed};

fn highest(foreign: &Refreshed<Plain>, role: &ModelRole) {
    let _ = foreign.highest(role);
}

fn main() {}
