//! The tensor: a value that is cheap to clone and never changes. Creation from Rust data, and reading it back.

use crate::cpu::buffer;
use crate::cpu::scratch::Scratch;
use crate::cuda;
use crate::storage::{Role, Storage, Uniform};
use crate::{DType, Device, Element, Error, ErrorKind, IntoShape, Layout, Result, Shape, Spec, with_element};
use std::panic::Location;

/// An n-dimensional array of one element type on one device.
///
/// Cloning shares the memory; no operation changes a tensor that somebody else can see. Operations are methods of the
/// traits in [`crate::ops`].
///
/// ```
/// use kiln_tensor::{Tensor, ops::*};
/// let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]]);
/// let y = x.matmul(&x)?.add(1.0)?;
/// assert_eq!(y.to_vec::<f32>()?, [8.0, 11.0, 16.0, 23.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    pub(crate) storage: Storage,
    pub(crate) layout: Layout,
    pub(crate) dtype: DType,
}

/// Rust values that [`Tensor::new`] takes: numbers, and arrays of them up to eight deep.
#[diagnostic::on_unimplemented(
    message = "a tensor cannot be made of `{Self}`",
    note = "`Tensor::new` takes numbers and arrays of them, as in [[1.0, 2.0], [3.0, 4.0]]; a vector with its shape goes to `Tensor::from_vec`"
)]
pub trait IntoTensor {
    /// The number type.
    type Elem: Element;
    /// Appends the dimensions, outermost first.
    fn dims(&self, dims: &mut Vec<usize>);
    /// Appends the elements in row-major order.
    fn elements(&self, out: &mut Vec<Self::Elem>);
}

macro_rules! into_tensor {
    ($($t:ty)*) => {$(
        impl IntoTensor for $t {
            type Elem = $t;
            fn dims(&self, _: &mut Vec<usize>) {}
            fn elements(&self, out: &mut Vec<$t>) { out.push(*self); }
        }
    )*};
}
into_tensor!(bool u8 i32 i64 half::f16 half::bf16 f32 f64);

impl<T: IntoTensor, const N: usize> IntoTensor for [T; N] {
    type Elem = T::Elem;
    fn dims(&self, dims: &mut Vec<usize>) {
        dims.push(N);
        if let Some(first) = self.first() {
            first.dims(dims);
        }
    }
    fn elements(&self, out: &mut Vec<T::Elem>) {
        self.iter().for_each(|x| x.elements(out));
    }
}

/// What can stand as a number beside a tensor: Rust's floats and integers.
#[diagnostic::on_unimplemented(message = "`{Self}` is neither a number nor a reference to a value of this kind")]
pub trait Number: Copy + sealed::Uniform {}

mod sealed {
    use crate::DType;

    pub trait Uniform {
        fn uniform(self) -> (crate::storage::Uniform, DType);
    }
}

macro_rules! numbers {
    ($($t:ty as $wide:ty, $dtype:ident;)*) => {$(
        impl Number for $t {}
        impl sealed::Uniform for $t {
            fn uniform(self) -> (Uniform, DType) {
                (Uniform::new(self as $wide, Role::Number), DType::$dtype)
            }
        }
    )*};
}
// All exact: a number is kept as a double, or as an integer of 64 bits.
numbers! {
    f64 as f64, F64;
    f32 as f64, F64;
    i64 as i64, I64;
    i32 as i64, I64;
    u8 as i64, I64;
}

/// What is as small as something that is in memory already.
#[track_caller]
fn in_memory(tensor: Result<Tensor>) -> Tensor {
    tensor.unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn from_elements<T: Element>(op: &str, values: &[T], shape: Shape) -> Result<Tensor> {
    if shape.count() != values.len() {
        let text = format!("{shape} needs {} elements, but {} were given", shape.count(), values.len());
        return Err(Error::shape(op, text).at(Location::caller()));
    }
    Tensor::build(op, shape, |target| target.copy_from_slice(values))
}

impl Tensor {
    /// A tensor of a number or of nested arrays.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// assert_eq!(Tensor::new([[1, 2, 3], [4, 5, 6]]).shape().dims(), [2, 3]);
    /// ```
    ///
    /// # Panics
    /// Arrays nested more than eight deep; memory that is used up.
    pub fn new<A: IntoTensor>(values: A) -> Tensor {
        let (mut dims, mut out) = (Vec::new(), Vec::new());
        values.dims(&mut dims);
        values.elements(&mut out);
        let shape = Shape::new(&dims).expect("nested arrays in memory have an addressable size");
        in_memory(Tensor::build("new", shape, |target| target.copy_from_slice(&out)))
    }

    /// A tensor of `shape` from its elements in row-major order.
    ///
    /// # Errors
    /// The number of elements is not the product of the dimensions.
    #[track_caller]
    pub fn from_slice<T: Element>(values: &[T], shape: impl IntoShape) -> Result<Tensor> {
        from_elements("from_slice", values, shape.into_shape()?)
    }

    /// [`Tensor::from_slice`] for a vector. A large one is not copied: its memory becomes the tensor's.
    ///
    /// # Errors
    /// As [`Tensor::from_slice`].
    #[track_caller]
    pub fn from_vec<T: Element>(values: Vec<T>, shape: impl IntoShape) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        if size_of_val(&*values) < buffer::LARGE || shape.count() != values.len() {
            return from_elements("from_vec", &values, shape);
        }
        let storage = Storage::taken(values).unwrap_or_else(|| unreachable!("a large vector has memory"));
        Ok(Tensor { storage, layout: Layout::contiguous(shape), dtype: T::DTYPE })
    }

    /// A scalar (rank 0) of type `dtype`. It lives in no memory.
    pub fn scalar(value: f64, dtype: DType) -> Tensor {
        Tensor::filled(Spec::new(Shape::default(), dtype), value)
    }

    /// A number that takes part in an operation by its value, in the type of what it stands beside: what the 2 in
    /// `x.mul(2.0)` becomes. It lives in no memory and on no device.
    ///
    /// ```
    /// use kiln_tensor::{DType, Tensor, ops::*};
    /// let x = Tensor::new([1u8, 2]);
    /// assert_eq!(x.add(&Tensor::number(1))?.dtype(), DType::U8);
    /// assert_eq!(x.add(&Tensor::number(0.5))?.to_vec::<f32>()?, [1.5, 2.5]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    pub fn number(value: impl Number) -> Tensor {
        let (uniform, dtype) = value.uniform();
        Tensor { storage: Storage::Uniform(uniform), layout: Layout::contiguous(Shape::default()), dtype }
    }

    /// A tensor filled with `value`, of that value's type.
    ///
    /// # Errors
    /// A shape of too many dimensions or elements.
    #[track_caller]
    pub fn full<T: Element>(shape: impl IntoShape, value: T) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        Tensor::build("full", shape, |target| target.fill(value))
    }

    /// Zeros of type `f32`.
    ///
    /// # Errors
    /// As [`Tensor::full`].
    #[track_caller]
    pub fn zeros(shape: impl IntoShape) -> Result<Tensor> {
        Tensor::full(shape, 0f32)
    }

    /// Ones of type `f32`.
    ///
    /// # Errors
    /// As [`Tensor::full`].
    #[track_caller]
    pub fn ones(shape: impl IntoShape) -> Result<Tensor> {
        Tensor::full(shape, 1f32)
    }

    /// A scalar that lives in no memory.
    pub(crate) fn uniform_value<T: Element>(value: T) -> Tensor {
        let storage = Storage::Uniform(Uniform::new(value, Role::Elements));
        Tensor { storage, layout: Layout::contiguous(Shape::default()), dtype: T::DTYPE }
    }

    /// Takes a tensor of rank 0 out of memory, and so to every device: what was computed of such values alone is one.
    pub(crate) fn leave_memory(&mut self) {
        if self.rank() == 0 {
            with_element!(self.dtype, T => {
                let element = self.view().contiguous::<T>().map(|elements| elements[0]);
                if let Ok(element) = element {
                    *self = Tensor::uniform_value(element);
                }
            });
        }
    }

    /// One value, repeated over the shape of `spec` without memory.
    ///
    /// # Panics
    /// A shape of more elements than can be counted.
    #[track_caller]
    pub fn filled(spec: Spec, value: f64) -> Tensor {
        Tensor::repeated(spec, value, Role::Elements)
    }

    /// One value over the shape of this tensor, of its type and where it is: on the CPU without memory, on a GPU with that of
    /// one element. What is computed of it alone is then there as well.
    ///
    /// # Errors
    /// There is no memory.
    #[track_caller]
    pub fn filled_like(&self, value: f64) -> Result<Tensor> {
        let filled = Tensor::filled(self.spec(), value);
        if self.device() == Device::Cpu {
            return Ok(filled);
        }
        let one = with_element!(self.dtype, T => {
            Tensor::build("filled", Shape::default(), |to: &mut [T]| to[0] = <T as Element>::from_f64(value))
        })?;
        Ok(Tensor { storage: one.to_device(self.device())?.storage, ..filled })
    }

    /// Shape and type without elements, for what need not stay in memory: an operation that reads it is an error, a view of
    /// it is another such tensor, and read on the host it is NaN.
    ///
    /// # Panics
    /// As [`Tensor::filled`].
    #[track_caller]
    pub fn withheld(spec: Spec) -> Tensor {
        Tensor::repeated(spec, f64::NAN, Role::Withheld)
    }

    #[track_caller]
    fn repeated(spec: Spec, value: f64, role: Role) -> Tensor {
        if let Err(error) = spec.shape.check("filled") {
            panic!("{error}");
        }
        let uniform = with_element!(spec.dtype, T => Uniform::new(<T as Element>::from_f64(value), role));
        let layout = Layout::contiguous(Shape::default()).broadcast_to(spec.shape);
        Tensor { storage: Storage::Uniform(uniform), layout, dtype: spec.dtype }
    }

    /// The dimensions.
    pub fn shape(&self) -> &Shape {
        &self.layout.shape
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.layout.shape.rank()
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.layout.shape.count()
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Shape and element type.
    pub fn spec(&self) -> Spec {
        match self.is_number() {
            true => Spec::number(self.dtype),
            false => Spec::new(self.layout.shape, self.dtype),
        }
    }

    /// Whether it is a number that adapts to the type of what it stands beside.
    pub(crate) fn is_number(&self) -> bool {
        self.rank() == 0 && self.storage.is_number()
    }

    /// The device that holds the elements.
    pub fn device(&self) -> Device {
        self.storage.device()
    }

    /// Whether both look at the same memory in the same way: what is known of one holds for the other, unread.
    pub fn is_same(&self, other: &Tensor) -> bool {
        self.storage.is_same(&other.storage) && self.layout == other.layout && self.spec() == other.spec()
    }

    /// Whether nobody else holds the elements, and they lie dense: an operation that is given this handle may write its
    /// result there ([`Tensor::apply_owned`]).
    pub fn is_exclusive(&mut self) -> bool {
        self.layout.is_contiguous() && self.layout.offset == 0 && self.storage.is_unique()
    }

    /// Where the elements lie in their storage.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The tensor on another device.
    ///
    /// # Errors
    /// The device is not there.
    #[track_caller]
    pub fn to_device(&self, device: Device) -> Result<Tensor> {
        device.ensure_available()?;
        let at = Location::caller();
        // What lives in no memory is on every device.
        if self.storage.is_uniform() || self.device() == device {
            return Ok(self.clone());
        }
        self.escape();
        self.moved(device).map_err(|e| e.at(at))
    }

    fn moved(&self, device: Device) -> Result<Tensor> {
        match (self.storage.untraced(), device) {
            (Storage::Cpu(_), Device::Cuda(number)) => cuda::upload(number, &self.untraced().dense()?),
            (Storage::Cuda(_), Device::Cpu) => self.host(),
            (Storage::Cuda(buffer), Device::Cuda(number)) => cuda::across(number, &self.untraced(), buffer),
            _ => Ok(self.clone()),
        }
    }

    /// The tensor where the host can read it: itself, or a copy of a GPU's memory as far as its elements reach.
    pub(crate) fn host(&self) -> Result<Tensor> {
        // What kernels have found wrong with values comes before any value.
        self.device().synchronize().map_err(Error::unplaced)?;
        self.copied_to_host()
    }

    fn copied_to_host(&self) -> Result<Tensor> {
        match self.storage.cuda() {
            Some(buffer) => cuda::download(buffer, self),
            None => Ok(self.clone()),
        }
    }

    /// [`Tensor::host`] for what has no error. What kernels have found wrong with values is told by whoever reads next and
    /// has one.
    ///
    /// # Panics
    /// The device has failed, or there is no memory for the copy.
    #[track_caller]
    pub(crate) fn on_host(&self) -> Tensor {
        self.copied_to_host().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// The elements are not of type `T`, which [`Tensor::to_vec_as`] converts to; or they are a view of more elements
    /// than memory holds.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let at = Location::caller();
        if self.dtype != T::DTYPE {
            let text = format!("the elements are {}, not {}", self.dtype, T::DTYPE);
            let help = format!("read them as {}, or convert: .cast(DType::{:?})", self.dtype, T::DTYPE);
            return Err(Error::dtype("to_vec", text).help(help).at(at));
        }
        let mut out = room("to_vec", self.count(), self.spec()).map_err(|e| e.at(at))?;
        self.escape();
        self.host().map_err(|e| e.at(at))?.for_each_block(|block| out.extend_from_slice(block));
        Ok(out)
    }

    /// The elements in row-major order, where they lie so in memory: nothing is copied. `None` for a strided tensor,
    /// another element type or another device; [`Tensor::to_vec_as`] always works.
    #[track_caller]
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        self.escape();
        if self.storage.cuda().is_some() { None } else { self.view().as_slice() }
    }

    /// The elements in row-major order, converted to `T` as [`Element`] says; those of type `T` keep their bits.
    ///
    /// # Panics
    /// A view of more elements than memory holds; [`Tensor::to_vec`] has an error for it.
    #[track_caller]
    pub fn to_vec_as<T: Element>(&self) -> Vec<T> {
        let mut out = match room("to_vec_as", self.count(), Spec::new(*self.shape(), T::DTYPE)) {
            Ok(out) => out,
            Err(error) => panic!("{error}"),
        };
        with_element!(self.dtype, S => self.for_each_block(|block: &[S]| match S::DTYPE {
            same if same == T::DTYPE => out.extend(block.iter().map(|x| T::from_raw_bits(x.to_raw_bits()))),
            float if float.is_float() => out.extend(block.iter().map(|x| <T as Element>::from_f64(x.to_f64()))),
            _ => out.extend(block.iter().map(|x| T::from_i64(x.to_i64()))),
        }));
        out
    }

    /// The one element, as a double.
    ///
    /// # Errors
    /// There is not exactly one element.
    #[track_caller]
    pub fn item(&self) -> Result<f64> {
        if self.count() != 1 {
            let text = format!("{} has {} elements; only a tensor of one has an item", self.shape(), self.count());
            return Err(Error::shape("item", text).help("reduce it first: .sum(..), .mean(..)").at(Location::caller()));
        }
        let mut item = 0.0;
        self.escape();
        let at = Location::caller();
        let host = self.host().map_err(|e| e.at(at))?;
        with_element!(self.dtype, T => host.for_each_block(|one: &[T]| item = one[0].to_f64()));
        Ok(item)
    }

    /// Whether two tensors have the same shape, type and bits. Strided views are compared where they lie.
    #[track_caller]
    pub fn same_bits(&self, other: &Tensor) -> bool {
        let same_place = || self.layout == other.layout && self.storage.is_same(&other.storage);
        self.spec() == other.spec()
            && (same_place()
                || with_element!(self.dtype, T => self.all_pairs(other, |a: T, b: T| a.to_raw_bits() == b.to_raw_bits())))
    }
}

/// An empty vector with room for `count` values that hold the elements of `spec`; `op` is who asks for it.
pub(crate) fn room<T>(op: &str, count: usize, spec: Spec) -> Result<Vec<T>> {
    let mut out = Vec::new();
    match out.try_reserve_exact(count) {
        Ok(()) => Ok(out),
        Err(_) => Err(no_room::<T>(op, count, spec)),
    }
}

/// [`room`] for as long as a kernel runs.
pub(crate) fn scratch_room<T: Copy>(op: &str, count: usize, spec: Spec) -> Result<Scratch<T>> {
    Scratch::room(count).ok_or_else(|| no_room::<T>(op, count, spec))
}

fn no_room<T>(op: &str, count: usize, spec: Spec) -> Error {
    let gigabytes = count as f64 * size_of::<T>() as f64 / 1e9;
    let text = format!("there is no memory for {} {}: {gigabytes:.1} GB", spec.dtype, spec.shape);
    Error::new(ErrorKind::Memory, op, text).help("take a part of it first: .slice(axis, range)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::ViewOps;

    /// A view beyond all addresses, so that no system grants the memory.
    fn huge(x: f32) -> Tensor {
        Tensor::full([1], x).unwrap().expand([1 << 46]).unwrap()
    }

    #[test]
    fn reading_a_huge_view_is_an_error_that_names_its_size() {
        let error = huge(1.0).to_vec::<f32>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Memory);
        assert!(error.to_string().starts_with("to_vec: there is no memory for f32 [70368744177664]: 281475.0 GB"));
        let panic = std::panic::catch_unwind(|| huge(1.0).to_vec_as::<f64>()).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.starts_with("to_vec_as: there is no memory for f64 [70368744177664]: 562950.0 GB"), "{text}");
    }

    #[test]
    fn huge_views_are_compared_where_they_lie() {
        let x = huge(f32::NAN);
        assert!(x.same_bits(&x) && x.same_bits(&huge(f32::NAN)));
        assert!(!x.same_bits(&huge(1.0)) && !huge(0.0).same_bits(&huge(-0.0)));
        assert!(!x.same_bits(&x.slice(0, 1..).unwrap()));
    }

    #[test]
    fn every_bit_of_every_half_is_read() {
        let all = || 0..=u16::MAX;
        let f: Vec<half::f16> = all().map(half::f16::from_bits).collect();
        let b: Vec<half::bf16> = all().map(half::bf16::from_bits).collect();
        let (f, b) = (Tensor::from_vec(f, [1 << 16]).unwrap(), Tensor::from_vec(b, [1 << 16]).unwrap());
        assert!(f.to_vec::<half::f16>().unwrap().iter().map(|x| x.to_bits()).eq(all()));
        assert!(b.to_vec_as::<half::bf16>().iter().map(|x| x.to_bits()).eq(all()));
        // The quiet and the signalling NaN are two patterns.
        let (quiet, signalling) = (half::f16::from_bits(0x7e01), half::f16::from_bits(0x7c01));
        assert!(!Tensor::new([quiet]).same_bits(&Tensor::new([signalling])));
        assert!(Tensor::new([signalling]).same_bits(&Tensor::new([signalling])));
    }
}
