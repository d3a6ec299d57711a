//! Bits a sample and speed of lossless coding, one tile a picture, on the binary PPM files (P6,
//! 8 bits, without comments) named on the command line: `examples/lossless [--check] *.ppm`.

use std::fs;

use vqcodec_core::lossless::{Shape, decode_tile, encode_tile};

fn main() {
    let (check, names): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|name| name == "--check");
    let (mut bits, mut samples, mut encoding, mut decoding) = (0, 0, 0.0, 0.0);
    for name in names {
        let (shape, picture) = read(&name);
        let start = cpu_seconds();
        let bytes = encode_tile(&picture, &shape).expect("a picture");
        let encoded = cpu_seconds();
        if !check.is_empty() {
            assert!(decode_tile(&bytes, &shape).expect("a tile") == picture, "{name} differs");
            decoding += cpu_seconds() - encoded;
        }
        encoding += encoded - start;
        bits += 8 * bytes.len();
        samples += picture.len();
        let own = 8.0 * bytes.len() as f64 / picture.len() as f64;
        println!("{name}: {} bytes, {own:.4} bits a sample", bytes.len());
    }
    let pixels = samples as f64 / 3e6;
    println!(
        "all: {:.4} bits a sample, {:.3} Mpx/s encoding, {:.3} decoding (CPU time)",
        bits as f64 / samples as f64,
        pixels / encoding,
        pixels / decoding,
    );
}

/// Seconds that this thread has run.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).expect("nanoseconds") / 1e9
}

fn read(name: &str) -> (Shape, Vec<u16>) {
    let file = fs::read(name).expect("a readable file");
    let mut rest = file.strip_prefix(b"P6\n").expect("a PPM file");
    let mut number = || {
        let end = rest.iter().position(u8::is_ascii_whitespace).expect("a number");
        let text = std::str::from_utf8(&rest[..end]).expect("digits");
        rest = &rest[end + 1..];
        text.parse().expect("a number")
    };
    let (width, height, _) = (number(), number(), number());
    (Shape { width, height, channels: 3, bits: 8 }, rest.iter().map(|&byte| byte.into()).collect())
}
