//! Attention without its shares in memory: a tile of scores at a time, with the maximum and the sum of each row carried on
//! (Milakov and Gimelshein 2018; Dao et al. 2022). The gradient computes the shares again, from the logarithms of the sums.

use super::{cpu, cuda};
use crate::{Arity, CpuCall, CudaCall, DType, Error, Op, Result, Shape, Spec, Specs};

/// `softmax(q · kᵀ · scale) · v` for queries `[…, L, E]`, keys `[…, S, E]` and values `[…, S, F]`, whose leading dimensions
/// broadcast: the result, and the logarithm of the sum of each row's exponentials, `[…, L]`, in the type that is computed in. A
/// fourth operand is a mask that broadcasts to `[…, L, S]`: where it holds a query sees a key, or what is added to the scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attend {
    /// What scores are multiplied by.
    pub scale: f64,
    /// Whether query `i` sees keys up to `i` alone.
    pub causal: bool,
}

/// The gradients of queries, keys and values, with the leading dimensions that they broadcast to. Operands are those three, the
/// two results of [`Attend`], the gradient of the first, and the mask if there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttendGrad {
    /// The operation.
    pub of: Attend,
}

/// The sizes of an attention.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) lead: Shape,
    /// Queries.
    pub(super) rows: usize,
    /// Keys.
    pub(super) columns: usize,
    /// Features of a key.
    pub(super) inner: usize,
    /// Features of a value.
    pub(super) width: usize,
}

impl Sizes {
    pub(super) fn of(q: &Shape, k: &Shape, v: &Shape) -> Option<Sizes> {
        let ends =
            |x: &Shape| x.rank().checked_sub(2).map(|lead| (Shape::from_slice(&x[..lead]), x[lead], x[lead + 1]));
        let ((a, rows, inner), (b, columns, same), (c, again, width)) = (ends(q)?, ends(k)?, ends(v)?);
        let lead = a.broadcast(&b).ok()?.broadcast(&c).ok()?;
        (inner == same && columns == again).then_some(Sizes { lead, rows, columns, inner, width })
    }

    /// The leading dimensions with others behind them.
    pub(super) fn with(&self, behind: &[usize]) -> Result<Shape> {
        Shape::new(&[self.lead.dims(), behind].concat())
    }
}

impl Attend {
    pub(super) fn misfit(q: &Shape, k: &Shape, v: &Shape) -> Error {
        let text =
            format!("needs queries [..., L, E], keys [..., S, E] and values [..., S, F], found {q}, {k} and {v}");
        Error::shape("attend", text)
    }
}

impl Op for Attend {
    fn name(&self) -> &str {
        "attend"
    }

    fn arity(&self) -> Arity {
        Arity::AtLeast(3)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let [q, k, v] = [0, 1, 2].map(|i| x[i].shape);
        let Some(sizes) = Sizes::of(&q, &k, &v) else {
            return Err(Attend::misfit(&q, &k, &v));
        };
        let dtype = x[0].dtype;
        if !dtype.is_float() || x[1..3].iter().any(|x| x.dtype != dtype) {
            let text = format!("the operands are {}, {} and {}", dtype, x[1].dtype, x[2].dtype);
            return Err(Error::dtype(self.name(), text).help("convert them: .cast(…)"));
        }
        if let Some(mask) = x.get(3) {
            let scores = sizes.with(&[sizes.rows, sizes.columns])?;
            if mask.shape.broadcast(&scores).ok() != Some(scores) {
                let text = format!("the mask {} does not broadcast to the scores {scores}", mask.shape);
                return Err(Error::shape(self.name(), text));
            }
            if mask.dtype != DType::Bool && !mask.dtype.is_float() {
                let text = format!("a mask is bool or floating point, found {}", mask.dtype);
                return Err(Error::dtype(self.name(), text).help("compare it: .ne(0)"));
            }
        }
        if x.len() > 4 {
            return Err(Error::argument(self.name(), format!("takes 3 or 4 operands, {} were given", x.len())));
        }
        let sums = Spec::new(sizes.with(&[sizes.rows])?, computed_in(dtype));
        Ok([Spec::new(sizes.with(&[sizes.rows, sizes.width])?, dtype), sums].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        match computed_in(x[0].dtype()) {
            DType::F64 => cpu::attend::<f64>(*self, x, y),
            _ => cpu::attend::<f32>(*self, x, y),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::attend(self, call)
    }
}

impl Op for AttendGrad {
    fn name(&self) -> &str {
        "attend_grad"
    }

    fn arity(&self) -> Arity {
        Arity::AtLeast(6)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let forward: Vec<Spec> = x[..3].iter().chain(x.get(6)).copied().collect();
        let y = self.of.infer(&forward).map_err(|error| error.renamed("attend", self.name()))?;
        if x.len() > 7 || x[3] != y[0] || x[4] != y[1] || x[5] != y[0] {
            let text = format!("the results are {y:?}, found {:?}", &x[3..]);
            return Err(Error::shape(self.name(), text));
        }
        let Some(sizes) = Sizes::of(&x[0].shape, &x[1].shape, &x[2].shape) else {
            return Err(Error::shape(self.name(), "the operands are no attention"));
        };
        let of = |rows: usize, width: usize| Ok::<Spec, Error>(Spec::new(sizes.with(&[rows, width])?, x[0].dtype));
        let (rows, columns, inner, width) = (sizes.rows, sizes.columns, sizes.inner, sizes.width);
        Ok([of(rows, inner)?, of(columns, inner)?, of(columns, width)?].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        match computed_in(x[0].dtype()) {
            DType::F64 => cpu::attend_grad::<f64>(self.of, x, y),
            _ => cpu::attend_grad::<f32>(self.of, x, y),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::attend_grad(&self.of, call)
    }
}

/// Half precision is computed in single.
fn computed_in(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}
