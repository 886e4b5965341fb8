//! What an operation may say and do without harm: every lie of safe code is an error or a copy, never a wrong address.

use kiln_autograd::ops::*;
use kiln_autograd::{
    Aliases, Arity, CpuCall, DType, Isa, Key, Layout, MAX_RANK, Op, Plan, Result, Shape, Spec, Specs, Tensor, Trace,
    with_isa,
};
use std::sync::atomic::{AtomicUsize, Ordering};

/// An operation whose every answer is chosen by the test.
#[derive(Debug, Clone, PartialEq)]
struct Liar {
    shape: Shape,
    dtype: DType,
    view: Option<Layout>,
    kernel: Kernel,
}

#[derive(Debug, Clone, PartialEq)]
enum Kernel {
    Nothing,
    Delegate(Builtin),
    WriteThenRead,
    ReadInPlace,
}

#[derive(Debug, Clone, PartialEq)]
enum Builtin {
    Softmax,
    Sum,
    ArgSort,
    Cast,
}

impl Op for Liar {
    fn name(&self) -> &str {
        "liar"
    }

    fn infer(&self, _x: &[Spec]) -> Result<Specs> {
        Ok(Spec::new(self.shape, self.dtype).into())
    }

    fn view(&self, _x: &Layout) -> Option<Layout> {
        self.view
    }

    fn aliases(&self) -> Aliases {
        Aliases::Any
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        match &self.kernel {
            Kernel::Nothing => Ok(()),
            Kernel::Delegate(Builtin::Softmax) => call.delegate(&Softmax { axis: 0, log: false }),
            Kernel::Delegate(Builtin::Sum) => {
                let axes = [true; MAX_RANK];
                call.delegate(&Reduce { fold: Sum, front: Itself, axes, keep_dims: false })
            }
            Kernel::Delegate(Builtin::ArgSort) => call.delegate(&ArgSort { axis: 0, descending: false, count: None }),
            Kernel::Delegate(Builtin::Cast) => call.delegate(&Cast { to: DType::F32 }),
            Kernel::WriteThenRead => {
                let (x, y) = call.parts();
                let y = y[0].slice::<f32>()?;
                y.fill(-1.0);
                let before = x[0].contiguous::<f32>()?;
                assert_eq!(x[0].as_slice::<f32>(), Some(&*before));
                y.iter_mut().zip(before.iter()).for_each(|(y, x)| *y += x);
                Ok(())
            }
            Kernel::ReadInPlace => {
                let (x, y) = call.parts_in_place();
                assert!(x[0].as_slice::<f32>().is_none(), "what an output overwrites is not lent out");
                y[0].slice::<f32>()?.fill(-1.0);
                let copied = x[0].contiguous::<f32>()?;
                panic!("{copied:?} was lent out");
            }
        }
    }
}

fn shape(dims: &[usize]) -> Shape {
    Shape::new(dims).unwrap()
}

fn liar(dims: &[usize], dtype: DType) -> Liar {
    Liar { shape: shape(dims), dtype, view: None, kernel: Kernel::Nothing }
}

#[test]
fn a_view_is_what_was_inferred_and_stays_inside() {
    let x = Tensor::new([1.0f32, 2.0, 3.0]);
    let view = |layout: Layout, dtype| Liar { view: Some(layout), ..liar(&[3], dtype) };
    let inside = Layout::new(shape(&[3]), &[-1], 2);
    let y = Tensor::apply(&view(inside, DType::F32), &[&x]).unwrap().one().unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [3.0, 2.0, 1.0]);
    for (layout, dtype) in [
        (Layout::new(shape(&[3]), &[1 << 40], 0), DType::F32),
        (Layout::new(shape(&[3]), &[isize::MAX], 1), DType::F32),
        (Layout::new(shape(&[3]), &[isize::MIN], 1), DType::F32),
        (Layout::new(shape(&[3]), &[1], usize::MAX), DType::F32),
        (Layout::new(shape(&[3]), &[-1], 1), DType::F32),
        (Layout::new(shape(&[2]), &[1], 0), DType::F32),
        (inside, DType::F64),
    ] {
        let error = Tensor::apply(&view(layout, dtype), &[&x]).unwrap_err();
        assert!(error.to_string().starts_with("liar: its view"), "{error}");
    }
    // Of a view of nothing no stride is used, nor counted with.
    let nothing = Layout::new(shape(&[0, 5]), &[isize::MAX, isize::MAX], 0);
    let op = Liar { view: Some(nothing), ..liar(&[0, 5], DType::F32) };
    let y = Tensor::apply(&op, &[&x]).unwrap().one().unwrap();
    assert_eq!(y.sum(0).unwrap().to_vec::<f32>().unwrap(), [0.0; 5]);
    assert_eq!(y.sum(..).unwrap().item().unwrap(), 0.0);
    // What lies behind the last element in its block of memory is no tensor's, and perhaps no valid `bool`.
    drop(Tensor::from_vec(vec![0xAA_u8; 64], [64]).unwrap());
    let behind = Liar { view: Some(Layout::new(shape(&[64]), &[1], 0)), ..liar(&[64], DType::Bool) };
    let error = Tensor::apply(&behind, &[&Tensor::new([true, true, true])]).unwrap_err();
    assert!(error.to_string().contains("reaches outside of the operand"), "{error}");
    // Nor is what lies behind the elements that the operand shows of its own memory, or behind a value without any.
    let five = Liar { view: Some(Layout::new(shape(&[5]), &[1], 0)), ..liar(&[5], DType::F32) };
    for x in [
        Tensor::ones([9]).unwrap().slice(0, ..3).unwrap(),
        Tensor::scalar(1.0, DType::F32),
        Tensor::zeros([0]).unwrap(),
    ] {
        assert!(Tensor::apply(&five, &[&x]).is_err(), "{x}");
        let traced = Plan::of(|x| Ok(vec![Tensor::apply_one(five.clone(), &[&x[0]])?]), &[x]);
        assert!(traced.is_err());
    }
}

#[test]
fn a_recording_ends_once() {
    let trace = Trace::new();
    let other = trace.clone();
    let x = trace.input(&Tensor::ones([1000]).unwrap()).unwrap();
    let y = x.exp().unwrap();
    trace.finish(&[&y]).unwrap();
    let ended = |error: kiln_autograd::Error| error.to_string().starts_with("trace: the recording has ended");
    assert!(ended(other.input(&Tensor::new([5u8])).unwrap_err()));
    assert!(ended(other.clone().finish(&[&x, &y]).unwrap_err()));
    // What came of it is as any other: a constant of the next recording.
    let next = Trace::new();
    let z = next.input(&Tensor::new([2.0f32])).unwrap().mul(&x).unwrap();
    let plan = &mut next.finish(&[&z]).unwrap();
    assert_eq!(plan.run(&[&Tensor::new([3.0f32])]).unwrap()[0].to_vec::<f32>().unwrap(), [3.0; 1000]);
}

/// An operation that asks for a workspace from the fifth time on that it is asked, and writes into what it gets.
#[derive(Debug, Clone, PartialEq)]
struct Undecided;

static ASKED: AtomicUsize = AtomicUsize::new(0);

impl Op for Undecided {
    fn name(&self) -> &str {
        "undecided"
    }
    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        Ok(x[0].into())
    }
    fn workspace(&self, _: &[Spec]) -> usize {
        if ASKED.fetch_add(1, Ordering::SeqCst) >= 4 { 1 << 16 } else { 0 }
    }
    fn pointwise(&self, x: &[Spec]) -> Option<kiln::tensor::Pointwise> {
        Elementwise::<_, 1, 1>(Exp).pointwise(x)
    }
    fn cpu(&self, mut call: CpuCall<'_, Self>) -> Result<()> {
        let tag = rayon::current_thread_index().unwrap_or(63) as u8 + 1;
        let workspace = call.workspace();
        workspace.fill(tag);
        std::thread::yield_now();
        assert!(workspace.iter().all(|byte| *byte == tag), "another thread has the same workspace");
        let (x, y) = call.parts();
        y[0].slice::<f32>()?.copy_from_slice(&x[0].contiguous::<f32>()?);
        Ok(())
    }
}

#[test]
fn a_workspace_is_of_one_thread() {
    let x = Tensor::full([4 << 20], 1f32).unwrap();
    for calls in 0..8 {
        ASKED.store(calls, Ordering::SeqCst);
        let f = |x: &[Tensor]| {
            let y = Tensor::apply_one(Undecided, &[&x[0].exp()?.neg()?])?;
            Ok(vec![y.abs()?.neg()?])
        };
        if let Ok(mut plan) = Plan::of(f, std::slice::from_ref(&x)) {
            // Whatever comes of it: no thread writes into what another was given.
            let _ = plan.run(&[&x]);
        }
    }
}

#[test]
fn a_kernel_that_is_delegated_to_infers_for_itself() {
    let x = Tensor::new([3.0f32, 1.0, 2.0]);
    let run = |dims: &[usize], dtype, builtin| {
        let op = Liar { kernel: Kernel::Delegate(builtin), ..liar(dims, dtype) };
        Tensor::apply(&op, &[&x]).and_then(|y| y.one())
    };
    let sorted = run(&[3], DType::I64, Builtin::ArgSort).unwrap();
    assert_eq!(sorted.to_vec::<i64>().unwrap(), [1, 2, 0]);
    for (dims, dtype, builtin) in [
        (&[9][..], DType::F32, Builtin::Softmax),
        (&[3], DType::F64, Builtin::Softmax),
        (&[3], DType::F32, Builtin::Sum),
        (&[1], DType::I64, Builtin::ArgSort),
        (&[2], DType::F32, Builtin::Cast),
    ] {
        assert!(run(dims, dtype, builtin.clone()).is_err(), "{builtin:?}");
    }
    // A kernel that may not share memory gets a copy of an operand that the outer operation overwrites.
    let op = Liar { kernel: Kernel::Delegate(Builtin::Softmax), ..liar(&[3], DType::F32) };
    let owned = Tensor::apply_owned(&op, vec![Tensor::new([0.0f32, 0.0, 0.0])]).unwrap().one().unwrap();
    assert_eq!(owned.to_vec::<f32>().unwrap(), [1.0 / 3.0; 3]);
}

#[test]
fn what_is_overwritten_is_not_lent() {
    let op = Liar { kernel: Kernel::WriteThenRead, ..liar(&[2], DType::F32) };
    let y = Tensor::apply_owned(&op, vec![Tensor::new([5.0f32, 7.0])]).unwrap().one().unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [4.0, 6.0]);
    let op = Liar { kernel: Kernel::ReadInPlace, ..liar(&[2], DType::F32) };
    let error = Tensor::apply_owned(&op, vec![Tensor::new([5.0f32, 7.0])]).unwrap_err();
    assert!(error.to_string().contains("whose place an output takes"), "{error}");
}

#[test]
fn sizes_that_wrap_are_errors() {
    let grown = shape(&[1]).with(0, 1 << 62);
    assert!(Tensor::zeros(grown).is_err() && Tensor::full(grown, 1u8).is_err() && Tensor::ones(grown).is_err());
    assert!(Tensor::from_slice(&[1.0], grown).is_err());
    assert!(Key::new(0).normal(grown, 0.0, 1.0).is_err() && Key::new(0).bernoulli(grown, 0.5).is_err());
    assert!(Tensor::eye(1 << 40, 1 << 40).is_err() && Tensor::linspace(0.0, 1.0, usize::MAX).is_err());
    let x = Tensor::new([1.0f32, 2.0]);
    assert!(x.expand(grown).is_err() && x.reshape(grown).is_err());
    let lie = Liar { shape: grown, ..liar(&[1], DType::F32) };
    assert!(Tensor::apply(&lie, &[&x]).is_err());
    let empty = Liar { shape: shape(&[0]).with(0, 0), ..liar(&[0], DType::F32) };
    assert!(Tensor::apply(&empty, &[&x]).is_ok());
    for stride in [
        Stride { start: 0, length: 1 << 62, step: 0 },
        Stride { start: 0, length: 3, step: isize::MIN },
        Stride { start: 0, length: 5, step: 1 << 62 },
        Stride { start: 0, length: 5, step: -(1 << 62) },
        Stride { start: 0, length: (1 << 63) + 1, step: 2 },
        Stride { start: usize::MAX, length: 1, step: 1 },
    ] {
        assert!(x.stride(0, stride).and_then(|y| y.exp()).is_err(), "{stride:?}");
    }
    assert_eq!(x.stride(0, Stride { start: 1, length: 1, step: isize::MAX }).unwrap().item().unwrap(), 2.0);
    let huge = Tensor::ones([1]).unwrap().expand([1 << 40]).unwrap();
    assert_eq!(huge.index_select(0, &Tensor::new([5])).unwrap().item().unwrap(), 1.0);
    assert_eq!(huge.gather(0, &Tensor::new([7, i32::MAX])).unwrap().to_vec::<f32>().unwrap(), [1.0, 1.0]);
}

/// Every operation that anyone can name, given what it does not expect.
#[test]
fn wrong_operands_are_errors() {
    let window = Window2d { kernel: [2, 2], stride: [1, 1], padding: [[0; 2]; 2], dilation: [1, 1], ceil: false };
    let conv = Conv2d { stride: [1, 1], padding: [[0; 2]; 2], dilation: [1, 1], groups: 1 };
    let pool = AveragePool2d { window, divisor: Divisor::Valid };
    let (axis, axes) = (9, [true; MAX_RANK]);
    let ranges = vec![Stride { start: 7, length: 9, step: 1 }];
    let random =
        |distribution| Random { distribution, shape: shape(&[2]), dtype: DType::F32, device: Default::default() };
    let ops: Vec<Box<dyn Op>> = vec![
        Box::new(MatMul),
        Box::new(Concat { axis }),
        Box::new(Cast { to: DType::F32 }),
        Box::new(Create { function: Steps, shape: shape(&[2]), dtype: DType::F32, device: Default::default() }),
        Box::new(Softmax { axis, log: false }),
        Box::new(Gru { masked: true }),
        Box::new(GruGrad { masked: false }),
        Box::new(Lstm { masked: false }),
        Box::new(LstmGrad { cell: true, masked: true }),
        Box::new(SimpleRnn { masked: false }),
        Box::new(SimpleRnnGrad { masked: true }),
        Box::new(Reduce { fold: Sum, front: Itself, axes, keep_dims: true }),
        Box::new(Reduce { fold: Mean, front: Hypot, axes, keep_dims: true }),
        Box::new(Reduce { fold: Max, front: Itself, axes, keep_dims: false }),
        Box::new(Reduce { fold: LogSumExp, front: Itself, axes, keep_dims: false }),
        Box::new(ProductOfOthers { axes }),
        Box::new(ArgReduce { largest: true, axis: Some(axis), keep_dims: false }),
        Box::new(ArgSort { axis, descending: true, count: None }),
        Box::new(CumSum { axis, reverse: true }),
        Box::new(CumArg { axis, largest: true }),
        Box::new(Gather { axis }),
        Box::new(ScatterAdd { axis }),
        Box::new(IndexSelect { axis }),
        Box::new(IndexAdd { axis }),
        Box::new(SoftmaxGrad { of: Softmax { axis, log: true } }),
        Box::new(Normalize { axes, centered: true, eps: 0.0 }),
        Box::new(NormalizeGrad { of: Normalize { axes, centered: false, eps: 1.0 }, has_bias: true }),
        Box::new(CrossEntropy),
        Box::new(CrossEntropyGrad),
        Box::new(conv),
        Box::new(Conv2dInputGrad { conv, input: [3, 3] }),
        Box::new(Conv2dWeightGrad { conv: Conv2d { groups: 0, ..conv }, kernel: [2, 2] }),
        Box::new(MaxPool2d { window }),
        Box::new(MaxPool2dGrad { window, input: [3, 3] }),
        Box::new(MaxPool2dPick { window }),
        Box::new(pool),
        Box::new(AveragePool2dGrad { pool, input: [usize::MAX, 3] }),
        Box::new(Reshape { shape: shape(&[7, 0, 5]) }),
        Box::new(Permute { axes: vec![axis, 0] }),
        Box::new(Expand { shape: shape(&[1]).with(0, 1 << 61) }),
        Box::new(Slice { ranges: ranges.clone() }),
        Box::new(Embed { shape: shape(&[3]), ranges, fill: 0.0 }),
        Box::new(random(Distribution::Uniform)),
        Box::new(random(Distribution::Bernoulli)),
        Box::new(Dropout),
        Box::new(Elementwise::<Add, 2, 1>(Add)),
        Box::new(Elementwise::<Where, 3, 1>(Where)),
        Box::new(ElementwiseGrad::<Mul, 2, 1> { function: Mul, need: [true; 2] }),
        Box::new(ElementwiseGrad::<Mul, 2, 1> { function: Mul, need: [true; 2] }.formula()),
    ];
    let operands = [
        Tensor::new([1.0f32, 2.0, 3.0]),
        Tensor::new([[1.0f32, 2.0], [3.0, 4.0]]),
        Tensor::ones([1, 3, 3, 2]).unwrap(),
        Tensor::new([1i64, 0]),
        Tensor::new([true, false]),
        Tensor::new(2.0f64),
        Tensor::number(3),
        Tensor::zeros([0, 2]).unwrap(),
    ];
    for op in &ops {
        assert!(op.arity() != Arity::AtLeast(0) && Tensor::apply(&**op, &[]).is_err(), "{op:?} takes nothing");
        for a in &operands {
            // Whatever comes of it, nothing panics.
            let _ = Tensor::apply(&**op, &[a]);
            for b in &operands {
                let _ = Tensor::apply(&**op, &[a, b]);
                for c in &operands {
                    let _ = Tensor::apply(&**op, &[a, b, c]);
                }
                let _ = Tensor::apply(&**op, &[a, b, a, b]);
            }
        }
    }
    for op in [
        &Softmax { axis, log: true } as &dyn Op,
        &CumSum { axis, reverse: false },
        &ArgSort { axis, descending: false, count: None },
    ] {
        let error = Tensor::apply(op, &[&operands[0]]).unwrap_err().to_string();
        assert!(error.contains("axis 9 is out of range for [3]"), "{error}");
    }
}

/// A caller from outside the pool, as every program is, and one inside it, on every instruction set.
#[test]
fn inside_and_outside_of_the_pool_give_the_same_bits() {
    let x = Key::new(1).normal([300, 400], 0.0, 1.0).unwrap();
    let run = || {
        let y = x.matmul(&x.t()?)?.tanh()?.softmax(-1)?;
        Ok::<_, kiln_autograd::Error>([y.sum(0)?, y.logsumexp(1)?, y.add(1.0)?.log()?.mean(..)?])
    };
    for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
        let outside = with_isa(isa, run).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let inside = pool.install(|| with_isa(isa, run)).unwrap();
        assert!(outside.iter().zip(&inside).all(|(a, b)| a.same_bits(b)), "{isa:?}");
    }
}

/// An operation along an axis, which its own code looks up.
#[derive(Debug, Clone, PartialEq)]
struct Along(isize);

impl Op for Along {
    fn name(&self) -> &str {
        "along"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let axis = x[0].shape.axis("along", self.0)?;
        Ok(Spec::new(x[0].shape.without(axis), x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, _) = call.parts();
        x[0].contiguous::<f64>().map(|_| ())
    }
}

#[test]
fn an_operation_of_ones_own_is_told_at_its_callers_line_and_by_its_name() {
    let x = Tensor::zeros([2, 3]).unwrap();
    let line = line!() + 1;
    let error = Tensor::apply(&Along(2), &[&x]).unwrap_err().to_string();
    assert!(error.contains("axis 2 is out of range") && error.contains(&format!("contract.rs:{line}:")), "{error}");
    let error = Tensor::apply(&Along(1), &[&x]).unwrap_err().to_string();
    assert!(error.starts_with("along: ") && error.contains("f64") && error.contains("f32"), "{error}");
}
