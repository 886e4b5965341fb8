//! Where the compiler makes code of a function.
//!
//! Generic code is compiled in the crate that uses it: every crate that calls `x.exp()` would compile its loops once more
//! for each element type and instruction set, with all that an operation is asked, and an unoptimized program would run
//! them unoptimized. Tensors and tapes therefore reach a function through [`Function::operation`](super::Function), and
//! Kiln's own functions have that compiled with them, where nothing is generic any more.

/// Among the items of a [`Function`](super::Function)'s implementation: has its code compiled there.
macro_rules! compiled_here {
    ($inputs:literal) => {
        #[inline(never)]
        fn operation(op: &$crate::ops::Elementwise<Self, $inputs, 1>) -> &dyn $crate::ops::ElementwiseOp {
            op
        }
    };
}
pub(crate) use compiled_here;
