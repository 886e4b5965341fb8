//! What can be computed: one room for each operation or family, holding its value, its kernels and its method.

mod attention;
mod cast;
mod columns;
mod concat;
pub mod conv;
mod create;
mod cross_entropy;
mod diagonal;
mod einsum;
mod elementwise;
mod embedding;
mod gather;
mod index;
mod linalg;
pub mod losses;
mod matmul;
mod normalization;
mod operators;
mod order;
mod padding;
pub mod pool;
pub mod prelude;
mod products;
pub mod random;
mod rearrange;
mod recurrent;
mod reduce;
mod resize;
mod sampling;
mod scan;
mod search;
mod softmax;
mod sort;
mod value;
mod views;
mod window;

pub use crate::axes::{Axes, IntoAxes, keep};
pub use crate::s;
pub use attention::{Attend, AttendGrad, AttentionOps, AttentionOptions, MultiHead};
pub use cast::*;
pub use columns::ColumnOps;
pub use concat::*;
pub use conv::{
    Conv1dOptions, Conv2d, Conv2dInputGrad, Conv2dOptions, Conv2dWeightGrad, Conv3dOptions, ConvOps, ConvOptions,
    Filters, Padding,
};
pub use create::{Between, Create, Diagonal, LikeOps, Steps};
pub use cross_entropy::*;
pub use diagonal::DiagonalOps;
pub use einsum::einsum;
pub use elementwise::*;
pub use embedding::{Bag, EmbeddingOps};
pub use gather::*;
pub use index::{Ellipsis, Index, IndexOps, NewAxis, ScatterReduce};
pub use linalg::*;
pub use matmul::{MatMul, MatMulOps};
pub use normalization::{
    ChannelNorm, NormalizationOps, Normalize, NormalizeGrad, RunningStatistics, Standardize, Standardized,
};
pub use order::{Interpolation, OrderOps, Unique};
pub use padding::{PadMode, PaddingOps};
pub use pool::{
    AdaptivePoolOps, AveragePool2d, AveragePool2dGrad, Divisor, MaxPool2d, MaxPool2dGrad, MaxPool2dPick, Pool1dOptions,
    Pool2dOptions, Pool3dOptions, PoolOps, PoolOptions, Window2d,
};
pub use products::{ProductOps, multi_dot};
pub use random::{Distribution, Dropout, DropoutOps, Random};
pub use rearrange::RearrangeOps;
pub use recurrent::{
    Gru, GruGrad, Lstm, LstmGrad, RecurrentOps, RecurrentStack, RecurrentStackOps, SimpleRnn, SimpleRnnGrad,
};
pub use reduce::*;
pub use resize::{Interpolate, InterpolateMode, Resize, ResizeOps};
pub use sampling::{GridMode, GridPadding, GridSample, SamplingOps};
pub use scan::*;
pub use search::{SearchOps, SearchSorted};
pub use softmax::{Softmax, SoftmaxGrad, SoftmaxOps};
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
    DiagonalOps
    DropoutOps
    EmbeddingOps
    GatherOps
    IndexOps
    LikeOps
    LinalgOps
    MatMulOps
    MathOps
    NegationOps
    OrderOps
    PaddingOps
    ParametricActivationOps
    PoolOps
    PowOps
    RearrangeOps
    RecurrentOps
    ReduceOps
    ResizeOps
    ScanOps
    SearchOps
    SelectOps
    SoftmaxOps
    SortOps
    SpecialOps
    StatisticsOps
    ViewOps
}
