//! Every size and count that Assay accepts, in one place.
//!
//! A device refuses more than this before it allocates for it; the registry refuses it before it stores it. Sizes are bytes.

/// Bytes of a chunk; only a file's last chunk is shorter. It must fit one buffer, because `crypto.subtle` cannot stream.
pub const CHUNK_SIZE: u32 = 1 << 20;

/// A TUF root file.
pub const MAX_ROOT: u64 = 512 << 10;
/// A TUF timestamp file.
pub const MAX_TIMESTAMP: u64 = 16 << 10;
/// A TUF snapshot file, when its length is not pinned.
pub const MAX_SNAPSHOT: u64 = 4 << 20;
/// A TUF targets file, top-level or delegated, when its length is not pinned.
pub const MAX_TARGETS: u64 = 5 << 20;
/// Root rotations that one run follows; more go on in the next run, from the persisted root (TUF 5.3.3).
pub const MAX_ROOT_ROTATIONS: u32 = 64;
/// As [`MAX_ROOT_ROTATIONS`], for a foreign repository: their clients allow 256, so that many may wait for a device that starts
/// from an old root.
pub const MAX_FOREIGN_ROOT_ROTATIONS: u32 = 256;
/// Delegated roles visited in one search (TUF 5.6.7.1).
pub const MAX_DELEGATIONS: u32 = 32;

/// A release manifest.
pub const MAX_MANIFEST: u64 = 8 << 20;
/// A target under `trust/`.
pub const MAX_TRUST_TARGET: u64 = 1 << 20;
/// A target whose bytes may stand in its own entry (`x-assay.inline`).
pub const MAX_INLINE_TARGET: u64 = 8 << 10;
/// `status.json`, which always stands in its own entry: some hundreds of revocations.
pub const MAX_STATUS: u64 = 64 << 10;
/// An attestation: a Sigstore bundle.
pub const MAX_ATTESTATION: u64 = 16 << 20;
/// Attestations of one release.
pub const MAX_ATTESTATIONS: usize = 32;
/// Files of one release.
pub const MAX_FILES: usize = 20_000;
/// One file of a release: 4 TiB, whose chunk index is 128 MiB.
pub const MAX_FILE_SIZE: u64 = 4 << 40;
/// All files of a release together.
pub const MAX_RELEASE_SIZE: u64 = 16 << 40;
/// Namespaces that a device's trust policy names for one model.
pub const MAX_AUTHORITIES: usize = 16;
/// A check bundle, all parts together.
pub const MAX_BUNDLE: u64 = 32 << 20;
/// Edits of one difference. A snapshot in which every tenth of its largest number of roles changed needs as many.
pub const MAX_EDITS: usize = 10_000;
/// Roles whose versions a device names when it asks for a check bundle.
pub const MAX_HELD_ROLES: usize = 8;
/// Bytes of the text in which it names them.
pub const MAX_HELD: usize = 1 << 10;

/// A JSON request body.
pub const MAX_JSON_BODY: u64 = 1 << 20;
/// A metadata publication: two targets files and their JSON quoting.
pub const MAX_PUBLICATION: u64 = 12 << 20;
/// Proposals that a namespace keeps.
pub const MAX_PROPOSALS: u32 = 32;
/// A proposal as the API hands it out: its publication, and who signed.
pub const MAX_PROPOSAL: u64 = MAX_PUBLICATION + (1 << 20);
/// A list of proposals without their files.
pub const MAX_PROPOSAL_LIST: u64 = 8 << 20;
/// Signatures of one file.
pub const MAX_SIGNATURES: usize = 64;
/// A request that creates a namespace; one that moves here brings all its roots and roles along.
pub const MAX_CREATION: u64 = 64 << 20;
/// One `PATCH` of an upload.
pub const MAX_UPLOAD_PART: u64 = 1 << 30;

/// Bytes of a namespace's, model's or version's name.
pub const MAX_NAME: usize = 64;
/// Bytes of a file path inside a release.
pub const MAX_PATH: usize = 1024;
/// Bytes of one component of a file path.
pub const MAX_PATH_COMPONENT: usize = 255;
/// Components of a file path. It bounds the work of comparing every path with every folder.
pub const MAX_PATH_DEPTH: usize = 32;
/// Entries of one page of a listing.
pub const MAX_PAGE: u32 = 200;
/// Entries of a page when the request names none.
pub const DEFAULT_PAGE: u32 = 50;

/// Versions, epochs and counters: what every JSON reader holds exactly, 2^53-1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;
/// Releases whose manifests one delegated role signs.
pub const BLOCK: u64 = 100;

/// Unix seconds of 2026-11-01: a clock before this is wrong, because this software did not exist then.
pub const EARLIEST_CREDIBLE_TIME: i64 = 1_793_491_200;

/// Leaves of a transparency log: sizes and indexes stay exact in every JSON reader.
pub const MAX_LOG_SIZE: u64 = MAX_INTEGER;
/// An entry of a transparency log (tlog-tiles: a 16-bit length).
pub const MAX_LOG_ENTRY: usize = u16::MAX as usize;
/// Hashes of a full tile, and entries of a full bundle (tlog-tiles).
pub const LOG_TILE_WIDTH: u16 = 256;
/// A full tile of hashes.
pub const LOG_TILE_BYTES: usize = LOG_TILE_WIDTH as usize * 32;
/// A full bundle of the longest entries.
pub const MAX_LOG_BUNDLE: usize = LOG_TILE_WIDTH as usize * (2 + MAX_LOG_ENTRY);
/// Hashes of an inclusion or consistency proof (tlog-witness).
pub const MAX_LOG_PROOF: usize = 63;
/// A signed note. Sixteen signatures of the largest post-quantum kind fit (signed-note).
pub const MAX_NOTE: usize = 128 << 10;
/// Signatures of a note: a log's and its witnesses', and some of strangers.
pub const MAX_NOTE_SIGNATURES: usize = 64;
/// Bytes of a note key's name and of a checkpoint's origin (tlog-cosignature: an 8-bit length).
pub const MAX_NOTE_NAME: usize = 255;
/// A verifier key in text: a name, eight digits and the base64 of an ML-DSA-44 key.
pub const MAX_NOTE_KEY: usize = MAX_NOTE_NAME + 10 + 1752;
/// Witnesses of one policy.
pub const MAX_WITNESSES: usize = 32;
/// Opaque bytes that a `tlog-proof` may carry.
pub const MAX_LOG_PROOF_EXTRA: usize = 8 << 10;
/// A `tlog-proof` file: its checkpoint, its hashes, its extra data in base64, and two short lines.
pub const MAX_LOG_PROOF_FILE: usize = MAX_NOTE + MAX_LOG_PROOF * 45 + MAX_LOG_PROOF_EXTRA / 3 * 4 + 128;
/// A proof as the API hands it out: a `tlog-proof` file as a JSON string, and the hashes of a consistency proof.
pub const MAX_LOG_PART: u64 = 2 * MAX_LOG_PROOF_FILE as u64 + MAX_LOG_PROOF as u64 * 67 + 64;
/// The body of an `add-checkpoint` request: a checkpoint, a proof, and a short line.
pub const MAX_ADD_CHECKPOINT: usize = MAX_NOTE + MAX_LOG_PROOF * 45 + 64;
/// What a witness may answer: its signature lines.
pub const MAX_WITNESS_ANSWER: usize = 32 << 10;
