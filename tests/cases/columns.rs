//! Windows as rows by their definition, and back: each is the other's gradient.

use super::{Array, Case, numbers};
use kiln_autograd::Tensor;
use kiln_autograd::ops::*;

pub fn all() -> Vec<Case> {
    let wide = Pool2dOptions::new([2, 3]).stride([1, 2]).dilation([2, 1]).padding(Padding::symmetric([1, 2]));
    let naive = |x: &Array, first: bool| {
        let [n, h, w, c] =
            if first { [x.dims[0], x.dims[2], x.dims[3], x.dims[1]] } else { [0, 1, 2, 3].map(|i| x.dims[i]) };
        let counts = [(h + 2 - 3) + 1, (w + 4 - 3) / 2 + 1];
        let element = |image: usize, window: usize, tap: usize, channel: usize| {
            let (i, j) = (window / counts[1] + 2 * (tap / 3), 2 * (window % counts[1]) + tap % 3);
            let (i, j) = (i as isize - 1, j as isize - 2);
            if i < 0 || j < 0 || i >= h as isize || j >= w as isize {
                return 0.0;
            }
            let (i, j) = (i as usize, j as usize);
            if first { x.at(&[image, channel, i, j]) } else { x.at(&[image, i, j, channel]) }
        };
        let count = counts[0] * counts[1];
        match first {
            true => Array::build(&[n, c * 6, count], |at| element(at[0], at[2], at[1] % 6, at[1] / 6)),
            false => Array::build(&[n, count, 6 * c], |at| element(at[0], at[1], at[2] / c, at[2] % c)),
        }
    };
    vec![
        Case::new("im2col", vec![numbers(&[2, 4, 5, 3], 1)], move |x| x[0].im2col(&wide))
            .reference(move |x| naive(&x[0], false)),
        Case::new("im2col channels first", vec![numbers(&[2, 3, 4, 5], 1)], move |x| {
            x[0].im2col(&wide.channels_first())
        })
        .reference(move |x| naive(&x[0], true)),
        Case::new("im2col of a sequence", vec![numbers(&[7, 2], 1)], |x| {
            x[0].im2col(&Pool1dOptions::new([3]).stride([2]))
        }),
        Case::new("im2col of volumes", vec![numbers(&[2, 3, 2, 3, 2], 1)], |x| {
            x[0].im2col(&Pool3dOptions::new([2, 1, 2]).stride([1, 1, 1]))
        }),
        Case::new("im2col of no image", vec![numbers(&[0, 4, 5, 3], 1)], move |x| x[0].im2col(&wide)),
        Case::new("col2im", vec![numbers(&[2, 16, 18], 1)], move |x| x[0].col2im([4, 5], &wide)).slack(64.0),
        Case::new("col2im channels first", vec![numbers(&[2, 18, 16], 1)], move |x| {
            x[0].col2im([4, 5], &wide.channels_first())
        })
        .slack(64.0),
        Case::new("col2im of a sequence", vec![numbers(&[3, 6], 1)], |x| {
            x[0].col2im([7], &Pool1dOptions::new([3]).stride([2]))
        }),
    ]
}

#[test]
fn a_convolution_is_a_product() {
    let (x, w) = (numbers(&[2, 5, 6, 3], 1), numbers(&[3, 2, 3, 4], 2));
    let y = x.conv2d(&w, &Conv2dOptions::new()).unwrap();
    let rows = x.im2col(&Pool2dOptions::new([3, 2]).stride([1, 1])).unwrap();
    let product = rows.matmul(&w.reshape([18, 4]).unwrap()).unwrap().reshape(*y.shape()).unwrap();
    assert!(y.sub(&product).unwrap().norm(f64::INFINITY, ..).unwrap().item().unwrap() < 1e-13);
}

#[test]
fn mistakes_are_errors() {
    let told = |x: kiln_autograd::Result<Tensor>, part: &str| {
        let text = x.unwrap_err().to_string();
        assert!(text.contains(part) && text.contains("columns.rs"), "{text}");
    };
    let square = Pool2dOptions::new([2, 2]).stride([1, 1]);
    told(numbers(&[3, 3], 1).im2col(&square), "im2col: needs a batch with 2 dimensions and channels, found [3, 3]");
    told(numbers(&[1, 1, 3, 1], 1).im2col(&square), "do not fit [1, 3]");
    told(numbers(&[1, 3, 3, 1], 1).im2col(&square.stride([0, 1])), "do not fit [3, 3]");
    told(
        numbers(&[1, 3, 4], 1).col2im([3, 3], &square),
        "col2im: images [3, 3] have 4 windows of a multiple of 4 elements",
    );
}
