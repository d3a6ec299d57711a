//! Work on several threads, in pools of a call's own.
//!
//! Rayon's global pool is avoided on purpose: its threads would be missing in a forked process
//! (a torch DataLoader's worker, say), which would then wait forever.

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Most threads of one call.
const MAX_THREADS: usize = 256;

/// Runs `work` in a pool of its own: Rayon's parallel iterators inside it use `threads` threads,
/// as many as there are cores where that is 0.
pub fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> Result<R> {
    let pool = ThreadPoolBuilder::new().num_threads(count(threads)).build();
    let pool = pool.map_err(|error| Error::InvalidInput(format!("no threads: {error}")))?;
    Ok(pool.install(work))
}

/// Applies `work` to all items, on several threads where there are several items; results keep
/// their order.
pub fn for_each<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> Result<R> + Send + Sync,
) -> Result<Vec<R>> {
    let threads = count(threads).min(items.len());
    if threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    with_threads(threads, || items.into_par_iter().map(work).collect())?
}

/// How many threads a number stands for.
pub(crate) fn count(threads: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    (if threads == 0 { cores() } else { threads }).min(MAX_THREADS)
}
