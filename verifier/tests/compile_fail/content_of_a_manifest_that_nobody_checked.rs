// Stage 8 begins with what stages 1 to 6 let pass, not with a manifest that somebody parsed.
use assay_schema::ReleaseManifest;
use assay_verifier::Content;

fn pull(bytes: &[u8]) -> Content {
    let manifest = ReleaseManifest::parse(bytes).unwrap();
    Content::pull(manifest, &[])
}

fn main() {}
