//! Choices, one after the other, read from the fuzzer's bytes. A copy makes the same ones again.

use arbitrary::{Arbitrary, Unstructured};

/// Bytes that become choices. Where they end, the choices go on by chance, which all of the bytes decide: so short inputs
/// are whole programs too.
#[derive(Clone)]
pub struct Choices<'a> {
    bytes: &'a [u8],
    chance: u64,
}

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Choices<'a> {
        // FNV-1a.
        let hash = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Choices { bytes, chance: bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash) }
    }

    /// Whether all bytes are used up.
    pub fn is_done(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A value of a number's type.
    pub fn any<T: for<'b> Arbitrary<'b> + Default>(&mut self) -> T {
        if self.bytes.len() >= size_of::<T>() {
            let mut source = Unstructured::new(self.bytes);
            let value = source.arbitrary().unwrap_or_default();
            self.bytes = source.take_rest();
            return value;
        }
        self.bytes = &[];
        // SplitMix64.
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Unstructured::new(&(mixed ^ (mixed >> 31)).to_le_bytes()).arbitrary().unwrap_or_default()
    }

    /// A number below `bound`, of one byte or two.
    pub fn below(&mut self, bound: usize) -> usize {
        match bound {
            0 | 1 => 0,
            2..=256 => usize::from(self.any::<u8>()) % bound,
            _ => usize::from(self.any::<u16>()) % bound,
        }
    }

    pub fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Whether to choose what has no meaning: once in 16 times.
    pub fn wild(&mut self) -> bool {
        self.below(16) == 15
    }

    /// An axis of `rank`, from the front or from behind; sometimes one that does not exist.
    pub fn axis(&mut self, rank: usize) -> isize {
        if self.wild() {
            return self.of(&[rank as isize, -1 - rank as isize, isize::MAX, isize::MIN, 100]);
        }
        self.below(2 * rank.max(1)) as isize - rank.max(1) as isize
    }

    /// A length or a count; sometimes one beyond memory. None between, which would only take time.
    pub fn size(&mut self, bound: usize) -> usize {
        if self.wild() {
            return self.of(&[usize::MAX, usize::MAX / 2, isize::MAX as usize, 1 << 62, 1 << 48, 0]);
        }
        self.below(bound + 1)
    }

    /// A size that is not 0, but where it is wild.
    pub fn positive(&mut self, bound: usize) -> usize {
        if self.wild() { self.size(bound) } else { 1 + self.below(bound) }
    }

    /// A place, before or behind an end too; sometimes an extreme.
    pub fn place(&mut self, length: usize) -> isize {
        if self.wild() {
            return self.of(&[isize::MAX, isize::MIN, isize::MIN + 1, 1 << 62, -(1 << 62)]);
        }
        self.below(2 * length + 3) as isize - length as isize - 1
    }

    /// A number: small, special, or any.
    pub fn number(&mut self) -> f64 {
        match self.below(8) {
            0..=3 => self.below(33) as f64 / 8.0 - 2.0,
            4 => self.below(11) as f64 - 5.0,
            5 => self.of(&SPECIAL),
            6 => f64::from(self.any::<i32>()),
            _ => self.any::<f64>(),
        }
    }

    /// A number that is small and positive, but where it is wild.
    pub fn amount(&mut self) -> f64 {
        if self.wild() { self.number() } else { 0.125 * (1 + self.below(32)) as f64 }
    }
}

const SPECIAL: [f64; 14] = [
    0.0,
    -0.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE,
    5e-324,
    f64::EPSILON,
    3.402_823_5e38,
    65504.0,
    -9.223_372_036_854_775_8e18,
    0.5,
];
