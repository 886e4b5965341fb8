//! `+ - * /` and unary minus on references. They return a `Result`, as the methods do, and take one on either side, so
//! that a formula needs one `?`: `(&x * &w + &b)?`.

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
        impl std::ops::$trait<f64> for &$value {
            type Output = $crate::Result<$value>;
            #[track_caller]
            fn $method(self, other: f64) -> Self::Output { $crate::ops::ArithmeticOps::$method(self, other) }
        }
    )*};
}

value_operators!(crate::Tensor);
