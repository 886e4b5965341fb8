//! How an operation is run on tensors: what it says of itself is checked, memory is found, its kernel is called. And
//! what a kernel sees: the call, its inputs and outputs.

use crate::cpu::buffer::Buffer;
use crate::cpu::dense;
use crate::cpu::scratch::Scratch;
use crate::cuda;
use crate::op::{Aliases, Outputs, Specs};
use crate::storage::Storage;
use crate::{DType, Device, Element, Error, ErrorKind, Layout, Op, Result, Shape, Spec, Tensor};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;

/// A checked call of the kernel of the operation `O`. Only Kiln makes one, so a kernel can rely on it: inputs and outputs
/// have the shapes and types that `O::infer` has seen and answered.
pub struct CpuCall<'a, O: ?Sized> {
    raw: RawCall<'a>,
    op: PhantomData<fn(&O)>,
}

/// A call of some kernel.
pub struct RawCall<'a> {
    x: &'a [View<'a>],
    y: &'a mut [ViewMut<'a>],
    workspace: &'a mut [u8],
}

impl<'a, O: ?Sized> CpuCall<'a, O> {
    pub(crate) fn new(raw: RawCall<'a>) -> CpuCall<'a, O> {
        CpuCall { raw, op: PhantomData }
    }

    /// The inputs and the outputs. An input whose place an output has taken is copied first, so that both can be held.
    pub fn parts(self) -> (&'a [View<'a>], &'a mut [ViewMut<'a>]) {
        self.raw.x.iter().for_each(View::copy_if_shared);
        self.parts_in_place()
    }

    /// As [`CpuCall::parts`], without copies: an input whose place an output has taken gives no slice, and is read
    /// through [`View::as_ptr`].
    pub fn parts_in_place(self) -> (&'a [View<'a>], &'a mut [ViewMut<'a>]) {
        (self.raw.x, self.raw.y)
    }

    /// As many bytes as [`Op::workspace`] asked for, aligned to a cache line; their values are arbitrary.
    pub fn workspace(&mut self) -> &mut [u8] {
        self.raw.workspace
    }

    /// Leaves the work to the kernel of another operation, on the same inputs and outputs.
    ///
    /// # Errors
    /// The other operation infers other outputs, or its own errors.
    pub fn delegate(self, op: &impl Op) -> Result<()> {
        let (x, y) = self.parts();
        let specs: SmallVec<[Spec; FEW]> = x.iter().map(View::spec).collect();
        let out = infer(op, &specs)?;
        if out.len() != y.len() || out.iter().zip(&*y).any(|(spec, y)| *spec != y.spec()) {
            let found: Vec<Spec> = y.iter().map(ViewMut::spec).collect();
            let text = format!("it gives {:?}, the operation that delegates to it {found:?}", &*out);
            return Err(Error::argument(op.name(), text));
        }
        // An output lies where an input lies by the outer operation's leave, not by this one's.
        let x: Vec<View<'_>> = x.iter().map(View::apart).collect::<Result<_>>()?;
        let mut y: Vec<ViewMut<'_>> = y.iter_mut().map(ViewMut::reborrow).collect();
        compute(op, &specs, &x, &mut y)
    }
}

/// The elements of an input in row-major order: where they lie, or a copy that lives as long as this.
pub struct Elements<'a, T>(Source<'a, T>);

enum Source<'a, T> {
    InPlace(&'a [T]),
    Copied(Scratch<T>),
}

impl<T> Deref for Elements<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match &self.0 {
            Source::InPlace(slice) => slice,
            Source::Copied(copy) => copy,
        }
    }
}

impl<T: Debug> Debug for Elements<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T> From<Scratch<T>> for Elements<'_, T> {
    fn from(copy: Scratch<T>) -> Self {
        Elements(Source::Copied(copy))
    }
}

/// An input as a CPU kernel sees it.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The first element: the layout's offset is counted in.
    start: *const u8,
    layout: &'a Layout,
    dtype: DType,
    number: bool,
    /// Where an output lies in the same place: the copies that have been made of such inputs.
    shared: Option<&'a Copies>,
}

/// Copies of inputs in whose place an output lies, by the address of the input. None is taken out, so that what lies in
/// one stays as long as all of them.
pub(crate) type Copies = RefCell<SmallVec<[(*const u8, Storage); 1]>>;

impl<'a> View<'a> {
    /// Shape and element type.
    pub fn spec(&self) -> Spec {
        if self.number { Spec::number(self.dtype) } else { Spec::new(self.layout.shape, self.dtype) }
    }

    /// The dimensions.
    pub fn shape(&self) -> &Shape {
        &self.layout.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether it is a number that adapts to the type of what it stands beside.
    pub(crate) fn is_number(&self) -> bool {
        self.number
    }

    /// Shape and strides; the offset is 0, counted from [`View::as_ptr`].
    #[inline]
    pub fn layout(&self) -> Layout {
        Layout { offset: 0, ..*self.layout }
    }

    /// Whether the elements lie dense in row-major order.
    pub fn is_contiguous(&self) -> bool {
        self.layout.is_contiguous()
    }

    /// The first element. Reading through it needs `unsafe` and the layout. Where an output takes the input's place, as
    /// [`Op::aliases`] allows, both have this address.
    pub fn as_ptr(&self) -> *const u8 {
        self.start
    }

    /// The elements in row-major order, where they lie so; `None` for a strided view or another type, and for an input
    /// in whose place an output lies, where there is no copy of it.
    pub fn as_slice<T: Element>(&self) -> Option<&'a [T]> {
        let x = self.apart().ok()?;
        if x.dtype != T::DTYPE || !x.layout.is_contiguous() {
            return None;
        }
        // SAFETY: a contiguous layout covers `count` initialised elements from `start`, which the tensor behind this
        // view keeps alive for 'a; they have type T. Nobody writes to them: no output lies there.
        Some(unsafe { std::slice::from_raw_parts(x.start.cast(), x.layout.shape.count()) })
    }

    /// The elements in row-major order, copied when the view is strided.
    ///
    /// # Errors
    /// The elements have another type, there is no memory for the copy, or an output lies in their place
    /// ([`CpuCall::parts_in_place`]).
    pub fn contiguous<T: Element>(&self) -> Result<Elements<'a, T>> {
        if let Some(slice) = self.as_slice() {
            return Ok(Elements(Source::InPlace(slice)));
        }
        if self.dtype != T::DTYPE {
            return Err(other_type(self.dtype, T::DTYPE));
        }
        self.apart()?;
        let count = self.layout.shape.count();
        let mut out: Scratch<T> = Scratch::room(count).ok_or_else(|| no_memory(VIEW, self.spec()))?;
        // SAFETY: the layout's elements, all inside the storage, and room for as many, which are then initialised.
        unsafe {
            dense::gather(size_of::<T>(), &self.layout(), self.start, out.as_mut_ptr().cast());
            out.set_len(count);
        }
        Ok(out.into())
    }

    /// Copies the elements to `to`, in row-major order.
    ///
    /// # Errors
    /// As [`View::contiguous`]; another number of elements.
    pub fn copy_to<T: Element>(&self, to: &mut [T]) -> Result<()> {
        if self.dtype != T::DTYPE {
            return Err(other_type(self.dtype, T::DTYPE));
        }
        if to.len() != self.layout.shape.count() {
            let text = format!("{} elements do not fit into room for {}", self.layout.shape.count(), to.len());
            return Err(Error::argument(VIEW, text));
        }
        self.apart()?;
        // SAFETY: the layout's elements, all inside the storage, and room for as many, which nobody else uses.
        unsafe { dense::gather(size_of::<T>(), &self.layout(), self.start, to.as_mut_ptr().cast()) };
        Ok(())
    }

    /// The elements as indices, from any integer type.
    ///
    /// # Errors
    /// The elements are no integers.
    pub fn indices(&self, op: &str) -> Result<Elements<'a, i64>> {
        match self.dtype {
            DType::U8 => Ok(self.contiguous::<u8>()?.iter().map(|&i| i64::from(i)).collect::<Scratch<_>>().into()),
            DType::I32 => Ok(self.contiguous::<i32>()?.iter().map(|&i| i64::from(i)).collect::<Scratch<_>>().into()),
            DType::I64 => self.contiguous(),
            other => Err(no_indices(op, other)),
        }
    }

    /// The same elements seen through another layout, whose offset counts from this view's first element.
    ///
    /// # Safety
    /// Every index that `layout` reaches is one that this view's storage holds.
    pub(crate) unsafe fn with_layout<'b>(&self, layout: &'b Layout) -> View<'b>
    where
        'a: 'b,
    {
        // Along an axis that is walked backwards, the offset from this view's first element is negative.
        let bytes = layout.offset as isize * self.dtype.size() as isize;
        // SAFETY: the caller's promise.
        let start = unsafe { self.start.offset(bytes) };
        View { start, layout, ..*self }
    }

    /// The elements of `layout` from `start` on.
    ///
    /// # Safety
    /// They are there, initialised and of the type of `spec`, as long as the view; `spec` is the layout's.
    pub(crate) unsafe fn at(start: *const u8, layout: &'a Layout, spec: Spec) -> View<'a> {
        View { start, layout, dtype: spec.dtype, number: spec.is_number(), shared: None }
    }

    /// Says that an output lies in the same place.
    pub(crate) fn share(&mut self, copies: &'a Copies) {
        self.shared = Some(copies);
    }

    /// This input where no output lies: in its copy, if one lies in its place.
    fn apart(&self) -> Result<View<'a>> {
        let Some(copies) = self.shared else { return Ok(*self) };
        match copies.borrow().iter().find(|(start, _)| *start == self.start) {
            Some((_, copy)) => Ok(View { start: copy.as_ptr(), shared: None, ..*self }),
            None => {
                Err(Error::new(ErrorKind::Memory, VIEW, "there is no copy of an input whose place an output takes")
                    .help(
                        "take the inputs with .parts(), or read through .as_ptr(); there may be no memory for a copy",
                    ))
            }
        }
    }

    /// Copies an input in whose place an output lies; without memory for it, `apart` tells.
    fn copy_if_shared(&self) {
        let count = self.layout.shape.count();
        if let Some(copies) = self.shared
            && let Some(storage) = Storage::cpu(count, self.dtype)
        {
            // SAFETY: only a dense input gives its place away, so its elements are the bytes from `start`; the copy
            // is new and as large. No slice of an output is alive: they are given out after this, in `parts`.
            unsafe {
                let bytes = count * self.dtype.size();
                std::ptr::copy_nonoverlapping(self.start, storage.as_ptr().cast_mut(), bytes);
            }
            copies.borrow_mut().push((self.start, storage));
        }
    }
}

/// Elements that are no integers were given for indices.
pub(crate) fn no_indices(op: &str, found: DType) -> Error {
    Error::dtype(op, format!("indices must be integers, found {found}")).help("convert them: .cast(DType::I64)")
}

/// A kernel has asked for elements of another type.
fn other_type(found: DType, asked: DType) -> Error {
    Error::dtype(VIEW, format!("the kernel reads or writes {asked}, the elements are {found}"))
        .help("have a kernel for each type: with_element!(x[0].dtype(), T => kernel::<T>(…)); or refuse it in `infer`")
}

/// What stands for the operation in the errors of views, which do not know it.
const VIEW: &str = "view";

/// An output as a CPU kernel sees it: dense, row-major, initialised with arbitrary values.
pub struct ViewMut<'a> {
    start: *mut u8,
    spec: Spec,
    life: PhantomData<&'a mut [u8]>,
}

impl ViewMut<'_> {
    /// Room for the elements of `spec` from `start` on.
    ///
    /// # Safety
    /// It is initialised, aligned, and no other's as long as the view; an input may lie there that is
    /// [shared](View::share).
    pub(crate) unsafe fn at(start: *mut u8, spec: Spec) -> Self {
        ViewMut { start, spec, life: PhantomData }
    }

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
            return Err(other_type(self.spec.dtype, T::DTYPE));
        }
        // SAFETY: an output is dense, has `count` initialised elements of type T, and is borrowed by this view alone:
        // an input in the same place gives out slices of a copy only, which was made before.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.spec.shape.count()) })
    }

    fn reborrow(&mut self) -> ViewMut<'_> {
        ViewMut { start: self.start, spec: self.spec, life: PhantomData }
    }
}

impl Tensor {
    /// Runs an operation.
    ///
    /// # Errors
    /// Another number of operands than it takes, what the operation finds wrong with them, operands on different
    /// devices, and an operation that contradicts itself.
    #[track_caller]
    pub fn apply(op: &(impl Op + ?Sized), x: &[&Tensor]) -> Result<Outputs> {
        let mut y = Outputs::default();
        Tensor::apply_to(op.as_op(), x, &mut y)?;
        Ok(y)
    }

    /// [`Tensor::apply`] that puts the results at the end of `y`, where they stay: to move a list of them costs as much as a
    /// small tensor's kernel.
    ///
    /// # Errors
    /// As there; `y` may hold some of the results then.
    #[track_caller]
    pub fn apply_to(op: &dyn Op, x: &[&Tensor], y: &mut Outputs) -> Result<()> {
        let at = Location::caller();
        run(op, x, &mut [], y, at).map_err(|e| e.at(at))
    }

    /// Runs an operation on tensors that the caller no longer needs, letting outputs take over their memory where the
    /// operation allows it and nobody else holds them.
    ///
    /// # Errors
    /// As [`Tensor::apply`].
    #[track_caller]
    pub fn apply_owned(op: &(impl Op + ?Sized), mut x: Vec<Tensor>) -> Result<Outputs> {
        let at = Location::caller();
        let mut donors = donors(op.as_op(), &mut x);
        let refs: SmallVec<[&Tensor; FEW]> = x.iter().collect();
        let mut y = Outputs::default();
        run(op.as_op(), &refs, &mut donors, &mut y, at).map_err(|e| e.at(at))?;
        Ok(y)
    }
}

/// The memory of operands that nobody else holds, where an operation may write its results.
pub(crate) type Donors = SmallVec<[Option<Storage>; FEW]>;

#[inline(always)]
pub(crate) fn donors(op: &dyn Op, x: &mut [Tensor]) -> Donors {
    match op.aliases() {
        Aliases::None => Donors::new(),
        _ => x.iter_mut().map(|t| t.is_exclusive().then(|| t.storage.clone())).collect(),
    }
}

/// [`Tensor::apply`] of an operation with `N` results.
pub(crate) fn apply_array<const N: usize>(
    op: &dyn Op,
    x: &[&Tensor],
    at: &'static Location<'static>,
) -> Result<[Tensor; N]> {
    let mut y = Outputs::default();
    run(op, x, &mut [], &mut y, at).map_err(|e| e.at(at))?;
    y.take_array().ok_or_else(|| Error::argument(op.name(), format!("the operation has not {N} results")).at(at))
}

/// So many operands need no heap: those of an optimizer's rule with its numbers.
pub(crate) const FEW: usize = 12;

/// The specs of an operation's outputs, when its number of operands is right.
#[inline(always)]
pub(crate) fn infer(op: &dyn Op, x: &[Spec]) -> Result<Specs> {
    if !op.arity().admits(x.len()) {
        return Err(Error::argument(op.name(), format!("takes {}, {} were given", op.arity(), x.len())));
    }
    // Not the line within the operation: that of its caller comes on the way up.
    let out = op.infer(x).map_err(Error::unplaced)?;
    for spec in out.iter() {
        // A shape that an operation has put together may have more elements than memory.
        spec.shape.check(op.name())?;
    }
    Ok(out)
}

/// Calls the kernel: whoever does has seen that `y` has the specs that `op` infers from `specs`, those of `x`.
fn compute<'a>(op: &dyn Op, specs: &[Spec], x: &'a [View<'a>], y: &'a mut [ViewMut<'a>]) -> Result<()> {
    let bytes = op.workspace(specs);
    if bytes == 0 {
        return call_kernel(op, x, y, &mut []);
    }
    let Some(buffer) = Buffer::new(bytes) else {
        let text = format!("there is no memory for a workspace of {:.1} GB", bytes as f64 / 1e9);
        return Err(Error::new(ErrorKind::Memory, op.name(), text));
    };
    // SAFETY: the buffer is initialised, has at least as many bytes, and is borrowed here alone.
    let workspace = unsafe { std::slice::from_raw_parts_mut(buffer.as_ptr(), bytes) };
    call_kernel(op, x, y, workspace)
}

/// Calls the kernel with a workspace of the size that `op` wants.
pub(crate) fn call_kernel<'a>(
    op: &dyn Op,
    x: &'a [View<'a>],
    y: &'a mut [ViewMut<'a>],
    workspace: &'a mut [u8],
) -> Result<()> {
    op.compute(RawCall { x, y, workspace }).map_err(|error| error.renamed(VIEW, op.name()))
}

/// Runs `op` and appends its results to `y`.
///
/// Not generic, and with values put where they stay: a small tensor's operation costs what is done here.
pub(crate) fn run(
    op: &dyn Op,
    x: &[&Tensor],
    donors: &mut [Option<Storage>],
    y: &mut Outputs,
    at: &'static Location<'static>,
) -> Result<()> {
    if let Some(traced) = x.iter().find_map(|x| x.storage.traced().filter(|traced| traced.by.is_live())) {
        return traced.by.run(op, x, y, at);
    }
    let mut specs: SmallVec<[Spec; FEW]> = SmallVec::new();
    for x in x {
        specs.push(x.spec());
    }
    let out = infer(op, &specs)?;
    if let (&[x], [spec]) = (x, &*out)
        && let Some(layout) = op.view(&x.layout)
    {
        y.push(view_of(op.name(), x, *spec, layout)?);
        return Ok(());
    }
    let (device, is_held) = place(op, x)?;
    if let Device::Cuda(number) = device {
        return cuda::run(number, op, x, donors, &out, y);
    }
    let copies = Copies::default();
    let mut views: SmallVec<[View<'_>; FEW]> = SmallVec::new();
    x.iter().for_each(|x| views.push(x.view()));
    for (output, spec) in out.iter().enumerate() {
        let donor = (0..donors.len())
            .find(|&input| op.aliases().allow(input, output) && donors[input].is_some() && specs[input] == *spec);
        let storage = match donor.and_then(|input| Some((input, donors[input].take()?))) {
            Some((input, storage)) => {
                views[input].shared = Some(&copies);
                storage
            }
            None => room(op.name(), spec)?,
        };
        y.push(Tensor { storage, layout: Layout::contiguous(spec.shape), dtype: spec.dtype });
    }
    let target = |t: &Tensor| ViewMut { start: t.storage.as_ptr().cast_mut(), spec: t.spec(), life: PhantomData };
    // Few, as nearly always, stay on the stack.
    match &y[..] {
        [y] => compute(op, &specs, &views, &mut [target(y)])?,
        all => compute(op, &specs, &views, &mut all.iter().map(target).collect::<Vec<_>>())?,
    }
    if !is_held && op.device().is_none() {
        y.as_mut_slice().iter_mut().for_each(Tensor::leave_memory);
    }
    Ok(())
}

/// The device on which an operation of these operands runs, and whether any of them lies in memory.
#[inline(always)]
pub(crate) fn place(op: &dyn Op, x: &[&Tensor]) -> Result<(Device, bool)> {
    let held = x.iter().find(|t| !t.storage.is_uniform()).map(|t| t.device());
    let device = op.device().or(held).unwrap_or_default();
    device.ensure_available().map_err(Error::unplaced)?;
    if let Some(other) = x.iter().find(|t| !t.storage.is_uniform() && t.device() != device) {
        let text = format!("the operands are on {device} and {}", other.device());
        return Err(Error::new(ErrorKind::Device, op.name(), text).help("move them with .to_device(…)"));
    }
    if let Some((operand, x)) = x.iter().enumerate().find(|(_, x)| x.storage.is_withheld()) {
        return Err(withheld(op.name(), operand, x));
    }
    Ok((device, held.is_some()))
}

#[cold]
fn withheld(op: &str, operand: usize, x: &Tensor) -> Error {
    let text = format!("the elements of operand {operand}, {} {}, were not kept", x.dtype, x.shape());
    Error::new(ErrorKind::Tape, op, text)
        .help("name every operand and result whose elements the derivative rule reads in its `keeps`: Keep::ALL is all")
}

/// The memory of `x` under another layout, if it is what was inferred and stays inside.
fn view_of(op: &str, x: &Tensor, spec: Spec, layout: Layout) -> Result<Tensor> {
    if layout.shape != spec.shape || spec.dtype != x.dtype {
        let text = format!("its view is {} {}, but it infers {spec:?}", x.dtype, layout.shape);
        return Err(Error::argument(op, text).help("a view has the inferred shape and the operand's type"));
    }
    if layout.shape.count() == 0 {
        // Nobody reads through its strides, but somebody may count with them.
        return Ok(Tensor { storage: x.storage.clone(), layout: Layout::contiguous(layout.shape), dtype: spec.dtype });
    }
    // Of its elements and not of its memory, which may hold more than the operand shows.
    if !layout.lies_within(&x.layout) {
        let text = format!("its view of {} reaches outside of the operand: {layout:?}", x.shape());
        return Err(Error::argument(op, text));
    }
    Ok(Tensor { storage: x.storage.clone(), layout, dtype: spec.dtype })
}

/// Memory for a tensor.
fn room(op: &str, spec: &Spec) -> Result<Storage> {
    Storage::cpu(spec.shape.count(), spec.dtype).ok_or_else(|| no_memory(op, *spec))
}

pub(crate) fn no_memory(op: &str, spec: Spec) -> Error {
    let gigabytes = spec.shape.count() as f64 * spec.dtype.size() as f64 / 1e9;
    let text = format!("there is no memory for {} {}: {gigabytes:.1} GB", spec.dtype, spec.shape);
    Error::new(ErrorKind::Memory, op, text).help("use a smaller batch, or fewer elements")
}

impl Tensor {
    #[track_caller]
    pub(crate) fn view(&self) -> View<'_> {
        self.escape();
        debug_assert!(self.layout.fits(self.storage.bytes() / self.dtype.size()));
        // SAFETY: the offset of a layout lies inside its storage (or just past it, when there is no element).
        let start = unsafe { self.storage.as_ptr().add(self.layout.offset * self.dtype.size()) };
        View { start, layout: &self.layout, dtype: self.dtype, number: self.is_number(), shared: None }
    }

    /// A new tensor that `fill` writes; `op` is who asks for it.
    #[track_caller]
    pub(crate) fn build<T: Element>(op: &str, shape: Shape, fill: impl FnOnce(&mut [T])) -> Result<Tensor> {
        let at = Location::caller();
        let room = shape.check(op).and_then(|()| room(op, &Spec::new(shape, T::DTYPE)));
        let storage = room.map_err(|e| e.at(at))?;
        // SAFETY: the storage is new, dense, holds `count` initialised elements of T, and nobody else knows it.
        fill(unsafe { std::slice::from_raw_parts_mut(storage.as_ptr().cast_mut().cast(), shape.count()) });
        Ok(Tensor { storage, layout: Layout::contiguous(shape), dtype: T::DTYPE })
    }
}
