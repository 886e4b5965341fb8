//! Functions whose bits are part of what a random number is: sums, products, quotients, roots and fused multiply-adds,
//! each rounded as IEEE 754 says, so that every device gives the same. Not for general use: the arguments are those that
//! draws have.

/// `cos πa` and `sin πa` for -1 ≤ a < 1.
macro_rules! turn {
    ($name:ident, $t:ident, $cos:expr, $sin:expr) => {
        #[inline(always)]
        pub(super) fn $name(a: $t) -> ($t, $t) {
            // Quarter turns, and what is left of the nearest: at most an eighth of a turn on either side.
            let quarters = (a + a).round_ties_even();
            let x = (-0.5 as $t).mul_add(quarters, a) * std::f64::consts::PI as $t;
            let z = x * x;
            let polynomial = |c: &[$t]| c[1..].iter().fold(c[0], |p, &c| p.mul_add(z, c));
            let (cos, sin) = (polynomial(&$cos), polynomial(&$sin) * x);
            // -2 ≤ quarters ≤ 2. Selections and not branches, for the sake of vectors.
            let (odd, half) = (quarters.abs() == 1.0, quarters.abs() == 2.0);
            let (a, b) = (if odd { sin } else { cos }, if odd { cos } else { sin });
            (if half | (quarters == 1.0) { -a } else { a }, if half | (quarters == -1.0) { -b } else { b })
        }
    };
}
// The series of Taylor, whose first omitted term is below half a unit in the last place.
turn!(
    turn_f32,
    f32,
    [-1.0 / 3_628_800.0, 1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0],
    [1.0 / 362_880.0, -1.0 / 5_040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0]
);
turn!(
    turn_f64,
    f64,
    [
        -1.0 / 6_402_373_705_728_000.0,
        1.0 / 20_922_789_888_000.0,
        -1.0 / 87_178_291_200.0,
        1.0 / 479_001_600.0,
        -1.0 / 3_628_800.0,
        1.0 / 40_320.0,
        -1.0 / 720.0,
        1.0 / 24.0,
        -0.5,
        1.0
    ],
    [
        1.0 / 355_687_428_096_000.0,
        -1.0 / 1_307_674_368_000.0,
        1.0 / 6_227_020_800.0,
        -1.0 / 39_916_800.0,
        1.0 / 362_880.0,
        -1.0 / 5_040.0,
        1.0 / 120.0,
        -1.0 / 6.0,
        1.0
    ]
);

/// `ln x` for normal x > 0: with x = 2^e · m and s = (m - 1) / (m + 1), `e ln 2 + 2 (s + s³/3 + s⁵/5 + …)`.
macro_rules! logarithm {
    ($name:ident, $t:ident, $int:ident, $bits:ident, $mantissa:literal, $terms:literal) => {
        #[inline(always)]
        pub(super) fn $name(x: $t) -> $t {
            // m lies between √½ and √2: the bits of numbers order as their values do.
            let above = (x.to_bits() as $int).wrapping_sub((std::f64::consts::FRAC_1_SQRT_2 as $t).to_bits() as $int);
            let e = above >> $mantissa;
            let m = <$t>::from_bits((x.to_bits() as $int).wrapping_sub(e << $mantissa) as $bits);
            let s = (m - 1.0) / (m + 1.0);
            let z = s * s;
            let mut tail = 0.0 as $t;
            for k in (1..=$terms).rev() {
                tail = tail.mul_add(z, 1.0 / (2 * k + 1) as $t);
            }
            let series = (2.0 * s).mul_add(tail * z, 2.0 * s);
            // ln 2 in two parts, the first of which has few enough bits for its product with e to be exact.
            const HIGH: f64 = 0.693_359_375;
            const LOW: f64 = -2.121_944_400_546_905_8e-4;
            let (high, low) = (HIGH as $t, LOW as $t);
            (e as $t).mul_add(high, (e as $t).mul_add(low, series))
        }
    };
}
logarithm!(ln_f32, f32, i32, u32, 23, 5);
logarithm!(ln_f64, f64, i64, u64, 52, 11);

/// The quantile of the normal distribution for 0.02 < p < 0.98 (algorithm AS 241, Wichura 1988).
#[inline(always)]
pub(super) fn quantile(p: f64) -> f64 {
    let ratio = |x: f64, a: [f64; 8], b: [f64; 8]| {
        let value = |c: [f64; 8]| c[1..].iter().fold(c[0], |sum, &c| sum.mul_add(x, c));
        value(a) / value(b)
    };
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let numerator = [
            2.509_080_928_730_122_7e3,
            3.343_057_558_358_813e4,
            6.726_577_092_700_87e4,
            4.592_195_393_154_987e4,
            1.373_169_376_550_946e4,
            1.971_590_950_306_551_3e3,
            1.331_416_678_917_843_8e2,
            3.387_132_872_796_366_5,
        ];
        let denominator = [
            5.226_495_278_852_854e3,
            2.872_908_573_572_194_3e4,
            3.930_789_580_009_271e4,
            2.121_379_430_158_659_7e4,
            5.394_196_021_424_751e3,
            6.871_870_074_920_579e2,
            4.231_333_070_160_091e1,
            1.0,
        ];
        return q * ratio(0.180_625 - q * q, numerator, denominator);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let numerator = [
        7.745_450_142_783_414e-4,
        2.272_384_498_926_918_4e-2,
        2.417_807_251_774_506e-1,
        1.270_458_252_452_368_4,
        3.647_848_324_763_204_5,
        5.769_497_221_460_691,
        4.630_337_846_156_546,
        1.423_437_110_749_683_5,
    ];
    let denominator = [
        1.050_750_071_644_416_9e-9,
        5.475_938_084_995_345e-4,
        1.519_866_656_361_645_7e-2,
        1.481_039_764_274_800_8e-1,
        6.897_673_349_851e-1,
        1.676_384_830_183_803_8,
        2.053_191_626_637_759,
        1.0,
    ];
    let x = ratio((-ln_f64(tail)).sqrt() - 1.6, numerator, denominator);
    if q < 0.0 { -x } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_functions_they_stand_for() {
        for i in 0..200_000 {
            let a = f64::from(i) / 100_000.0 - 1.0;
            let (cos, sin) = turn_f64(a);
            let (exact_cos, exact_sin) = ((a * std::f64::consts::PI).cos(), (a * std::f64::consts::PI).sin());
            assert!((cos - exact_cos).abs() < 1e-15 && (sin - exact_sin).abs() < 1e-15, "{a}");
            let (cos, sin) = turn_f32(a as f32);
            let a = f64::from(a as f32) * std::f64::consts::PI;
            assert!((f64::from(cos) - a.cos()).abs() < 2e-7 && (f64::from(sin) - a.sin()).abs() < 2e-7, "{a}");
        }
        assert_eq!((turn_f64(-1.0), turn_f32(0.5)), ((-1.0, 0.0), (0.0, 1.0)));
        for i in 1..200_000 {
            let x = (f64::from(i) / 200_000.0).powi(5);
            assert!((ln_f64(x) - x.ln()).abs() <= 1e-15 * x.ln().abs().max(1e-10), "{x}: {} {}", ln_f64(x), x.ln());
            let (y, exact) = (ln_f32(x as f32), f64::from(x as f32).ln());
            assert!((f64::from(y) - exact).abs() <= 2e-7 * exact.abs(), "{x}: {y} {exact}");
        }
        assert_eq!((ln_f64(1.0), ln_f32(1.0)), (0.0, 0.0));
    }

    #[test]
    fn the_quantile_inverts_the_distribution() {
        for i in 0..10_000 {
            let p = 0.0228 + 0.9544 * f64::from(i) / 9_999.0;
            let back = 0.5 * libm::erfc(-quantile(p) / std::f64::consts::SQRT_2);
            assert!((back - p).abs() < 3e-16, "{p}: {back}");
        }
    }
}
