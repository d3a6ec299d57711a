//! CRC-32 (IEEE) behind every part of a file, and the content hash that names a model.

use sha2::{Digest, Sha256};
use std::fmt;

/// CRC-32 (IEEE, as in PNG and gzip) of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// The name of a model: the first 8 bytes of the SHA-256 of its file, shown as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModelId(pub [u8; 8]);

impl ModelId {
    /// Id of the model whose complete file is `file`.
    pub fn of(file: &[u8]) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&Sha256::digest(file)[..8]);
        Self(id)
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
