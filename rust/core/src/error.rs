//! The error tree: one variant per cause, one clear sentence per message.
//!
//! The variants map one to one to the classes of `vqcodec/errors.py`.

use std::fmt;

/// Everything that can go wrong in this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The bytes do not start with the magic number.
    NotVqc,
    /// A vqcodec file of a format version that this build cannot read.
    UnsupportedVersion(u8),
    /// The bytes are not those of an archive.
    NotVqa,
    /// An archive of a format version that this build cannot read.
    UnsupportedArchive(u8),
    /// The bytes end before what the file promises.
    Truncated {
        /// The part that is incomplete.
        what: &'static str,
    },
    /// The bytes contradict a checksum or the format.
    Corrupted {
        /// What was found.
        what: &'static str,
    },
    /// A size is larger than the caller allows (see [`Limits`](crate::limits::Limits)).
    OverLimit {
        /// The size in question.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The largest value allowed.
        limit: u64,
    },
    /// The file was written with another model than the one given. Both are 16 hex digits.
    ModelMismatch {
        /// Id of the model that the file names.
        needed: String,
        /// Id of the model at hand.
        given: String,
    },
    /// A model file that is damaged, incomplete or whose arithmetic could overflow.
    InvalidModel(String),
    /// An argument that cannot be encoded.
    InvalidInput(String),
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVqc => write!(f, "not a vqcodec file: the magic number is missing"),
            Self::UnsupportedVersion(version) => write!(
                f,
                "unsupported format version {version}: this build reads versions 1 to {}",
                crate::header::VERSION
            ),
            Self::NotVqa => write!(f, "not a vqcodec archive: the magic number is missing"),
            Self::UnsupportedArchive(version) => write!(
                f,
                "unsupported archive version {version}: this build reads version {}",
                crate::archive::VERSION
            ),
            Self::Truncated { what } => write!(f, "truncated: the data ends inside the {what}"),
            Self::Corrupted { what } => write!(f, "corrupted: {what}"),
            Self::OverLimit { what, value, limit } => {
                write!(f, "over the limit: {value} {what}, at most {limit} are allowed")
            }
            Self::ModelMismatch { needed, given } => {
                write!(f, "wrong model: the file needs model {needed}, but was given {given}")
            }
            Self::InvalidModel(why) => write!(f, "invalid model file: {why}"),
            Self::InvalidInput(why) => write!(f, "invalid input: {why}"),
        }
    }
}

impl std::error::Error for Error {}
