//! Operations that act on each element alone: one function each, with its surface method beside it.

mod activations;
mod arithmetic;
mod comparisons;
mod compiled;
mod function;
mod gradient;
mod math;
mod run;
mod runs;
mod signature;
mod special;

pub(crate) use compiled::compiled_here;
pub(crate) use run::{computed_in, create};
pub(crate) use signature::{broadcast_all, check_numbers, typed};

pub use activations::*;
pub use arithmetic::*;
pub use comparisons::*;
pub use function::{Elementwise, ElementwiseOp, Function, Itself, Kind};
pub use gradient::{ElementwiseGrad, Formula, GradientOp};
pub use math::*;
pub use special::*;

/// Defines functions of one argument, a row each, and the trait with their methods. A row may end with the derivative
/// as a function of the result, where that is cheaper.
macro_rules! unary_functions {
    ($(#[$trait_doc:meta])* $trait:ident;
     $($(#[$doc:meta])* $name:ident $op:ident $kind:ident |$x:ident| $body:expr $(, slope |$y:ident| $slope:expr)?;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq)]
            pub struct $op;

            impl $crate::ops::Function<1> for $op {
                const NAME: &'static str = stringify!($name);
                const KIND: $crate::ops::Kind = $crate::ops::Kind::$kind;
                #[inline(always)]
                fn call<S: $crate::Scalar>(&self, [$x]: [S; 1]) -> [S; 1] { [$body] }
                $crate::ops::elementwise::compiled_here!(1);
                $(
                    const FROM_OUTPUT: bool = true;
                    #[inline(always)]
                    fn slope<S: $crate::Scalar>(&self, $y: S) -> S { $slope }
                )?
            }
        )*

        $(#[$trait_doc])*
        pub trait $trait: $crate::ops::Value {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// None beyond those of memory.
                #[track_caller]
                fn $name(&self) -> $crate::Result<Self> {
                    Self::elementwise($op, [self]).map(|[y]| y)
                }
            )*
        }
        impl<V: $crate::ops::Value> $trait for V {}

        /// Shows a test every function of the family.
        #[cfg(test)]
        #[expect(non_snake_case, reason = "it has the name of the family")]
        pub(super) fn $trait(test: &impl $crate::ops::elementwise::Visit<1>) {
            $(test.visit($op);)*
        }
    };
}
pub(crate) use unary_functions;

/// Defines functions of two arguments, a row each, and the trait with their methods. `[check]` after the kind names a
/// function that is asked about the operands first.
macro_rules! binary_functions {
    ($(#[$trait_doc:meta])* $trait:ident;
     $($(#[$doc:meta])* $name:ident $op:ident $kind:ident $([$check:ident])? |$a:ident, $b:ident|
         $body:expr $(, partials $partials:expr)?;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq)]
            pub struct $op;

            impl $crate::ops::Function<2> for $op {
                const NAME: &'static str = stringify!($name);
                const KIND: $crate::ops::Kind = $crate::ops::Kind::$kind;
                #[inline(always)]
                fn call<S: $crate::Scalar>(&self, [$a, $b]: [S; 2]) -> [S; 1] { [$body] }
                $crate::ops::elementwise::compiled_here!(2);
                $(
                    fn constant_partials(&self) -> Option<[f64; 2]> { Some($partials) }
                )?
            }
        )*

        $(#[$trait_doc])*
        pub trait $trait: $crate::ops::Value {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// Shapes that do not broadcast together.
                #[track_caller]
                fn $name(&self, other: impl $crate::ops::Operand<Self>) -> $crate::Result<Self> {
                    let other = other.operand();
                    $($check(stringify!($name), self.tensor(), other.tensor())?;)?
                    Self::elementwise($op, [self, &other]).map(|[y]| y)
                }
            )*
        }
        impl<V: $crate::ops::Value> $trait for V {}

        /// Shows a test every function of the family.
        #[cfg(test)]
        #[expect(non_snake_case, reason = "it has the name of the family")]
        pub(super) fn $trait(test: &impl $crate::ops::elementwise::Visit<2>) {
            $(test.visit($op);)*
        }
    };
}
pub(crate) use binary_functions;

/// A test of many functions.
#[cfg(test)]
trait Visit<const IN: usize> {
    fn visit<F: Function<IN>>(&self, f: F);
}
