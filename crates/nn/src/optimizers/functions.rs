//! How the functions of rules are written: which numbers are settings, and which change from step to step.

/// Defines the functions of `[parameter, gradient, slots…]` with their settings, in braces, and the numbers that change
/// from step to step, in brackets.
macro_rules! functions {
    ($($name:ident<$in:literal, $out:literal> $label:literal { $($field:ident),* } [$($number:ident),*]
       |$self_:ident, $x:pat_param| $body:expr;)*) => {$(
        #[derive(Debug, Clone, Copy, PartialEq)]
        struct $name { $($field: f64),* }

        impl kiln_autograd::ops::Function<$in, $out> for $name {
            const NAME: &'static str = $label;
            const NUMBERS: usize = <[&str]>::len(&[$(stringify!($number)),*]);

            fn call<S: kiln_autograd::Scalar>(&self, x: [S; $in]) -> [S; $out] {
                self.call_with(x, &[const { f64::NAN }; 16].map(S::lit))
            }

            #[inline(always)]
            fn call_with<S: kiln_autograd::Scalar>(&$self_, $x: [S; $in], numbers: &[S]) -> [S; $out] {
                // No iterator, whose `next` is a call for each element where a program is built without link-time optimization.
                let [$($number),*] = numbers else { unreachable!("as many as NUMBERS says") };
                $(let $number = $number.clone();)*
                $body
            }
        }
    )*};
}
pub(super) use functions;

/// The number in the reading of `x`.
macro_rules! lit {
    ($value:expr) => {
        S::lit($value)
    };
}
pub(super) use lit;
