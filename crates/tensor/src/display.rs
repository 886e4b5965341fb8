//! How a tensor prints: as NumPy would, nested brackets with aligned numbers, the middle of long dimensions left out.

use crate::{DType, Tensor};
use std::fmt;

/// Tensors with more elements than this are abbreviated.
const SUMMARIZE: usize = 1000;
/// Elements shown at each end of an abbreviated dimension.
const EDGE: usize = 3;

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printer = Printer::new(self);
        let mut text = String::new();
        printer.dimension(0, 0, &mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({self}, shape={}, dtype={}, device={})", self.shape(), self.dtype(), self.device())
    }
}

struct Printer<'a> {
    dims: &'a [usize],
    cells: Vec<String>,
    width: usize,
    edge: usize,
}

impl Printer<'_> {
    fn new(tensor: &Tensor) -> Printer<'_> {
        let dims = tensor.shape().dims();
        let edge = if tensor.count() > SUMMARIZE { EDGE } else { usize::MAX / 2 };
        let values = tensor.to_vec_as::<f64>();
        let float = tensor.dtype().is_float();
        let shown = |i: usize| {
            let mut rest = i;
            dims.iter().rev().all(|&d| {
                let at = rest % d;
                rest /= d;
                d <= 2 * edge || at < edge || at >= d - edge
            })
        };
        let finite =
            values.iter().enumerate().filter(|(i, x)| x.is_finite() && **x != 0.0 && shown(*i)).map(|(_, x)| x.abs());
        let (low, high) = finite.fold((f64::INFINITY, 0.0f64), |(l, h), x| (l.min(x), h.max(x)));
        let scientific = high >= 1e8 || (high > 0.0 && (low < 1e-4 || high / low > 1e3 && low < 1e-3));
        let digits = (0..4).find(|&d| values.iter().all(|x| !x.is_finite() || decimal(*x, d) == *x)).unwrap_or(4);
        let cell = |(i, &x): (usize, &f64)| match tensor.dtype() {
            _ if !shown(i) => String::new(),
            DType::Bool => (x != 0.0).to_string(),
            _ if !float => format!("{x}"),
            _ if !x.is_finite() => x.to_string().to_lowercase(),
            _ if scientific => format!("{x:.4e}"),
            _ => format!("{x:.*}{}", digits, if digits == 0 { "." } else { "" }),
        };
        let cells: Vec<String> = values.iter().enumerate().map(cell).collect();
        let width = cells.iter().map(String::len).max().unwrap_or(0);
        Printer { dims, cells, width, edge }
    }

    fn dimension(&self, axis: usize, first: usize, out: &mut String) {
        let Some(&length) = self.dims.get(axis) else {
            let cell = self.cells.get(first).map_or("", String::as_str);
            out.push_str(&format!("{cell:>0$}", if self.dims.is_empty() { 0 } else { self.width }));
            return;
        };
        let inner: usize = self.dims[axis + 1..].iter().product();
        let between = match self.dims.len() - axis {
            1 => " ".to_owned(),
            left => "\n".repeat(left - 1) + &" ".repeat(axis + 1),
        };
        out.push('[');
        let mut i = 0;
        while i < length {
            if i > 0 {
                out.push_str(&between);
            }
            if length > 2 * self.edge && i == self.edge {
                out.push_str("...");
                i = length - self.edge;
                continue;
            }
            self.dimension(axis + 1, first + i * inner, out);
            i += 1;
        }
        out.push(']');
    }
}

fn decimal(x: f64, digits: usize) -> f64 {
    let scale = 10f64.powi(digits as i32);
    (x * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use crate::Tensor;

    #[test]
    fn like_numpy() {
        assert_eq!(Tensor::new([[1.0, 2.5], [-3.0, 0.25]]).to_string(), "[[ 1.00  2.50]\n [-3.00  0.25]]");
        assert_eq!(Tensor::new([1, 20, -3]).to_string(), "[ 1 20 -3]");
        assert_eq!(Tensor::new([true, false]).to_string(), "[ true false]");
        assert_eq!(Tensor::new(2.0f32).to_string(), "2.");
        assert_eq!(Tensor::new([[[1], [2]], [[3], [4]]]).to_string(), "[[[1]\n  [2]]\n\n [[3]\n  [4]]]");
        assert_eq!(Tensor::arange(0, 2000, 1).unwrap().to_string(), "[   0    1    2 ... 1997 1998 1999]");
        assert_eq!(Tensor::new([1.0, f64::NAN, f64::NEG_INFINITY]).to_string(), "[  1.  nan -inf]");
        assert_eq!(Tensor::new([1e-8, 1.0]).to_string(), "[1.0000e-8  1.0000e0]");
        assert_eq!(Tensor::zeros([0, 3]).unwrap().to_string(), "[]");
    }
}
