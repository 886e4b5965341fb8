//! The methods and functions of all operations, without the structs behind them: for `use`.

pub use super::{
    ActivationOps, AdaptivePoolOps, Apply, ArgReduceOps, ArithmeticOps, AttentionOps, AttentionOptions, Axes, BoundOps,
    CastOps, ChannelNorm, ColumnOps, ComparisonOps, Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvOps,
    CrossEntropyOps, DropoutOps, Filters, Fold, Function, GatherOps, GridMode, GridPadding, GridSample, Interpolate,
    InterpolateMode, IntoAxes, Kind, LinalgOps, MatMulOps, MathOps, MatrixNorm, MultiHead, NegationOps,
    NormalizationOps, Ops, Padding, ParametricActivationOps, Pool1dOptions, Pool2dOptions, Pool3dOptions, PoolOps,
    PowOps, ProductOps, RecurrentOps, ReduceOps, Resize, ResizeOps, RunningStatistics, SamplingOps, ScanOps, SelectOps,
    SoftmaxOps, SortOps, StatisticsOps, Stride, Triangle, Value, ViewOps, concat, einsum, keep, multi_dot, one_hot,
    stack,
};
