//! Bits a sample and speed of lossless coding on PPM files.
use std::time::Instant;
fn number(bytes: &mut &[u8]) -> usize {
    let end = bytes.iter().position(u8::is_ascii_whitespace).unwrap();
    let n = std::str::from_utf8(&bytes[..end]).unwrap().parse().unwrap();
    *bytes = &bytes[end + 1..];
    n
}
fn main() {
    let (mut total, mut samples, mut sum) = (0.0, 0.0, 0.0); let mut seconds = 0.0;
    let mut parts = [0;3];
    for name in std::env::args().skip(1) {
        let file = std::fs::read(&name).unwrap();
        let mut bytes = &file[3..];
        let (w, h, _) = (number(&mut bytes), number(&mut bytes), number(&mut bytes));
        let pixels: Vec<u16> = bytes.iter().map(|&b| b.into()).collect();
        let start = Instant::now();
        let sizes = vqcodec_core::lossless::measure(&pixels, w, h);
        for i in 0..3 { parts[i] += sizes[i]; }
        let t = start.elapsed().as_secs_f64();
        let size: usize = sizes.iter().sum();
        let bpd = size as f64 * 8.0 / pixels.len() as f64;
        if std::env::var("V").is_ok() { println!("{name} {bpd:.4} {:.3} Mpx/s {sizes:?}", pixels.len() as f64 / 3e6 / t); }
        total += size as f64 * 8.0; samples += pixels.len() as f64; seconds += t; sum += bpd;
    }
    let n = std::env::args().len() as f64 - 1.0;
    println!("bpd {:.4} mean {:.4} speed {:.3} Mpx/s parts {parts:?}", total / samples, sum / n, samples / 3e6 / seconds);
}
