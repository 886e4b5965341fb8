//! The one trait behind every operation, built in or not, and how an operation is run on tensors.

use crate::storage::Storage;
use crate::{DType, Element, Error, ErrorKind, Layout, Result, Shape, Tensor};
use std::borrow::Cow;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::panic::Location;

/// Shape and element type of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The dimensions.
    pub shape: Shape,
    /// The element type.
    pub dtype: DType,
}

impl Spec {
    /// A spec from its parts.
    pub fn new(shape: Shape, dtype: DType) -> Spec {
        Spec { shape, dtype }
    }
}

/// An operation on tensors: a small value that holds the arguments, such as axes and strides.
///
/// Implement [`Op::infer`] and [`Op::cpu`], then call [`Tensor::apply`]. To put it on a tape, also implement
/// `Differentiable` of the crate above. See `docs/anatomy-of-an-op.md`.
pub trait Op: Debug + Send + Sync + 'static {
    /// The name in error texts and tape listings.
    fn name(&self) -> &str;

    /// Shapes and types of the outputs. Every mistake about shapes is found here, before anything is allocated.
    ///
    /// # Errors
    /// Inputs that do not fit.
    fn infer(&self, x: &[Spec]) -> Result<Vec<Spec>>;

    /// Computes the outputs on the CPU, into memory that the caller gives. Inputs may be strided views.
    ///
    /// # Errors
    /// What only the values show, such as an index out of range.
    fn cpu(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) -> Result<()>;

    /// For an operation that only looks at its one input in another way: the layout of the result, which then shares
    /// the input's memory, or `None` when the elements have to be copied.
    fn view(&self, _x: &Layout) -> Option<Layout> {
        None
    }

    /// Whether an output may take the place of an input: the kernel reads element `i` of every input before it writes
    /// element `i` of any output, and does so through [`View::as_ptr`].
    fn in_place(&self) -> bool {
        false
    }
}

/// An input as a CPU kernel sees it.
#[derive(Clone, Copy)]
pub struct View<'a> {
    start: *const u8,
    layout: Layout,
    dtype: DType,
    life: PhantomData<&'a [u8]>,
}

impl<'a> View<'a> {
    /// Shape and element type.
    pub fn spec(&self) -> Spec {
        Spec::new(self.layout.shape, self.dtype)
    }

    /// The dimensions.
    pub fn shape(&self) -> &Shape {
        &self.layout.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Shape and strides; the offset is 0, counted from [`View::as_ptr`].
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The first element. Reading through it needs `unsafe` and the layout.
    pub fn as_ptr(&self) -> *const u8 {
        self.start
    }

    /// The elements in row-major order, where they lie so; `None` for a strided view or another type.
    pub fn as_slice<T: Element>(&self) -> Option<&'a [T]> {
        if self.dtype != T::DTYPE || !self.layout.is_contiguous() {
            return None;
        }
        // SAFETY: a contiguous layout covers `count` initialised elements from `start`, which the tensor behind this
        // view keeps alive for 'a; they have type T, and nobody writes to them while they are borrowed.
        Some(unsafe { std::slice::from_raw_parts(self.start.cast(), self.layout.shape.count()) })
    }

    /// The elements in row-major order, copied when the view is strided.
    ///
    /// # Errors
    /// The elements have another type.
    pub fn contiguous<T: Element>(&self) -> Result<Cow<'a, [T]>> {
        if let Some(slice) = self.as_slice() {
            return Ok(Cow::Borrowed(slice));
        }
        if self.dtype != T::DTYPE {
            return Err(Error::dtype("view", format!("expected {}, found {}", T::DTYPE, self.dtype)));
        }
        let mut out = Vec::with_capacity(self.layout.shape.count());
        let start = self.start.cast::<T>();
        for_each_row(&self.layout, |offset, length, stride| {
            // SAFETY: `for_each_row` visits exactly the elements of the layout, all inside the storage.
            out.extend((0..length as isize).map(|i| unsafe { *start.offset(offset + i * stride) }));
        });
        Ok(Cow::Owned(out))
    }

    /// The elements as indices, from any integer type.
    ///
    /// # Errors
    /// The elements are no integers.
    pub fn indices(&self, op: &str) -> Result<Vec<i64>> {
        match self.dtype {
            DType::U8 => Ok(self.contiguous::<u8>()?.iter().map(|&i| i64::from(i)).collect()),
            DType::I32 => Ok(self.contiguous::<i32>()?.iter().map(|&i| i64::from(i)).collect()),
            DType::I64 => Ok(self.contiguous::<i64>()?.into_owned()),
            other => Err(Error::dtype(op, format!("indices must be integers, found {other}"))),
        }
    }

    /// The same elements seen through another layout, whose offset counts from this view's first element.
    ///
    /// # Safety
    /// Every index that `layout` reaches is one that this view's storage holds.
    pub unsafe fn with_layout(&self, layout: Layout) -> View<'a> {
        // SAFETY: the caller's promise.
        let start = unsafe { self.start.add(layout.offset * self.dtype.size()) };
        View { start, layout: Layout { offset: 0, ..layout }, ..*self }
    }
}

/// Calls `row(offset, length, stride)` for each innermost run of a layout, in row-major order.
pub(crate) fn for_each_row(layout: &Layout, mut row: impl FnMut(isize, usize, isize)) {
    let (shape, strides) = (layout.shape, layout.strides());
    if shape.count() == 0 {
        return;
    }
    let Some(last) = shape.rank().checked_sub(1) else {
        return row(0, 1, 1);
    };
    let mut index = [0usize; crate::MAX_RANK];
    let mut offset = 0isize;
    loop {
        row(offset, shape[last], strides[last]);
        let mut axis = last;
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            offset -= strides[axis] * shape[axis] as isize;
            index[axis] = 0;
        }
    }
}

/// An output as a CPU kernel sees it: dense, row-major, initialised with arbitrary values.
pub struct ViewMut<'a> {
    start: *mut u8,
    spec: Spec,
    life: PhantomData<&'a mut [u8]>,
}

impl ViewMut<'_> {
    /// Shape and element type.
    pub fn spec(&self) -> Spec {
        self.spec
    }

    /// The dimensions.
    pub fn shape(&self) -> &Shape {
        &self.spec.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.spec.dtype
    }

    /// The first element.
    pub fn as_ptr(&mut self) -> *mut u8 {
        self.start
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// The elements have another type.
    pub fn slice<T: Element>(&mut self) -> Result<&mut [T]> {
        if self.spec.dtype != T::DTYPE {
            return Err(Error::dtype("view", format!("expected {}, found {}", T::DTYPE, self.spec.dtype)));
        }
        // SAFETY: an output is dense, has `count` initialised elements of type T, and is borrowed by this view alone.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.spec.shape.count()) })
    }
}

impl Tensor {
    /// Runs an operation.
    ///
    /// # Errors
    /// What the operation finds wrong with its inputs, and inputs on different devices.
    #[track_caller]
    pub fn apply(op: &(impl Op + ?Sized), x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let at = Location::caller();
        run(op, x, &mut []).map_err(|e| e.at(at))
    }

    /// Runs an operation on tensors that the caller no longer needs, letting outputs take over their memory where the
    /// operation allows it and nobody else holds them.
    ///
    /// # Errors
    /// As [`Tensor::apply`].
    #[track_caller]
    pub fn apply_owned(op: &(impl Op + ?Sized), mut x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let at = Location::caller();
        if !op.in_place() {
            let refs: Vec<&Tensor> = x.iter().collect();
            return run(op, &refs, &mut []).map_err(|e| e.at(at));
        }
        let mut donors: Vec<Option<Tensor>> = x
            .iter_mut()
            .map(|t| (t.layout.is_contiguous() && t.layout.offset == 0 && t.storage.is_unique()).then(|| t.clone()))
            .collect();
        let refs: Vec<&Tensor> = x.iter().collect();
        run(op, &refs, &mut donors).map_err(|e| e.at(at))
    }
}

fn run(op: &(impl Op + ?Sized), x: &[&Tensor], donors: &mut [Option<Tensor>]) -> Result<Vec<Tensor>> {
    let mut specs = [Spec::new(Shape::default(), DType::Bool); 8];
    let many: Vec<Spec>;
    let specs: &[Spec] = if x.len() <= specs.len() {
        specs.iter_mut().zip(x).for_each(|(spec, t)| *spec = t.spec());
        &specs[..x.len()]
    } else {
        many = x.iter().map(|t| t.spec()).collect();
        &many
    };
    let out = op.infer(specs)?;
    if let (&[x], [spec]) = (x, &out[..])
        && let Some(layout) = op.view(&x.layout)
    {
        debug_assert_eq!(layout.shape, spec.shape, "{}: the view has the inferred shape", op.name());
        return Ok(vec![Tensor { storage: x.storage.clone(), layout, dtype: spec.dtype }]);
    }
    if let Some(other) = x.iter().find(|t| t.device() != x[0].device()) {
        let text = format!("the operands are on {} and {}", x[0].device(), other.device());
        return Err(Error::new(ErrorKind::Device, op.name(), text).help("move them with .to_device(…)"));
    }
    let views: Vec<View> = x.iter().map(|t| t.view()).collect();
    let mut tensors = Vec::with_capacity(out.len());
    for spec in &out {
        tensors.push(take_donor(donors, spec).map_or_else(|| empty(op.name(), *spec), Ok)?);
    }
    let mut targets: Vec<ViewMut> =
        tensors.iter().map(|t| ViewMut { start: t.storage.as_ptr(), spec: t.spec(), life: PhantomData }).collect();
    op.cpu(&views, &mut targets)?;
    Ok(tensors)
}

fn take_donor(donors: &mut [Option<Tensor>], spec: &Spec) -> Option<Tensor> {
    donors.iter_mut().find_map(|d| d.take_if(|t| t.spec() == *spec))
}

fn empty(op: &str, spec: Spec) -> Result<Tensor> {
    let Some(storage) = Storage::cpu(spec.shape.count(), spec.dtype) else {
        let gigabytes = (spec.shape.count() * spec.dtype.size()) as f64 / 1e9;
        let text = format!("there is no memory for {} {}: {gigabytes:.1} GB", spec.dtype, spec.shape);
        return Err(Error::new(ErrorKind::Memory, op, text).help("use a smaller batch, or fewer elements"));
    };
    Ok(Tensor { storage, layout: Layout::contiguous(spec.shape), dtype: spec.dtype })
}

impl Tensor {
    pub(crate) fn view(&self) -> View<'_> {
        debug_assert!(
            self.layout.reach().is_none_or(|(low, high)| {
                low >= 0 && (high as usize + 1) * self.dtype.size() <= self.storage.bytes()
            })
        );
        // SAFETY: the offset of a layout lies inside its storage (or just past it, when there is no element).
        let start = unsafe { self.storage.as_ptr().add(self.layout.offset * self.dtype.size()) };
        View { start, layout: Layout { offset: 0, ..self.layout }, dtype: self.dtype, life: PhantomData }
    }

    /// A new tensor that `fill` writes; `op` is who asks for it.
    #[track_caller]
    pub(crate) fn build<T: Element>(op: &str, shape: Shape, fill: impl FnOnce(&mut [T])) -> Result<Tensor> {
        let at = Location::caller();
        let tensor = empty(op, Spec::new(shape, T::DTYPE)).map_err(|e| e.at(at))?;
        // SAFETY: the storage is new, dense, holds `count` initialised elements of T, and nobody else knows it.
        fill(unsafe { std::slice::from_raw_parts_mut(tensor.storage.as_ptr().cast(), shape.count()) });
        Ok(tensor)
    }
}
