//! `assay delta`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum DeltaCommand {
    /// Make what turns one file or folder into another
    Make(DeltaMake),
    /// Show where a delta's bytes go, tensor by tensor
    Show(DeltaShow),
    /// Make the target of a delta from its base
    Apply(DeltaApply),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Knows the tensors of safetensors, GGUF and ONNX files; other files are compared by content. Beside the delta it writes a listing of \
the target's files with their digests, DELTA.json, by which `apply` checks what comes out.

Example:
  assay delta make ./minilm-1.0 ./minilm-1.1 minilm.delta")]
pub(crate) struct DeltaMake {
    /// The file or folder that the other side has
    pub(crate) base: PathBuf,
    /// The file or folder that it wants
    pub(crate) target: PathBuf,
    /// The file to make
    pub(crate) delta: PathBuf,
    /// Threads; all cores without it
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Bytes that several tensors share are divided by the tensors' sizes.

Example:
  assay delta show minilm.delta --target ./minilm-1.1 --svg minilm.svg")]
pub(crate) struct DeltaShow {
    /// The delta
    pub(crate) delta: PathBuf,
    /// What it makes, so that tensors have names
    #[arg(long, value_name = "PATH")]
    pub(crate) target: Option<PathBuf>,
    /// Draw the table as a picture in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Rows of the table; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) rows: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every chunk is compared with the listing before it is written, and the whole with the delta's target before it is put in place. The \
delta need not be trusted; the listing must be.

Example:
  assay delta apply minilm.delta ./minilm-1.0 ./minilm-1.1")]
pub(crate) struct DeltaApply {
    /// The delta
    pub(crate) delta: PathBuf,
    /// The file or folder that it was made from
    pub(crate) base: PathBuf,
    /// The file or folder to make
    pub(crate) out: PathBuf,
    /// The listing; DELTA.json without it
    #[arg(long, value_name = "FILE")]
    pub(crate) listing: Option<PathBuf>,
    /// Threads; all cores without it
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}
