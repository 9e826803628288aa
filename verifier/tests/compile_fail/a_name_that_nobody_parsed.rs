// Names are had by parsing: a stranger's text is none.
use assay_schema::VersionName;

fn version(text: &str) -> VersionName {
    text.into()
}

fn main() {}
