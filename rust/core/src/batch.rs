//! Many files at once. Files of one size, quality and version go through the networks together: in
//! small pictures most of the time is that of loading weights.

use std::collections::HashMap;
use std::mem;

use rayon::prelude::*;

use crate::centred::Rounding;
use crate::codes::CodeGrid;
use crate::container::{self, Container};
use crate::context::Lane;
use crate::entropy::Decoder;
use crate::error::Result;
use crate::header::Header;
use crate::limits::Limits;
use crate::model::Model;
use crate::picture::{Pixels, synthesize_together};
use crate::prior::Prior;
use crate::stream::{check_model, coarse_features};
use crate::threads::with_threads;

/// Positions that go through the networks together, all pictures taken together.
const POSITIONS: usize = 128;

/// The codes of whole files, each of which is checked first; one grid for each level, coarse to fine.
pub fn read_codes(
    model: &Model,
    files: &[&[u8]],
    limits: &Limits,
    threads: usize,
) -> Result<Vec<Vec<CodeGrid>>> {
    each_group(model, files, limits, threads, |_, codes| Ok(codes))
}

/// The pictures in whole files.
pub fn decode(
    model: &Model,
    files: &[&[u8]],
    limits: &Limits,
    threads: usize,
) -> Result<Vec<Pixels>> {
    each_group(model, files, limits, threads, |header, codes| {
        let size = [header.height as usize, header.width as usize];
        let filter = header.filter()?;
        let pictures = synthesize_together(model, &codes, size, header.quality, filter.as_ref())?;
        Ok(pictures.into_iter().map(|samples| Pixels::of(header, samples)).collect())
    })
}

/// Applies `work` to the codes of groups of files that are alike; results in the order of the files.
fn each_group<R: Send>(
    model: &Model,
    files: &[&[u8]],
    limits: &Limits,
    threads: usize,
    work: impl Fn(&Header, Vec<Vec<CodeGrid>>) -> Result<Vec<R>> + Sync,
) -> Result<Vec<R>> {
    let containers = files.iter().map(|file| checked(model, file, limits));
    let containers = containers.collect::<Result<Vec<_>>>()?;
    let done = with_threads(threads, || {
        let share = files.len().div_ceil(rayon::current_num_threads());
        let groups = groups(model, &containers, share);
        let work = |group: &Vec<usize>| {
            let members: Vec<_> = group.iter().map(|&n| (&containers[n], files[n])).collect();
            work(&members[0].0.header, codes_together(model, &members)?)
        };
        let done = groups.par_iter().map(work).collect::<Result<Vec<_>>>()?;
        Ok(groups.into_iter().flatten().zip(done.into_iter().flatten()))
    })??;
    let mut results: Vec<Option<R>> = files.iter().map(|_| None).collect();
    for (number, result) in done {
        results[number] = Some(result);
    }
    Ok(results.into_iter().flatten().collect())
}

fn checked(model: &Model, file: &[u8], limits: &Limits) -> Result<Container> {
    let container = container::parse(file, limits)?;
    check_model(model, &container.header, limits)?;
    container.verify(file)?;
    Ok(container)
}

/// The numbers of files that go together: at most `share` of equal headers.
fn groups(model: &Model, containers: &[Container], share: usize) -> Vec<Vec<usize>> {
    let mut groups = Vec::new();
    let mut open: HashMap<&Header, Vec<usize>> = HashMap::new();
    for (number, Container { header, .. }) in containers.iter().enumerate() {
        let positions = (header.height as usize).div_ceil(1 << model.stride_log2)
            * (header.width as usize).div_ceil(1 << model.stride_log2);
        let group = open.entry(header).or_default();
        group.push(number);
        if group.len() >= (POSITIONS / positions).clamp(1, share.max(1)) {
            groups.push(mem::take(group));
        }
    }
    groups.extend(open.into_values().filter(|group| !group.is_empty()));
    groups
}

/// The codes of verified files with equal headers, which fit the model.
fn codes_together(model: &Model, members: &[(&Container, &[u8])]) -> Result<Vec<Vec<CodeGrid>>> {
    let mut pictures: Vec<Vec<CodeGrid>> = members.iter().map(|_| Vec::new()).collect();
    let header = &members[0].0.header;
    for (index, (&level, (_, prior))) in header.levels.iter().zip(model.levels()).enumerate() {
        let (height, width) = header.grid(level);
        for picture in &mut pictures {
            picture.push(CodeGrid::zeros([prior.variables(), height, width]));
        }
        for (number, tile) in header.tiles(level).enumerate() {
            let open = members.iter().zip(&pictures).map(|((container, file), picture)| {
                let payload =
                    container.verified_payload(file, container.payloads[index][number])?;
                let coarse = coarse_features(model, picture[..index].last(), tile)?;
                let codes = CodeGrid::zeros([prior.variables(), tile.height, tile.width]);
                Ok((codes, coarse, Decoder::new(payload)))
            });
            let mut open = open.collect::<Result<Vec<_>>>()?;
            let lanes = open.iter_mut().map(|(codes, coarse, coder)| {
                let coarse = coarse.as_ref();
                Lane { codes, coarse, coder, rounding: Rounding::Nearest(0) }
            });
            let mut lanes: Vec<_> = lanes.collect();
            prior.code_together(&mut lanes, header.quality, header.adaptive())?;
            for ((codes, _, coder), picture) in open.into_iter().zip(&mut pictures) {
                coder.finish()?;
                picture[index].set_tile(tile, &codes);
            }
        }
    }
    Ok(pictures)
}
