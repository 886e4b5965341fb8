//! How kernels that are written for `f32` and `f64` take half precision: converted to single, and rounded once.

use crate::cpu::float::Float;
use crate::cpu::scratch::Scratch;
use crate::scalar::Real;
use crate::{DType, Element, Elements, Result, View, ViewMut, with_element};

/// The elements in single precision.
pub(crate) fn as_single<'a>(x: &View<'a>) -> Result<Elements<'a, f32>> {
    if x.dtype() == DType::F32 {
        return x.contiguous();
    }
    with_element!(x.dtype(), T => Ok(x.contiguous::<T>()?.iter().map(|v| v.to_f32()).collect::<Scratch<_>>().into()))
}

/// Computes a result in single precision, and rounds it once where it is stored in half.
pub(crate) fn in_single(y: &mut ViewMut<'_>, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    if y.dtype() == DType::F32 {
        return f(y.slice()?);
    }
    let mut wide = Scratch::filled(y.shape().count(), 0f32);
    f(&mut wide)?;
    with_element!(y.dtype(), T => {
        y.slice::<T>()?.iter_mut().zip(&*wide).for_each(|(y, &v)| *y = T::from_f32(v));
    });
    Ok(())
}

/// What a kernel computes in that is written for both: half precision by way of single.
pub(crate) trait Number: Float + Real + Element {
    /// An operand's elements, converted where they have another type.
    fn read<'a>(x: &View<'a>) -> Result<Elements<'a, Self>>;
    /// Room for a result's elements, which are converted where they are to have another type.
    fn write(y: &mut ViewMut<'_>, f: impl FnOnce(&mut [Self]) -> Result<()>) -> Result<()>;
}

impl Number for f32 {
    fn read<'a>(x: &View<'a>) -> Result<Elements<'a, f32>> {
        as_single(x)
    }
    fn write(y: &mut ViewMut<'_>, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
        in_single(y, f)
    }
}

impl Number for f64 {
    fn read<'a>(x: &View<'a>) -> Result<Elements<'a, f64>> {
        x.contiguous()
    }
    fn write(y: &mut ViewMut<'_>, f: impl FnOnce(&mut [f64]) -> Result<()>) -> Result<()> {
        f(y.slice()?)
    }
}

/// Runs a kernel in `f64`, or in `f32`, which half precision is converted to and rounded from once: the operands are
/// slices of that type, and so is the result.
macro_rules! in_float {
    ([$($x:ident = $from:expr),+], $y:ident = $to:expr, $kernel:expr) => {{
        let to = $to;
        if to.dtype() == $crate::DType::F64 {
            $(let $x = &*$from.contiguous::<f64>()?;)+
            let $y = to.slice::<f64>()?;
            $kernel;
            Ok(())
        } else {
            $(let $x = &*$crate::cpu::single::as_single($from)?;)+
            $crate::cpu::single::in_single(to, |$y| {
                $kernel;
                Ok(())
            })
        }
    }};
}
pub(crate) use in_float;
