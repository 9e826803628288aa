//! What a model file's header may hold. A file beyond it is compared as plain bytes.

/// Tensors of one file. The largest mixture-of-experts models have some 100,000 in all their shards.
pub const MAX_TENSORS: usize = 1 << 17;
/// Bytes of a tensor's name.
pub const MAX_TENSOR_NAME: usize = 1 << 10;
/// Bytes of all names together, so that the list stays small beside the file.
pub const MAX_NAMES: usize = 16 << 20;
/// Dimensions of a tensor.
pub const MAX_DIMENSIONS: usize = 8;
/// Bytes of a safetensors header: 131,072 tensors in 128 bytes each.
pub const MAX_SAFETENSORS_HEADER: u64 = 16 << 20;
/// Key-value pairs of a GGUF file's metadata.
pub const MAX_GGUF_PAIRS: u64 = 1 << 16;
/// Values of a GGUF file's metadata that have to be looked at one by one: the strings of a vocabulary and its merges.
pub const MAX_GGUF_VALUES: u64 = 1 << 23;
/// How deep GGUF's arrays may nest.
pub const MAX_GGUF_DEPTH: u32 = 4;
/// Bytes to which GGUF may align its tensors.
pub const MAX_GGUF_ALIGNMENT: u64 = 1 << 16;
/// Protobuf fields of an ONNX file that are looked at one by one.
pub const MAX_ONNX_FIELDS: u64 = 1 << 23;
/// External-data entries of one ONNX tensor: location, offset, length, checksum and some to come.
pub const MAX_ONNX_ENTRIES: usize = 16;
