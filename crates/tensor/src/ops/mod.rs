//! What can be computed: one room for each operation or family, holding its value, its kernels and its method.

mod cast;
mod concat;
pub mod conv;
mod create;
mod cross_entropy;
mod einsum;
mod elementwise;
mod gather;
mod matmul;
mod operators;
pub mod pool;
pub mod prelude;
pub mod random;
mod reduce;
mod resize;
mod scan;
mod softmax;
mod sort;
mod value;
mod views;
mod window;

pub use crate::axes::{Axes, IntoAxes, keep};
pub use cast::*;
pub use concat::*;
pub use conv::{
    Conv1dOptions, Conv2d, Conv2dInputGrad, Conv2dOptions, Conv2dWeightGrad, Conv3dOptions, ConvOps, ConvOptions,
    Padding,
};
pub use create::{Between, Create, Diagonal, Steps};
pub use cross_entropy::*;
pub use einsum::einsum;
pub use elementwise::*;
pub use gather::*;
pub use matmul::{MatMul, MatMulOps};
pub use pool::{
    AveragePool2d, AveragePool2dGrad, Divisor, MaxPool2d, MaxPool2dGrad, MaxPool2dPick, Pool1dOptions, Pool2dOptions,
    Pool3dOptions, PoolOps, PoolOptions, Window2d,
};
pub use random::{Distribution, Dropout, DropoutOps, Random};
pub use reduce::*;
pub use resize::{Resize, ResizeOps};
pub use scan::*;
pub use softmax::{Softmax, SoftmaxOps};
pub use sort::*;
pub use value::{Apply, Operand, Value};
pub use views::*;

value::families! {
    ActivationOps
    ArgReduceOps
    ArithmeticOps
    BoundOps
    CastOps
    ComparisonOps
    ConvOps
    CrossEntropyOps
    DropoutOps
    GatherOps
    MatMulOps
    MathOps
    NegationOps
    ParametricActivationOps
    PoolOps
    PowOps
    ReduceOps
    ResizeOps
    ScanOps
    SelectOps
    SoftmaxOps
    SortOps
    StatisticsOps
    ViewOps
}
