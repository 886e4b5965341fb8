//! Random numbers as functions of a key and a position: the same key gives the same numbers, whatever ran before, on
//! any number of threads. The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1,
//! 2, 3"). Which bits an element gets is said in `ops/random`.

#![expect(clippy::needless_range_loop, reason = "loops over registers have constant bounds and are unrolled")]

use crate::ops::random::{self, Distribution, Random};
use crate::ops::{ArithmeticOps, CastOps};
use crate::tensor::room;
use crate::{DType, Device, Element, Error, IntoShape, Op, Result, Shape, Spec, Tensor, Trace, with_element};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::sync::Arc;

/// The key of a stream of random numbers.
///
/// Derive keys for different purposes with [`Key::fold`] instead of drawing twice from one:
///
/// ```
/// use kiln_tensor::Key;
/// let key = Key::new(42);
/// let (weights, dropout) = (key.fold(0), key.fold(1));
/// assert!(weights.normal([3], 0.0, 1.0)?.same_bits(&Key::new(42).fold(0).normal([3], 0.0, 1.0)?));
/// assert_ne!(weights.bits(0), dropout.bits(0));
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
///
/// A key can be an input of a [`Trace`] ([`Key::traced_by`]): all that is drawn from it, and from the keys that are folded
/// out of it, is then recorded, and a plan draws by the key that it is given.
#[derive(Clone)]
pub struct Key {
    philox: Philox,
    /// The halves as a recording knows them.
    traced: Option<Arc<[Tensor; 2]>>,
    /// Where tensors are drawn.
    device: Device,
}

/// The generator of a key, as kernels have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Philox {
    seed: u64,
    stream: u64,
}

/// Ten rounds of Philox on `L` blocks side by side.
#[inline(always)]
fn philox<const L: usize>(mut counter: [[u32; L]; 4], mut key: [u32; 2]) -> [[u32; L]; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        for lane in 0..L {
            let a = u64::from(counter[0][lane]) * 0xD251_1F53;
            let b = u64::from(counter[2][lane]) * 0xCD9E_8D57;
            counter[0][lane] = (b >> 32) as u32 ^ counter[1][lane] ^ key[0];
            counter[1][lane] = b as u32;
            counter[2][lane] = (a >> 32) as u32 ^ counter[3][lane] ^ key[1];
            counter[3][lane] = a as u32;
        }
    }
    counter
}

impl Philox {
    pub(crate) fn new(seed: u64, stream: u64) -> Philox {
        Philox { seed, stream }
    }

    /// [`Key::fold`].
    pub(crate) fn fold(self, n: u64) -> Philox {
        let [[a], [b], [c], [d]] = self.blocks_of(n, 0x4B69_6C6E);
        Philox { seed: self.seed ^ (u64::from(a) << 32 | u64::from(b)), stream: u64::from(c) << 32 | u64::from(d) }
    }

    /// The two halves.
    pub(crate) fn halves(self) -> [i64; 2] {
        [self.seed as i64, self.stream as i64]
    }

    #[inline(always)]
    fn blocks_of<const L: usize>(self, position: u64, domain: u32) -> [[u32; L]; 4] {
        let mut counter = [[0; L], [0; L], [self.stream as u32; L], [(self.stream >> 32) as u32 ^ domain; L]];
        for lane in 0..L {
            let position = position.wrapping_add(lane as u64);
            (counter[0][lane], counter[1][lane]) = (position as u32, (position >> 32) as u32);
        }
        philox(counter, [self.seed as u32, (self.seed >> 32) as u32])
    }

    /// `L` blocks from number `position` on: each of their four words, side by side.
    #[inline(always)]
    pub(crate) fn blocks<const L: usize>(self, position: u64) -> [[u32; L]; 4] {
        self.blocks_of(position, 0)
    }
}

impl Key {
    /// The key of a seed.
    pub fn new(seed: u64) -> Key {
        Key { philox: Philox::new(seed, 0), traced: None, device: Device::Cpu }
    }

    /// The key for purpose number `n` under this key: independent of it and of those of other numbers.
    #[must_use]
    pub fn fold(&self, n: u64) -> Key {
        let traced = self.traced.as_ref().map(|halves| Arc::new(random::fold(halves, n)));
        Key { philox: self.philox.fold(n), traced, device: self.device }
    }

    /// The same key for tensors on a device, which get the same numbers there.
    #[must_use]
    pub fn on(&self, device: Device) -> Key {
        Key { device, ..self.clone() }
    }

    /// Block number `position`: four random words.
    #[track_caller]
    pub fn bits(&self, position: u64) -> [u32; 4] {
        self.on_host().blocks(position).map(|[word]| word)
    }

    /// The key as two operands of rank 0, which live in no memory: a new key makes no new operation.
    pub fn operands(&self) -> [Tensor; 2] {
        match &self.traced {
            Some(halves) => (**halves).clone(),
            None => self.philox.halves().map(Tensor::uniform_value),
        }
    }

    /// The same key as the next two inputs of `trace`, which are its [operands](Key::operands): plans draw by what they are
    /// given there.
    ///
    /// # Errors
    /// As [`Trace::input`].
    pub fn traced_by(&self, trace: &Trace) -> Result<Key> {
        let [seed, stream] = self.philox.halves().map(Tensor::uniform_value);
        let halves = [trace.input(&seed)?, trace.input(&stream)?];
        Ok(Key { philox: self.philox, traced: Some(Arc::new(halves)), device: self.device })
    }

    /// The generator, for what is drawn on the host.
    #[track_caller]
    fn on_host(&self) -> Philox {
        if let Some(halves) = &self.traced {
            halves[0].escape();
        }
        self.philox
    }

    /// Numbers spread evenly over `low..high`, `f32`.
    ///
    /// # Errors
    /// A shape beyond memory; bounds that are not finite or cross.
    #[track_caller]
    pub fn uniform(&self, shape: impl IntoShape, low: f64, high: f64) -> Result<Tensor> {
        self.uniform_as(shape, low, high, DType::F32)
    }

    /// [`Key::uniform`] in another floating-point type.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn uniform_as(&self, shape: impl IntoShape, low: f64, high: f64, dtype: DType) -> Result<Tensor> {
        let at = Location::caller();
        let shape = shape.into_shape()?;
        if !(low.is_finite() && high.is_finite() && low <= high) {
            return Err(Error::argument("uniform", format!("{low}..{high} is no range")).at(at));
        }
        self.draw(Distribution::Uniform, shape, dtype, low, high)
    }

    /// Whole numbers of `low..high`, each as likely as the others, `i64`.
    ///
    /// ```
    /// use kiln_tensor::Key;
    /// let dice = Key::new(0).integers([2, 100], 1, 7)?;
    /// assert!(dice.to_vec::<i64>()?.iter().all(|n| (1..7).contains(n)));
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// A shape beyond memory; bounds between which there is no number, or more than 2⁵³.
    #[track_caller]
    pub fn integers(&self, shape: impl IntoShape, low: i64, high: i64) -> Result<Tensor> {
        let at = Location::caller();
        let shape = shape.into_shape()?;
        let count = i128::from(high) - i128::from(low);
        if !(1..=1 << f64::MANTISSA_DIGITS).contains(&count) {
            let text = format!("{low}..{high} has {} numbers", count.max(0));
            return Err(Error::argument("integers", text).help("give a range of 1 to 2^53").at(at));
        }
        // The largest share, 1 - 2⁻⁵³, of a count up to 2⁵³ lies nearer to a number below it than to the count.
        let share = self.uniform_as(shape, 0.0, 1.0, DType::F64)?;
        share.mul(count as f64)?.cast(DType::I64)?.add(low)
    }

    /// Normally distributed numbers, `f32` (Box and Muller 1958).
    ///
    /// # Errors
    /// A shape beyond memory; a negative deviation.
    #[track_caller]
    pub fn normal(&self, shape: impl IntoShape, mean: f64, deviation: f64) -> Result<Tensor> {
        self.normal_as(shape, mean, deviation, DType::F32)
    }

    /// [`Key::normal`] in another floating-point type.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn normal_as(&self, shape: impl IntoShape, mean: f64, deviation: f64, dtype: DType) -> Result<Tensor> {
        let shape = checked("normal", shape, mean, deviation)?;
        self.draw(Distribution::Normal, shape, dtype, mean, deviation)
    }

    /// Normally distributed numbers within two deviations of the mean, `f32`. `deviation` is that of the distribution
    /// before it is cut; after, it is 0.8796 of it.
    ///
    /// # Errors
    /// A shape beyond memory; a negative deviation.
    #[track_caller]
    pub fn truncated_normal(&self, shape: impl IntoShape, mean: f64, deviation: f64) -> Result<Tensor> {
        self.truncated_normal_as(shape, mean, deviation, DType::F32)
    }

    /// [`Key::truncated_normal`] in another floating-point type.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn truncated_normal_as(
        &self,
        shape: impl IntoShape,
        mean: f64,
        deviation: f64,
        dtype: DType,
    ) -> Result<Tensor> {
        let shape = checked("truncated_normal", shape, mean, deviation)?;
        self.draw(Distribution::TruncatedNormal, shape, dtype, mean, deviation)
    }

    /// `true` with probability `p`.
    ///
    /// # Errors
    /// A shape beyond memory; a probability outside of 0 to 1.
    #[track_caller]
    pub fn bernoulli(&self, shape: impl IntoShape, p: f64) -> Result<Tensor> {
        let at = Location::caller();
        let shape = shape.into_shape()?;
        if !(0.0..=1.0).contains(&p) {
            return Err(Error::argument("bernoulli", format!("{p} is no probability")).at(at));
        }
        self.draw(Distribution::Bernoulli, shape, DType::Bool, p, 0.0)
    }

    #[track_caller]
    fn draw(&self, distribution: Distribution, shape: Shape, dtype: DType, a: f64, b: f64) -> Result<Tensor> {
        let op = Random { distribution, shape, dtype, device: self.device };
        for parameter in [a, b] {
            if !with_element!(dtype, T => <T as Element>::from_f64(parameter).to_f64().is_finite()) {
                let text = format!("{parameter:e} is beyond the numbers of {dtype}");
                return Err(Error::argument(op.name(), text).help("draw in a wider type").at(Location::caller()));
            }
        }
        random::draw(self, op, a, b)
    }

    /// The numbers `0..n` in random order.
    ///
    /// # Errors
    /// More numbers than memory holds.
    #[track_caller]
    pub fn permutation(&self, n: usize) -> Result<Vec<usize>> {
        let at = Location::caller();
        let shape = Shape::new(&[n]).map_err(|error| error.renamed("shape", "permutation").at(at))?;
        let mut order = room("permutation", n, Spec::new(shape, DType::I64)).map_err(|error| error.at(at))?;
        order.extend(0..n);
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64, i as u64 + 1) as usize);
        }
        Ok(order)
    }

    /// A number below `bound`, from block `position`: the high half of a 128-bit product, whose bias is below 2⁻⁶⁴ · bound.
    #[track_caller]
    pub fn below(&self, position: u64, bound: u64) -> u64 {
        let [a, b, ..] = self.bits(position);
        let word = u64::from(a) << 32 | u64::from(b);
        ((u128::from(word) * u128::from(bound)) >> 64) as u64
    }
}

// Two keys that draw the same are the same, recorded or not.
impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.philox == other.philox
    }
}
impl Eq for Key {}
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.philox.hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:#018x}, {:#018x})", self.philox.seed, self.philox.stream)
    }
}

#[track_caller]
fn checked(op: &str, shape: impl IntoShape, mean: f64, deviation: f64) -> Result<Shape> {
    let at = Location::caller();
    if !mean.is_finite() || !deviation.is_finite() || deviation < 0.0 {
        return Err(
            Error::argument(op, format!("mean {mean} and deviation {deviation} describe no distribution")).at(at)
        );
    }
    shape.into_shape().map_err(|e| e.at(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_spread_over_their_range() {
        let key = Key::new(7);
        let drawn = key.integers([7000], -3, 4).unwrap().to_vec::<i64>().unwrap();
        for n in -3..4 {
            let count = drawn.iter().filter(|&&other| other == n).count();
            assert!((850..1150).contains(&count), "{n}: {count}");
        }
        assert_eq!(drawn.iter().filter(|n| (-3..4).contains(*n)).count(), drawn.len());
        let wide = key.integers([1000], i64::MAX - (1 << 53), i64::MAX).unwrap().to_vec::<i64>().unwrap();
        assert!(wide.iter().all(|n| (i64::MAX - (1 << 53)..i64::MAX).contains(n)) && wide.iter().any(|n| n % 2 == 0));
        assert_eq!(key.integers([2, 0], 5, 6).unwrap().shape().dims(), [2, 0]);
        assert!(key.integers([9], 5, 6).unwrap().to_vec::<i64>().unwrap().iter().all(|&n| n == 5));
        for (low, high) in [(1, 1), (2, 1), (i64::MIN, i64::MAX), (0, (1 << 53) + 1)] {
            let error = key.integers([2], low, high).unwrap_err();
            assert!(error.to_string().contains("integers"), "{error}");
        }
    }

    /// The published test vectors of Random123.
    #[test]
    fn known_answers() {
        let philox = |counter: [u32; 4], key| philox(counter.map(|word| [word]), key).map(|[word]| word);
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(pi, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    /// What these draws are and stay, on every machine.
    #[test]
    fn settled_bits() {
        let key = Key::new(42).fold(7);
        let bits32 = |t: Tensor| t.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let bits64 = |t: Tensor| t.to_vec::<f64>().unwrap().into_iter().map(f64::to_bits).collect::<Vec<_>>();
        assert_eq!(key.bits(0), [0x590b_306d, 0xc46c_42d1, 0x5dd1_9f54, 0x7163_f5a5]);
        assert_eq!(
            bits32(key.uniform([5], -1.0, 3.0).unwrap()),
            [0x3ec8_5980, 0x4004_6c42, 0x3eee_8cf8, 0x3f45_8fd4, 0xbe57_2f30]
        );
        assert_eq!(
            bits64(key.uniform_as([3], -1.0, 3.0, DType::F64).unwrap()),
            [0x3fd9_0b30_6dc4_6c40, 0x3fdd_d19f_5471_63f0, 0xbfca_e5e5_b2f5_f970]
        );
        assert_eq!(
            bits32(key.normal([5], 0.0, 1.0).unwrap()),
            [0x3e21_3b4e, 0xbfb8_eda4, 0xbfa9_d43d, 0x3efe_96f1, 0xbfe4_d02c]
        );
        assert_eq!(
            bits64(key.normal_as([3], 0.0, 1.0, DType::F64).unwrap()),
            [0xbfef_13ef_4e3c_d5d8, 0x3ff1_4c6c_788d_bb79, 0xbffa_f05b_4447_1802]
        );
        assert_eq!(
            bits32(key.truncated_normal([5], 0.0, 1.0).unwrap()),
            [0xbebe_bba2, 0x3f30_d037, 0xbea6_72b2, 0xbe0c_4146, 0xbf4d_5a5c]
        );
        assert_eq!(
            bits64(key.truncated_normal_as([3], 0.0, 1.0, DType::F64).unwrap()),
            [0xbfd7_d774_48bd_af3f, 0xbfd4_ce56_4565_5580, 0xbfe9_ab4b_7290_4456]
        );
        assert_eq!(key.bernoulli([6], 0.5).unwrap().to_vec::<bool>().unwrap(), [true, false, true, true, true, false]);
    }

    #[test]
    fn narrow_types_never_reach_the_upper_bound() {
        for dtype in [DType::F16, DType::BF16, DType::F32] {
            for (low, high) in [(0.0, 1.0), (0.0, 4.0), (-3.0, -1.0), (0.3, 0.300_01), (-1.0, 0.0)] {
                let x = Key::new(3).uniform_as([1 << 20], low, high, dtype).unwrap().to_vec_as::<f64>();
                assert!(x.iter().all(|x| *x < high), "{dtype} {low}..{high}");
            }
        }
        let wide = Key::new(1).uniform_as([1000], -1.7e308, 1.7e308, DType::F64).unwrap().to_vec::<f64>().unwrap();
        assert!(wide.iter().all(|x| x.is_finite()));
        assert!(Key::new(1).uniform_as([3], 0.0, 9.0, DType::I64).is_err());
        assert!(Key::new(1).uniform([3], 0.0, 1e39).is_err() && Key::new(1).normal([3], 0.0, 1e39).is_err());
        // Bounds that are operands are the caller's: no number, but an end.
        let op = Random {
            distribution: Distribution::Uniform,
            shape: Shape::from_slice(&[3]),
            dtype: DType::F32,
            device: Device::Cpu,
        };
        assert!(random::draw(&Key::new(1), op, 0.0, f64::INFINITY).is_ok());
    }

    #[test]
    fn moments() {
        let key = Key::new(7);
        let moments = |t: Tensor| {
            let x = t.to_vec_as::<f64>();
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            (mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64).sqrt(), x)
        };
        let (mean, deviation, x) = moments(key.uniform([100_000], -1.0, 3.0).unwrap());
        assert!((mean - 1.0).abs() < 0.02 && (deviation - 4.0 / 12f64.sqrt()).abs() < 0.02);
        assert!(x.iter().all(|x| (-1.0..3.0).contains(x)));
        let (mean, deviation, _) = moments(key.fold(1).normal([100_000], 2.0, 0.5).unwrap());
        assert!((mean - 2.0).abs() < 0.01 && (deviation - 0.5).abs() < 0.01);
        let (mean, deviation, x) = moments(key.fold(2).truncated_normal([100_000], 0.0, 1.0).unwrap());
        assert!(mean.abs() < 0.01 && (deviation - 0.879_6).abs() < 0.01 && x.iter().all(|x| x.abs() <= 2.0));
        let (mean, _, _) = moments(key.fold(3).bernoulli([100_000], 0.3).unwrap());
        assert!((mean - 0.3).abs() < 0.01);
        let (mean, deviation, _) = moments(key.fold(4).normal_as([100_000], 2.0, 0.5, DType::F64).unwrap());
        assert!((mean - 2.0).abs() < 0.01 && (deviation - 0.5).abs() < 0.01);
        let (mean, deviation, _) = moments(key.fold(5).truncated_normal_as([100_000], 0.0, 1.0, DType::F64).unwrap());
        assert!(mean.abs() < 0.01 && (deviation - 0.879_6).abs() < 0.01);
        let mut order = key.permutation(1000).unwrap();
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &x)| i == x));
    }

    #[test]
    fn a_permutation_without_memory_is_an_error() {
        assert!(Key::new(0).permutation(0).unwrap().is_empty());
        for n in [1 << 44, 1 << 60, usize::MAX] {
            let text = Key::new(0).permutation(n).unwrap_err().to_string();
            assert!(text.starts_with("permutation: ") && text.contains("memory"), "{text}");
        }
    }
}
