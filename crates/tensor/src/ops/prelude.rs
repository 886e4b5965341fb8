//! The methods and functions of all operations, without the structs behind them: for `use`.

pub use super::{
    ActivationOps, Apply, ArgReduceOps, ArithmeticOps, Axes, BoundOps, CastOps, ComparisonOps, Conv1dOptions,
    Conv2dOptions, Conv3dOptions, ConvOps, CrossEntropyOps, DropoutOps, Fold, Function, GatherOps, IntoAxes, Kind,
    MatMulOps, MathOps, NegationOps, Ops, Padding, ParametricActivationOps, Pool1dOptions, Pool2dOptions,
    Pool3dOptions, PoolOps, PowOps, ReduceOps, Resize, ResizeOps, ScanOps, SelectOps, SoftmaxOps, SortOps,
    StatisticsOps, Stride, Value, ViewOps, concat, einsum, keep, one_hot, stack,
};
