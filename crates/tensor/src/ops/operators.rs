//! `+ - * /` and unary minus on values and on references to them. They return a `Result`, as the methods do, and take one on
//! either side, so that a formula needs one `?`: `(&x * &w + &b)?`. A number may stand on either side: `2.0 * &x`.

/// Implements the operators for a type of values whose methods are in scope.
#[macro_export]
macro_rules! value_operators {
    ($value:ty) => {
        $crate::value_operators!(@ $value, Add add, Sub sub, Mul mul, Div div);
        $crate::value_operators!(@neg $value, &$value, $value);
    };
    (@neg $value:ty, $($operand:ty),*) => {$(
        impl std::ops::Neg for $operand {
            type Output = $crate::Result<$value>;
            #[track_caller]
            fn neg(self) -> Self::Output { $crate::ops::MathOps::neg(&self) }
        }
    )*};
    (@ $value:ty, $($trait:ident $method:ident),*) => {$(
        $crate::value_operators! { @pairs $value, $trait $method;
            &$value => |x| x, &$value => |y| y;
            &$value => |x| x, $value => |y| &y;
            $value => |x| &x, &$value => |y| y;
            $value => |x| &x, $value => |y| &y;
            $crate::Result<$value> => |x| &x?, &$value => |y| y;
            $crate::Result<$value> => |x| &x?, $value => |y| &y;
            &$value => |x| x, $crate::Result<$value> => |y| &y?;
            $value => |x| &x, $crate::Result<$value> => |y| &y?;
        }
        // One type of number of each kind, so that a literal has no choice.
        $crate::value_operators! { @pairs $value, $trait $method;
            &$value => |x| x, f64 => |y| y;
            &$value => |x| x, i64 => |y| y;
            $value => |x| &x, f64 => |y| y;
            $value => |x| &x, i64 => |y| y;
            f64 => |x| &$crate::ops::Operand::<$value>::operand(x), &$value => |y| y;
            i64 => |x| &$crate::ops::Operand::<$value>::operand(x), &$value => |y| y;
            f64 => |x| &$crate::ops::Operand::<$value>::operand(x), $value => |y| &y;
            i64 => |x| &$crate::ops::Operand::<$value>::operand(x), $value => |y| &y;
        }
    )*};
    (@pairs $value:ty, $trait:ident $method:ident;
        $($left:ty => |$x:ident| $a:expr, $right:ty => |$y:ident| $b:expr;)*) => {$(
        impl std::ops::$trait<$right> for $left {
            type Output = $crate::Result<$value>;
            #[track_caller]
            fn $method(self, other: $right) -> Self::Output {
                let ($x, $y) = (self, other);
                $crate::ops::ArithmeticOps::$method($a, $b)
            }
        }
    )*};
}

value_operators!(crate::Tensor);

#[cfg(test)]
mod tests {
    use crate::{Result, Tensor};

    #[test]
    fn operands_are_owned_or_borrowed_or_results_or_numbers() {
        let (x, y) = (Tensor::new([6.0, 8.0]), Tensor::new([2.0, 4.0]));
        let result = |x: &Tensor| -> Result<Tensor> { Ok(x.clone()) };
        let is = |found: Result<Tensor>, want: [f64; 2]| assert_eq!(found.unwrap().to_vec::<f64>().unwrap(), want);
        for difference in [
            &x - &y,
            &x - y.clone(),
            x.clone() - &y,
            x.clone() - y.clone(),
            result(&x) - &y,
            result(&x) - y.clone(),
            &x - result(&y),
            x.clone() - result(&y),
        ] {
            is(difference, [4.0, 4.0]);
        }
        for quotient in [&x / 2.0, &x / 2, x.clone() / 2.0, x.clone() / 2] {
            is(quotient, [3.0, 4.0]);
        }
        for quotient in [8.0 / &y, 8 / &y, 8.0 / y.clone(), 8 / y.clone()] {
            is(quotient, [4.0, 2.0]);
        }
        is(-&x, [-6.0, -8.0]);
        is(-x.clone(), [-6.0, -8.0]);
        is(2.0 * x * y, [24.0, 64.0]);
    }
}
