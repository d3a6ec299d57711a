//! The exact half of vqcodec: everything between integer codes and the bytes of a file.
//!
//! ```text
//! encode: codes -> tiles -> prior (integer network -> integer frequencies) -> range coder -> file
//! decode: file -> checks -> range decoder + the same prior -> codes
//! ```
//!
//! No floating-point number takes part in coding, so codes and bytes are equal on every machine.
//! No input bytes can cause a panic, an unbounded allocation or a wrong result without an error.

#![deny(unsafe_code)]

pub mod adapt;
pub mod adjoint;
mod architecture;
pub mod archive;
pub mod batch;
pub mod categorical;
pub mod centred;
pub mod checksum;
pub mod coarse;
pub mod codes;
pub mod container;
pub mod context;
mod context_gradient;
mod context_network;
pub mod conv;
mod cursor;
pub mod distribution;
pub mod entropy;
pub mod error;
pub mod escape;
pub mod exact;
pub mod features;
pub mod filter;
pub mod gain;
pub mod gradient;
pub mod header;
pub mod kernels;
pub mod latents;
pub mod lengths;
pub mod limits;
pub mod logistic;
pub mod lossless;
pub mod model;
pub mod network;
pub mod order;
mod perceptron;
pub mod picture;
pub mod pixels;
pub mod prior;
pub mod quantizer;
pub mod sample;
pub mod search;
mod shapes;
pub mod sigmoid;
pub mod stream;
mod tensors;
pub mod threads;
pub mod transform;
pub mod trunk;
pub mod wiener;

pub use codes::CodeGrid;
pub use error::{Error, Result};
pub use limits::Limits;
pub use model::Model;
