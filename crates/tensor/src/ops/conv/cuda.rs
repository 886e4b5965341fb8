//! Convolutions on a GPU: which product of matrices each is, how its work is shared out, and which of them a library can compute.

use super::cpu::Conv2d;
use crate::cuda::{Convolution, ConvolutionPass, LIBRARY_ALIGNMENT, tf32_is_allowed};
use crate::{BLOCK, CudaCall, DType, Launch};

const SOURCE: &str = concat!(include_str!("conv.cuh"), include_str!("conv.cu"));
const ON_TENSOR_CORES: &str =
    concat!(include_str!("conv.cuh"), include_str!("../../cuda/mma.cuh"), include_str!("tensor.cu"));

/// Blocks that keep a large device busy.
const ENOUGH_BLOCKS: usize = 512;
/// Terms of a sum below which it is not worth a room of its own.
const FEW_TERMS: usize = 256;
/// Elements of all rooms for parts of sums.
const MOST_ROOM: usize = 1 << 24;
/// Channels of a group for which a tile of the product is not mostly empty.
const NARROW: usize = 16;
/// Elements of half precision that a thread reads at a time.
const PACK: usize = 8;

/// Asks for one of the three products of the call's two operands.
pub(super) fn product(call: &mut CudaCall<'_>, conv: &Conv2d, which: ConvolutionPass) {
    let (dtype, count) = (call.inputs()[0].dtype(), call.outputs()[0].shape.count());
    if count == 0 {
        return;
    }
    let (channels, filters) = (conv.channels / conv.groups, conv.filters / conv.groups);
    let (area, [height, width]) = (conv.kernel[0] * conv.kernel[1], conv.output());
    let (inputs, outputs) = (conv.batch * conv.input[0] * conv.input[1], conv.batch * height * width);
    let [rows, columns, terms] = match which {
        ConvolutionPass::Forward => [outputs, filters, area * channels],
        ConvolutionPass::InputGrad => [inputs, channels, area * filters],
        ConvolutionPass::WeightGrad => [area * channels, filters, outputs],
    };
    let narrow = conv.groups > 1 && channels.min(filters) < NARROW;
    let halves = matches!(dtype, DType::F16 | DType::BF16);
    let on_tensor_cores =
        halves && !narrow && [channels, filters].iter().all(|n| n % PACK == 0) && is_aligned(call, PACK);
    let tile = if on_tensor_cores { [128, if columns <= 64 { 64 } else { 128 }] } else { [64, 64] };
    let tiles = rows.div_ceil(tile[0]) * columns.div_ceil(tile[1]) * conv.groups;
    let blocks = if narrow { count.div_ceil(BLOCK as usize) } else { tiles };
    // Few rows and columns with long sums, of which each block then has a part.
    let wanted = (ENOUGH_BLOCKS / blocks).min(terms / FEW_TERMS).min(MOST_ROOM / count);
    let splits = if which == ConvolutionPass::WeightGrad { wanted.max(1) } else { 1 };
    let terms_of_split = terms.div_ceil(splits).next_multiple_of(32);

    let compute = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let Conv2d { batch, input, kernel, stride, padding, dilation, groups, .. } = *conv;
    let mut sizes = vec![batch, conv.channels, conv.filters, groups];
    let pairs = [input, conv.output(), kernel, stride, dilation, padding.map(|pair| pair[0])];
    sizes.extend_from_slice(pairs.as_flattened());
    let most = conv.lens().into_iter().chain(padding.into_iter().flatten()).chain([splits * count]).max();
    let (a, b, y) = (call.dense(0), call.dense(1), call.output(0));
    let (to, out) = if splits > 1 { (call.room(splits * count * compute.size()), compute) } else { (y, dtype) };
    let number = match which {
        ConvolutionPass::Forward => "0",
        ConvolutionPass::InputGrad => "1",
        ConvolutionPass::WeightGrad => "2",
    };
    let launch = match (narrow, on_tensor_cores) {
        (true, _) => Launch::new(SOURCE, "direct").define("DIRECT", "1").over(splits * count),
        (_, true) => {
            Launch::new(ON_TENSOR_CORES, "tensor").define("COLUMNS", tile[1].to_string()).blocks(tiles * splits)
        }
        _ => Launch::new(SOURCE, "tiled").define("TILED", "1").blocks(tiles * splits),
    };
    let types = |launch: Launch| launch.define_type("T", dtype).define_type("C", compute);
    let launch = types(launch).define_type("OUT", out).define("PRODUCT", number);
    let product = [rows, columns, terms, splits, terms_of_split];
    let mut kernels = vec![launch.indices(most.unwrap_or(count), &[&sizes, &product]).arg(a).arg(b).arg(to)];
    if splits > 1 {
        let launch = types(Launch::new(SOURCE, "sum")).over(count).indices(count, &[&[count], &[splits]]);
        kernels.push(launch.arg(to).arg(y));
    }
    match by_library(call, conv, which) {
        Some(convolution) => call.convolution(convolution, [a, b], kernels),
        None => kernels.into_iter().for_each(|launch| call.launch(launch)),
    }
}

/// The convolution as a library can take it, where it can: not of double precision, of nothing, with padding on one side, or of
/// operands that begin anywhere.
fn by_library(call: &CudaCall<'_>, conv: &Conv2d, pass: ConvolutionPass) -> Option<Convolution> {
    let Conv2d { batch, input, channels, filters, kernel, stride, padding, dilation, groups } = *conv;
    let (dtype, [height, width]) = (call.inputs()[0].dtype(), conv.output());
    let is_even = padding.iter().all(|[before, after]| before == after);
    let is_aligned = is_aligned(call, LIBRARY_ALIGNMENT / dtype.size());
    // It counts in 32 bits.
    let fits = |sizes: &[usize; 4]| (1..=i32::MAX as usize).contains(&sizes.iter().product());
    let images = [batch, channels, input[0], input[1]];
    let weights = [filters, channels / groups, kernel[0], kernel[1]];
    let results = [batch, filters, height, width];
    let can_take = dtype != DType::F64 && is_even && is_aligned && [&images, &weights, &results].into_iter().all(fits);
    let (tf32, padding) = (dtype == DType::F32 && tf32_is_allowed(), padding.map(|[before, _]| before));
    can_take.then_some(Convolution { pass, dtype, tf32, images, weights, results, stride, padding, dilation, groups })
}

/// Whether packs of so many elements of the operands lie where one instruction can read them: a copy does, and memory begins there.
fn is_aligned(call: &CudaCall<'_>, pack: usize) -> bool {
    call.inputs().iter().all(|x| !x.layout().is_contiguous() || x.layout().offset % pack == 0)
}
