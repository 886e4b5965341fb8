//! The methods and functions of all operations, without the structs behind them: for `use`.

pub use super::{
    ActivationOps, AdaptivePoolOps, Apply, ArgReduceOps, ArithmeticOps, AttentionOps, AttentionOptions, Axes, Bag,
    BoundOps, CastOps, ChannelNorm, ColumnOps, ComparisonOps, Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvOps,
    CrossEntropyOps, DiagonalOps, DropoutOps, Ellipsis, EmbeddingOps, Filters, Fold, Function, GatherOps, GridMode,
    GridPadding, GridSample, IndexOps, Indexing, Interpolate, InterpolateMode, Interpolation, IntoAxes, Kind, LikeOps,
    LinalgOps, MatMulOps, MathOps, MatrixNorm, MultiHead, NegationOps, NewAxis, NormalizationOps, Ops, OrderOps,
    PadMode, Padding, PaddingOps, ParametricActivationOps, Pool1dOptions, Pool2dOptions, Pool3dOptions, PoolOps,
    PowOps, ProductOps, RearrangeOps, RecurrentOps, RecurrentStack, RecurrentStackOps, ReduceOps, Resize, ResizeOps,
    RunningStatistics, SamplingOps, ScanOps, ScatterReduce, SearchOps, SelectOps, SoftmaxOps, SortOps, SpecialOps,
    Standardize, Standardized, StatisticsOps, Stride, Triangle, Value, ViewOps, concat, dstack, einsum, hstack, keep,
    meshgrid, multi_dot, one_hot, s, stack, vstack,
};
