//! Lossless coding of samples.
mod binary; mod channel; mod counters; mod history; mod least_squares; mod mixer; mod planes; mod predictors; mod tables; mod walk;
use binary::Encoder; use channel::{Channel, Model}; use planes::Plane;

/// Experiment: sizes of the channels.
pub fn measure(samples: &[u16], width: usize, height: usize) -> Vec<usize> {
    let order = [1, 0, 2];
    let mut planes = vec![]; let mut residuals = vec![];
    let mut sizes = vec![];
    for (earlier, c) in order.into_iter().enumerate() {
        let mut own = Channel { samples: Plane::new(width, height, 128), residuals: Plane::new(width, height, 0) };
        for y in 0..height { for (x, s) in own.samples.row_mut(y).iter_mut().enumerate() { *s = samples[(y * width + x) * 3 + c].into(); } }
        let mut coder = Encoder::new();
        encode(&mut Model::new(width, 8, earlier), &mut own, &planes, &residuals, &mut coder);
        sizes.push(coder.finish().len());
        planes.push(own.samples); residuals.push(own.residuals);
    }
    sizes
}

#[allow(unsafe_code)]
fn encode(model: &mut Model, own: &mut Channel, planes: &[Plane], residuals: &[Plane], coder: &mut Encoder) {
    if is_x86_feature_detected!("avx512vl") {
    // SAFETY: checked
    return unsafe { encode512(model, own, planes, residuals, coder) };
    }
    model.code(own, planes, residuals, coder);
}
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,bmi1,bmi2,lzcnt")]
fn encode512(model: &mut Model, own: &mut Channel, planes: &[Plane], residuals: &[Plane], coder: &mut Encoder) {
    model.code(own, planes, residuals, coder);
}
