#![allow(missing_docs)]
use std::sync::LazyLock;
static P: LazyLock<[i32; 64]> = LazyLock::new(|| {
    let mut p = [i32::MIN; 64];
    if let Ok(s) = std::env::var("P") {
        for kv in s.split(',').filter(|s| !s.is_empty()) {
            let (k, v) = kv.split_once(':').unwrap();
            p[k.parse::<usize>().unwrap()] = v.parse().unwrap();
        }
    }
    p
});
#[inline(always)]
pub fn p(i: usize, d: i32) -> i32 {
    let v = P[i];
    if v == i32::MIN { d } else { v }
}
