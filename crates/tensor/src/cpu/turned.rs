//! Short rows side by side: what costs one row a walk across the lanes of a register costs all of them an instruction per
//! element.

#![expect(clippy::needless_range_loop, reason = "an iterator's methods may not be inlined into an instruction set")]

/// Rows that are worked on together: a register of the widest set.
pub const ROWS: usize = 16;
/// The longest rows for which it pays.
pub const SHORT: usize = 32;

/// Element `i` of each of [`ROWS`] rows, in `[i]`.
pub type Turned<C> = [[C; ROWS]; SHORT];

/// Puts `count` rows of at most [`SHORT`] elements, which `row` gives, into the lanes of `turned`, each element through
/// `load`. Lanes without a row keep what they hold.
#[inline(always)]
pub fn turn<'a, T: Copy + 'a, C>(
    count: usize,
    row: impl Fn(usize) -> &'a [T],
    load: impl Fn(T) -> C,
    turned: &mut Turned<C>,
) {
    for lane in 0..count {
        let row = row(lane);
        for i in 0..row.len().min(SHORT) {
            turned[i][lane] = load(row[i]);
        }
    }
}
