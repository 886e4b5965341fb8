//! Images of another size, against TensorFlow's formulas written out for each pixel.

use super::{Array, Case, numbers};
use kiln_autograd::Tensor;
use kiln_autograd::ops::*;

/// The weight of old position `i` in new position `o`, before they are made to add up to 1.
fn weight(method: Resize, i: usize, o: usize, from: usize, to: usize) -> f64 {
    let scale = from as f64 / to as f64;
    let d = (i as f64 + 0.5 - (o as f64 + 0.5) * scale).abs();
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
    let lanczos = |r: f64| if d < r { sinc(d) * sinc(d / r) } else { 0.0 };
    match method {
        Resize::Nearest => f64::from(i == ((o as f64 + 0.5) * scale + 1e-9).floor() as usize),
        Resize::Bilinear => (1.0 - d).max(0.0),
        Resize::Bicubic if d <= 1.0 => 1.5 * d.powi(3) - 2.5 * d.powi(2) + 1.0,
        Resize::Bicubic if d < 2.0 => -0.5 * d.powi(3) + 2.5 * d.powi(2) - 4.0 * d + 2.0,
        Resize::Bicubic => 0.0,
        Resize::Lanczos3 => lanczos(3.0),
        Resize::Lanczos5 => lanczos(5.0),
        Resize::Area => ((o + 1) as f64 * scale).min((i + 1) as f64) - (o as f64 * scale).max(i as f64),
    }
    .max(if method == Resize::Area { 0.0 } else { f64::NEG_INFINITY })
}

fn naive(method: Resize, x: &Array, size: [usize; 2]) -> Array {
    let weights = |from: usize, o: usize, to: usize| -> Vec<f64> {
        let all: Vec<f64> = (0..from).map(|i| weight(method, i, o, from, to)).collect();
        let sum: f64 = all.iter().sum();
        all.iter().map(|w| w / sum).collect()
    };
    Array::build(&[x.dims[0], size[0], size[1], x.dims[3]], |y| {
        let (rows, columns) = (weights(x.dims[1], y[1], size[0]), weights(x.dims[2], y[2], size[1]));
        let mut sum = 0.0;
        for (i, row) in rows.iter().enumerate().filter(|(_, row)| **row != 0.0) {
            for (j, column) in columns.iter().enumerate().filter(|(_, column)| **column != 0.0) {
                sum += row * column * x.at(&[y[0], i, j, y[3]]);
            }
        }
        sum
    })
}

const METHODS: [Resize; 6] =
    [Resize::Nearest, Resize::Bilinear, Resize::Bicubic, Resize::Lanczos3, Resize::Lanczos5, Resize::Area];

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in METHODS {
        for (dims, size) in [
            ([2, 3, 4, 2], [6, 8]),
            ([1, 5, 3, 1], [2, 7]),
            ([1, 7, 6, 2], [3, 2]),
            ([1, 3, 4, 1], [3, 4]),
            ([2, 1, 1, 3], [2, 3]),
            ([1, 4, 5, 2], [1, 1]),
            ([0, 3, 4, 2], [5, 2]),
            ([1, 3, 4, 0], [5, 2]),
        ] {
            let name = format!("resize {method:?} {dims:?} {size:?}");
            let case = Case::new(name, vec![numbers(&dims, 1)], move |x| x[0].resize(size, method)).slack(64.0);
            cases.push(case.reference(move |x| naive(method, &x[0], size)));
        }
        let many = vec![numbers(&[4, 40, 50, 24], 1)];
        let case = Case::new(format!("resize {method:?}"), vec![numbers(&[1, 4, 5, 1], 1)], move |x| {
            x[0].resize([30, 70], method)
        });
        // Positions far from 0 are rounded, and weights are made of differences of them.
        cases.push(case.slack(512.0).large(many).reference(move |x| naive(method, &x[0], [30, 70])));
    }
    cases.extend(interpolations());
    cases
}

#[test]
fn pixels_that_are_not_finite_stay_where_they_are() {
    let mut values = vec![1.0; 36];
    values[0] = f64::NAN;
    let x = Tensor::from_vec(values, [1, 6, 6, 1]).unwrap();
    for method in METHODS {
        let y = x.resize([12, 12], method).unwrap().to_vec::<f64>().unwrap();
        assert!(y[0].is_nan() && (y[143] - 1.0).abs() < 1e-12, "{method:?}");
    }
}

fn interpolations() -> Vec<Case> {
    use InterpolateMode::{Area, Cubic, Linear, Nearest, NearestExact};
    let mut cases = Vec::new();
    for (mode, aligned, smooth) in [
        (Nearest, false, false),
        (NearestExact, false, false),
        (Area, false, false),
        (Linear, false, false),
        (Linear, true, false),
        (Linear, false, true),
        (Cubic, false, false),
        (Cubic, true, false),
        (Cubic, false, true),
    ] {
        let to = Interpolate::to(mode, &[5, 3]).align_corners(aligned).antialias(smooth);
        let f = move |x: &[kiln_autograd::Var]| x[0].interpolate(&to);
        let case = Case::new(format!("interpolate {mode:?} {aligned} {smooth}"), vec![numbers(&[2, 3, 7, 2], 1)], f);
        cases.push(case.slack(64.0));
        let by = Interpolate::by(mode, &[1.7]).align_corners(aligned).antialias(smooth).channels_first();
        let f = move |x: &[kiln_autograd::Var]| x[0].interpolate(&by);
        cases.push(Case::new(format!("interpolate by {mode:?} {aligned} {smooth}"), vec![numbers(&[2, 2, 5], 1)], f));
    }
    let middle = Case::new("interpolate aligned", vec![numbers(&[1, 3, 1], 1)], |x| {
        x[0].interpolate(&Interpolate::to(Linear, &[5]).align_corners(true))
    });
    cases.push(
        middle.reference(|x| {
            Array::build(&[1, 5, 1], |at| (x[0].values[at[1] / 2] + x[0].values[at[1].div_ceil(2)]) / 2.0)
        }),
    );
    let volume = Interpolate::to(Linear, &[2, 3, 4]).channels_first();
    cases
        .push(Case::new("interpolate volumes", vec![numbers(&[1, 2, 3, 2, 3], 1)], move |x| x[0].interpolate(&volume)));
    cases
}

#[test]
fn integers() {
    let x = Tensor::new([0u8, 200]).reshape([1, 1, 2, 1]).unwrap();
    assert_eq!(x.resize([1, 4], Resize::Nearest).unwrap().to_vec::<u8>().unwrap(), [0, 0, 200, 200]);
    assert_eq!(x.resize([1, 4], Resize::Bilinear).unwrap().to_vec::<f32>().unwrap(), [0.0, 50.0, 150.0, 200.0]);
}

#[test]
fn mistakes_are_errors() {
    let x = numbers(&[1, 3, 3, 1], 1);
    for size in [[0, 2], [2, 0], [usize::MAX, 1]] {
        assert!(x.resize(size, Resize::Bilinear).is_err(), "{size:?}");
    }
    assert!(numbers(&[1, 0, 3, 1], 1).resize([2, 2], Resize::Nearest).is_err());
    let text = numbers(&[3, 3, 1], 1).resize([2, 2], Resize::Nearest).unwrap_err().to_string();
    assert!(text.starts_with("resize: needs images [N, H, W, C], found [3, 3, 1]"), "{text}");
    for (options, part) in [
        (Interpolate::to(InterpolateMode::Linear, &[2]), "1 lengths or factors do not fit [1, 3, 3, 1]"),
        (Interpolate::to(InterpolateMode::Linear, &[2, 0]), "a dimension of 3 elements cannot become one of 0"),
        (Interpolate::by(InterpolateMode::Area, &[0.2, 1.0]), "a dimension of 3 elements cannot become one of 0"),
    ] {
        let text = x.interpolate(&options).unwrap_err().to_string();
        assert!(text.starts_with("interpolate: ") && text.contains(part) && text.contains("resize.rs"), "{text}");
    }
}
