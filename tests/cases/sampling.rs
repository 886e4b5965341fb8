//! Images sampled at positions: linear ones by their definition, the others by PyTorch's numbers (`xtask refs`) and all
//! gradients by differences.

use super::{Array, Case, numbers};
use kiln_autograd::Tensor;
use kiln_autograd::ops::*;

/// The sum over all pixels, each by a tent around it; outside of the image are zeros.
fn linear(x: &[Array], aligned: bool) -> Array {
    let (image, grid) = (&x[0], &x[1]);
    let [height, width] = [image.dims[1], image.dims[2]];
    let place = |g: f64, size: usize| match aligned {
        true => (g + 1.0) / 2.0 * (size - 1) as f64,
        false => ((g + 1.0) * size as f64 - 1.0) / 2.0,
    };
    Array::build(&[grid.dims[0], grid.dims[1], grid.dims[2], image.dims[3]], |at| {
        let position = |i: usize| grid.at(&[at[0], at[1], at[2], i]);
        let (px, py) = (place(position(0), width), place(position(1), height));
        let tent = |distance: f64| (1.0 - distance.abs()).max(0.0);
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        pixels.map(|(y, x)| image.at(&[at[0], y, x, at[3]]) * tent(x as f64 - px) * tent(y as f64 - py)).sum()
    })
}

pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for (mode, padding) in [GridMode::Linear, GridMode::Nearest, GridMode::Cubic].into_iter().flat_map(|mode| {
        [GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection].map(|padding| (mode, padding))
    }) {
        for aligned in [false, true] {
            let options = GridSample::new().mode(mode).padding(padding).align_corners(aligned);
            let inputs = vec![numbers(&[2, 3, 4, 2], 1), numbers(&[2, 2, 3, 2], 2)];
            let f = move |x: &[kiln_autograd::Var]| x[0].grid_sample(&x[1], &options);
            // Positions are rounded with their type, and so is where they lie.
            let case = Case::new(format!("grid_sample {options:?}"), inputs, f).wide_only().slack(64.0);
            let is_linear = mode == GridMode::Linear && padding == GridPadding::Zeros;
            all.push(if is_linear { case.reference(move |x| linear(x, aligned)) } else { case });
        }
    }
    let volumes = GridSample::new().padding(GridPadding::Border).channels_first();
    let inputs = vec![numbers(&[2, 1, 3, 2, 3], 3), numbers(&[2, 2, 1, 2, 3], 4)];
    all.push(Case::new("grid_sample of volumes", inputs, move |x| x[0].grid_sample(&x[1], &volumes)).wide_only());
    let inputs = vec![numbers(&[0, 2, 2, 1], 3), numbers(&[0, 2, 1, 2], 4)];
    all.push(Case::new("grid_sample of no image", inputs, |x| x[0].grid_sample(&x[1], &GridSample::new())));
    for aligned in [false, true] {
        let f = move |x: &[kiln_autograd::Var]| x[0].affine_grid(&[2, 3], aligned);
        all.push(Case::new(format!("affine_grid {aligned}"), vec![numbers(&[2, 2, 3], 5)], f).slack(64.0));
        let f = move |x: &[kiln_autograd::Var]| x[0].affine_grid(&[2, 1, 3], aligned);
        all.push(Case::new(format!("affine_grid of volumes {aligned}"), vec![numbers(&[2, 3, 4], 5)], f).slack(64.0));
    }
    all.into_iter().map(Case::fused).collect()
}

#[test]
fn a_grid_that_changes_nothing() {
    let image = numbers(&[1, 3, 4, 2], 1);
    let same = Tensor::new([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).unsqueeze(0).unwrap();
    for aligned in [false, true] {
        let grid = same.affine_grid(&[3, 4], aligned).unwrap();
        for mode in [GridMode::Nearest, GridMode::Linear, GridMode::Cubic] {
            let y = image.grid_sample(&grid, &GridSample::new().mode(mode).align_corners(aligned)).unwrap();
            let apart = y.sub(&image).unwrap().norm(f64::INFINITY, ..).unwrap().item().unwrap();
            assert!(apart < 1e-14, "{mode:?} {aligned}: {apart}");
        }
    }
}

#[test]
fn mistakes_are_errors() {
    let (image, grid) = (numbers(&[1, 2, 2, 3], 1), numbers(&[1, 4, 4, 2], 2));
    let told = |x: kiln_autograd::Result<Tensor>, part: &str| {
        let text = x.unwrap_err().to_string();
        assert!(text.contains(part) && text.contains("sampling.rs"), "{text}");
    };
    let plain = GridSample::new();
    told(image.grid_sample(&numbers(&[2, 4, 4, 2], 1), &plain), "needs images [N, H, W, C] and a grid [N, OH, OW, 2]");
    told(image.grid_sample(&numbers(&[1, 4, 4, 3], 1), &plain), "found [1, 2, 2, 3] and [1, 4, 4, 3]");
    told(numbers(&[1, 0, 2, 3], 1).grid_sample(&grid, &plain), "grid_sample: needs images");
    let volume = numbers(&[1, 2, 2, 2, 1], 1);
    told(volume.grid_sample(&numbers(&[1, 1, 1, 1, 3], 2), &plain.mode(GridMode::Cubic)), "not for volumes");
    told(image.affine_grid(&[2, 2], true), "affine_grid: needs matrices [N, 2, 3]");
}
