//! How a tensor prints: as NumPy would, nested brackets with aligned numbers, the middle of long dimensions left out.

use crate::{DType, Element, Tensor, with_element};
use std::fmt;

/// Tensors with more elements than this are abbreviated.
const SUMMARIZE: usize = 1000;
/// Elements shown at each end of an abbreviated dimension.
const EDGE: usize = 3;

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nobody knows here which line prints it.
        self.escape_at(None);
        let mut text = String::new();
        Printer::new(self).dimension(0, &mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({self}, shape={}, dtype={}, device={})", self.shape(), self.dtype(), self.device())
    }
}

/// Rows that are longer go on in the next line.
const LINE: usize = 80;

struct Printer<'a> {
    dims: &'a [usize],
    /// The texts of the elements that are shown, in the order in which they are printed.
    cells: std::vec::IntoIter<String>,
    width: usize,
    edge: usize,
}

impl Printer<'_> {
    fn new(tensor: &Tensor) -> Printer<'_> {
        let edge = if tensor.count() > SUMMARIZE { EDGE } else { SUMMARIZE };
        let cells: Vec<String> = with_element!(tensor.dtype(), T => {
            let shown = tensor.edges::<T>(edge);
            match T::DTYPE {
                DType::Bool => shown.iter().map(|x| (x.to_i64() != 0).to_string()).collect(),
                float if float.is_float() => float_cells(&shown.iter().map(|x| x.to_f64()).collect::<Vec<_>>()),
                _ => shown.iter().map(|x| x.to_i64().to_string()).collect(),
            }
        });
        let width = cells.iter().map(String::len).max().unwrap_or(0);
        Printer { dims: tensor.shape().dims(), cells: cells.into_iter(), width, edge }
    }

    fn dimension(&mut self, axis: usize, out: &mut String) {
        let Some(&length) = self.dims.get(axis) else {
            let cell = self.cells.next().unwrap_or_default();
            return out.push_str(&format!("{cell:>0$}", self.width));
        };
        let between = match self.dims.len() - axis {
            1 => " ".to_owned(),
            left => "\n".repeat(left - 1) + &" ".repeat(axis + 1),
        };
        out.push('[');
        let is_row = self.dims.len() - axis == 1;
        let (mut i, mut column) = (0, axis + 1);
        // Of a tensor without elements every dimension may be as long as it likes.
        while i < length && self.cells.len() > 0 {
            if is_row && i > 0 && column + 1 + self.width > LINE {
                out.push('\n');
                out.push_str(&" ".repeat(axis + 1));
                column = axis + 1;
            } else if i > 0 {
                out.push_str(&between);
                column += 1;
            }
            column += self.width;
            if length > 2 * self.edge && i == self.edge {
                out.push_str("...");
                i = length - self.edge;
                continue;
            }
            self.dimension(axis + 1, out);
            i += 1;
        }
        out.push(']');
    }
}

fn float_cells(values: &[f64]) -> Vec<String> {
    let finite = values.iter().filter(|x| x.is_finite() && **x != 0.0).map(|x| x.abs());
    let (low, high) = finite.fold((f64::INFINITY, 0.0f64), |(l, h), x| (l.min(x), h.max(x)));
    let scientific = high >= 1e8 || (high > 0.0 && (low < 1e-4 || high / low > 1e3 && low < 1e-3));
    let digits = (0..4).find(|&d| values.iter().all(|x| !x.is_finite() || decimal(*x, d) == *x)).unwrap_or(4);
    let cell = |&x: &f64| match x {
        _ if !x.is_finite() => x.to_string().to_lowercase(),
        _ if scientific => format!("{x:.4e}"),
        _ => format!("{x:.digits$}{}", if digits == 0 { "." } else { "" }),
    };
    values.iter().map(cell).collect()
}

fn decimal(x: f64, digits: usize) -> f64 {
    let scale = 10f64.powi(digits as i32);
    (x * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use crate::Tensor;
    use crate::ops::ViewOps;

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
    #[test]
    fn integers_to_the_last_digit() {
        assert_eq!(Tensor::new([i64::MAX]).to_string(), "[9223372036854775807]");
        assert_eq!(Tensor::new([[i64::MIN], [7]]).to_string(), "[[-9223372036854775808]\n [                   7]]");
    }

    #[test]
    fn huge_views_show_their_ends() {
        let one = Tensor::new([[1.5f32], [-2.0]]);
        let shown = "[[ 1.5  1.5  1.5 ...  1.5  1.5  1.5]\n [-2.0 -2.0 -2.0 ... -2.0 -2.0 -2.0]]";
        for length in [1 << 28, 1 << 40] {
            let view = one.expand([2, length]).unwrap();
            assert_eq!(view.to_string(), shown);
            assert_eq!(format!("{view:?}"), format!("Tensor({shown}, shape=[2, {length}], dtype=f32, device=cpu)"));
        }
        assert_eq!(Tensor::zeros([1 << 40, 0]).unwrap().to_string(), "[]");
    }
}
