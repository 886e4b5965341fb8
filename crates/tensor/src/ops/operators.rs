//! `+ - * /` and unary minus on references. They return a `Result`, as the methods do, and take one on either side, so
//! that a formula needs one `?`: `(&x * &w + &b)?`. A number may stand on either side: `2.0 * &x`.

/// Implements the operators for a type of values whose methods are in scope.
#[macro_export]
macro_rules! value_operators {
    ($value:ty) => {
        $crate::value_operators!(@ $value, Add add, Sub sub, Mul mul, Div div);

        impl std::ops::Neg for &$value {
            type Output = $crate::Result<$value>;
            #[track_caller]
            fn neg(self) -> Self::Output { $crate::ops::MathOps::neg(self) }
        }
    };
    (@ $value:ty, $($trait:ident $method:ident),*) => {$(
        impl std::ops::$trait<&$value> for &$value {
            type Output = $crate::Result<$value>;
            #[track_caller]
            fn $method(self, other: &$value) -> Self::Output { $crate::ops::ArithmeticOps::$method(self, other) }
        }
        impl std::ops::$trait<&$value> for $crate::Result<$value> {
            type Output = $crate::Result<$value>;
            #[track_caller]
            fn $method(self, other: &$value) -> Self::Output { $crate::ops::ArithmeticOps::$method(&self?, other) }
        }
        impl std::ops::$trait<$crate::Result<$value>> for &$value {
            type Output = $crate::Result<$value>;
            #[track_caller]
            fn $method(self, other: $crate::Result<$value>) -> Self::Output {
                $crate::ops::ArithmeticOps::$method(self, &other?)
            }
        }
        $crate::value_operators!(@number $value, $trait $method, f64 i64);
    )*};
    // One type of each kind, so that a literal has no choice.
    (@number $value:ty, $trait:ident $method:ident, $($number:ty)*) => {$(
        impl std::ops::$trait<$number> for &$value {
            type Output = $crate::Result<$value>;
            #[track_caller]
            fn $method(self, other: $number) -> Self::Output { $crate::ops::ArithmeticOps::$method(self, other) }
        }
        impl std::ops::$trait<&$value> for $number {
            type Output = $crate::Result<$value>;
            #[track_caller]
            fn $method(self, other: &$value) -> Self::Output {
                let number = <$number as $crate::ops::Operand<$value>>::operand(self);
                $crate::ops::ArithmeticOps::$method(&number, other)
            }
        }
    )*};
}

value_operators!(crate::Tensor);
