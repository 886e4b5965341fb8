//! Conversion between element types.

use super::{Case, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Var};

fn of(name: &str, dims: &[usize], f: impl Fn(&Var) -> kiln_autograd::Result<Var> + Send + Sync + 'static) -> Case {
    Case::new(name, vec![numbers(dims, 1)], move |x| f(&x[0]))
}

pub fn all() -> Vec<Case> {
    vec![
        of("cast there and back", &[5], |x| x.cast(DType::F64)),
        of("cast to integers", &[5], |x| x.cast(DType::I32)).no_gradient().reference(|x| x[0].map(f64::trunc)),
        of("cast to truth", &[5], |x| x.cast(DType::Bool))
            .no_gradient()
            .reference(|x| x[0].map(|v| f64::from(u8::from(v != 0.0)))),
    ]
}
