//! Attention as functions: what each query sees of all values, in one head or in several, and positions as rotations. Made of
//! products and a softmax.

mod cpu;
mod cuda;
mod tiled;

use tiled::Sizes;
pub use tiled::{Attend, AttendGrad};

use super::{Apply, CastOps, Ops, ViewOps, concat, keep};
use crate::{DType, Device, Error, Result, Tensor};
use std::panic::Location;

/// What a query may see. The default is everything, with scores divided by the square root of the number of features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionOptions<'a, V> {
    /// Where it holds, a query sees a key; of numbers, what is added to the scores. It broadcasts to `[…, L, S]`.
    pub mask: Option<&'a V>,
    /// Whether query `i` sees keys up to `i` alone.
    pub causal: bool,
    /// What scores are multiplied by, instead of `1 / √features`.
    pub scale: Option<f64>,
}

impl<V> Default for AttentionOptions<'_, V> {
    fn default() -> Self {
        AttentionOptions { mask: None, causal: false, scale: None }
    }
}

/// The projections of an attention in several heads, as PyTorch has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MultiHead<'a, V> {
    /// How many heads, which share the features evenly.
    pub heads: usize,
    /// The projections of queries, keys and values, one below the other: `[3 · E, E]`.
    pub in_weight: &'a V,
    /// What is added to these, `[3 · E]`.
    pub in_bias: Option<&'a V>,
    /// The projection of all heads, side by side: `[E, E]`.
    pub out_weight: &'a V,
    /// What is added to it, `[E]`.
    pub out_bias: Option<&'a V>,
    /// Which keys count, `[N, S]`; of numbers, what is added to the scores.
    pub key_mask: Option<&'a V>,
}

/// Attention.
pub trait AttentionOps: Ops + Apply<Attend> {
    /// `softmax(q · kᵀ · scale) · v` for queries, these values (Vaswani et al. 2017). A query that may see nothing gives
    /// zeros, and passes no gradient on. Keys and values with fewer heads, in the dimension before the last two, each serve as
    /// many heads of queries. The shares are never in memory, however many keys there are, on a CPU, and on a GPU in `f16` and `bf16`
    /// without a mask, with features in sixteens up to 128.
    ///
    /// # Shapes
    /// Queries `[…, L, E]`, keys `[…, S, E]` and values `[…, S, F]` give `[…, L, F]`; leading dimensions broadcast.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let (q, k) = (Tensor::new([[0.0], [0.0]]), Tensor::new([[5.0], [7.0]]));
    /// let v = Tensor::new([[2.0], [4.0]]);
    /// let causal = AttentionOptions { causal: true, ..AttentionOptions::default() };
    /// assert_eq!(q.scaled_dot_product_attention(&k, &v, &causal)?.to_vec::<f64>()?, [2.0, 3.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Shapes that do not fit; a number of heads that does not divide that of the queries.
    #[track_caller]
    fn scaled_dot_product_attention(
        &self,
        key: &Self,
        value: &Self,
        options: &AttentionOptions<'_, Self>,
    ) -> Result<Self> {
        let at = Location::caller();
        let seen = || {
            let (key, value) = (&for_heads_of(self, key)?, &for_heads_of(self, value)?);
            let Some(sizes) = Sizes::of(Self::shape(self), Self::shape(key), Self::shape(value)) else {
                return Err(Attend::misfit(Self::shape(self), Self::shape(key), Self::shape(value)));
            };
            let is_tiled = cuda::has_kernel(Self::dtype(self), &sizes, options.mask.is_some());
            if self.tensor().device() != Device::Cpu && !is_tiled {
                return self.attention_shares(key, options)?.matmul(value);
            }
            let scale = options.scale.unwrap_or(1.0 / (sizes.inner as f64).sqrt());
            let op = Attend { scale, causal: options.causal };
            match options.mask {
                None => Self::apply_one(op, &[self, key, value]),
                Some(mask) if Self::dtype(mask).is_integer() => {
                    Self::apply_one(op, &[self, key, value, &mask.cast(Self::dtype(self))?])
                }
                Some(mask) => Self::apply_one(op, &[self, key, value, mask]),
            }
        };
        seen().map_err(|e: Error| e.within("scaled_dot_product_attention", at))
    }

    /// The share of each key for each query, `softmax(q · kᵀ · scale)`, of which [`scaled_dot_product_attention`] is the mean of
    /// the values; all in memory.
    ///
    /// # Shapes
    /// Queries `[…, L, E]` and keys `[…, S, E]` give `[…, L, S]`; leading dimensions broadcast.
    ///
    /// # Errors
    /// Shapes that do not fit.
    ///
    /// [`scaled_dot_product_attention`]: AttentionOps::scaled_dot_product_attention
    #[track_caller]
    fn attention_shares(&self, key: &Self, options: &AttentionOptions<'_, Self>) -> Result<Self> {
        let at = Location::caller();
        shares(self, key, options, None).map_err(|e| e.within("attention_shares", at))
    }

    /// Several attentions side by side, each with its own projections: the result, and the share of each key in each head,
    /// `[N, heads, L, S]`. Scores are scaled and masked as `options` says, whose mask broadcasts to those shares.
    ///
    /// # Shapes
    /// Queries `[N, L, E]`, keys and values `[N, S, E]` give `[N, L, E]`.
    ///
    /// # Errors
    /// Shapes that do not fit; a number of heads that does not divide that of the features.
    #[track_caller]
    fn multi_head_attention(
        &self,
        key: &Self,
        value: &Self,
        projections: &MultiHead<'_, Self>,
        options: &AttentionOptions<'_, Self>,
    ) -> Result<(Self, Self)> {
        let at = Location::caller();
        multi_head([self, key, value], projections, options).map_err(|e| e.within("multi_head_attention", at))
    }

    /// Features turned by angles that grow with their position, so that products of two depend on how far they are apart
    /// (Su et al. 2021): pair `i` of `d / 2` at position `p` is turned by `p / base^(2 i / d)`. A pair are neighbours if
    /// `interleaved`, else a feature of the first half and one of the second.
    ///
    /// # Shapes
    /// `[…, T, D]` with an even `D`, and positions `[T]`, or of the leading dimensions too.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1.0, 0.0], [1.0, 0.0]]);
    /// let y = x.rotary_embedding(&Tensor::new([0, 1]), 1e4, true)?;
    /// assert_eq!(y.to_vec::<f64>()?, [1.0, 0.0, 1f64.cos(), 1f64.sin()]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An odd number of features; positions that do not fit.
    #[track_caller]
    fn rotary_embedding(&self, positions: &Self, base: f64, interleaved: bool) -> Result<Self> {
        let at = Location::caller();
        rotary(self, positions, base, interleaved).map_err(|e| e.within("rotary_embedding", at))
    }
}
impl<V: Ops + Apply<Attend>> AttentionOps for V {}

/// The share of each key for each query.
fn shares<V: Ops>(q: &V, k: &V, options: &AttentionOptions<'_, V>, more: Option<&V>) -> Result<V> {
    let (a, b) = (*V::shape(q), *V::shape(k));
    if a.rank() < 2 || b.rank() < 2 || a[a.rank() - 1] != b[b.rank() - 1] {
        let text = format!("needs queries [..., L, E] and keys [..., S, E], found {a} and {b}");
        return Err(Error::shape("scaled_dot_product_attention", text));
    }
    let features = a[a.rank() - 1] as f64;
    // The smaller factor, not the scores.
    let mut scores = q.mul(options.scale.unwrap_or(1.0 / features.sqrt()))?.matmul(&k.transpose(-1, -2)?)?;
    let [rows, columns] = [a[a.rank() - 2], b[b.rank() - 2]];
    let causal = match options.causal {
        true => {
            let row = Tensor::arange(0, rows as i64, 1)?.unsqueeze(1)?;
            Some(q.beside(row)?.ge(&q.beside(Tensor::arange(0, columns as i64, 1)?)?)?)
        }
        false => None,
    };
    if causal.is_none() && options.mask.is_none() && more.is_none() {
        return scores.softmax(-1);
    }
    for mask in [causal.as_ref(), options.mask, more].into_iter().flatten() {
        scores = match V::dtype(mask) {
            DType::Bool => mask.select(&scores, f64::NEG_INFINITY)?,
            _ => scores.add(mask)?,
        };
    }
    if options.mask.is_none() && more.is_none() {
        // Every query sees the first key.
        return scores.softmax(-1);
    }
    // Where nothing may be seen, the softmax of anything else stands in for that of nothing.
    let open = scores.detach().gt(f64::NEG_INFINITY)?.any(keep(-1))?;
    open.select(&open.select(&scores, 0.0)?.softmax(-1)?, 0.0)
}

/// Keys or values of which each head serves a group of the queries' heads, repeated for each of the group.
fn for_heads_of<V: Ops>(q: &V, x: &V) -> Result<V> {
    let (queries, own) = (*V::shape(q), *V::shape(x));
    let rank = own.rank();
    if rank < 3 || queries.rank() != rank || queries[rank - 3] == own[rank - 3] || own[rank - 3] == 1 {
        return Ok(x.clone());
    }
    let [many, few] = [queries[rank - 3], own[rank - 3]];
    if few == 0 || !many.is_multiple_of(few) {
        let text = format!("{few} heads of keys or values do not divide {many} heads of queries");
        return Err(Error::shape("scaled_dot_product_attention", text));
    }
    let mut dims = own.to_vec();
    dims.insert(rank - 2, many / few);
    x.unsqueeze(-3)?.expand(dims)?.flatten(-4, -3)
}

fn multi_head<V: Ops>(x: [&V; 3], projections: &MultiHead<'_, V>, options: &AttentionOptions<'_, V>) -> Result<(V, V)> {
    let (shape, heads) = (*V::shape(x[0]), projections.heads);
    let width = shape.last().copied().unwrap_or(0);
    if shape.rank() != 3 || heads == 0 || !width.is_multiple_of(heads) {
        let text = format!("needs queries [N, L, E] with features that {heads} heads divide, found {shape}");
        return Err(Error::shape("multi_head_attention", text));
    }
    let weights = projections.in_weight.split(&[width; 3], 0)?;
    let biases = projections.in_bias.map(|bias| bias.split(&[width; 3], 0)).transpose()?;
    let project = |i: usize| {
        let y = x[i].matmul(&weights[i].t()?)?;
        let y = if let Some(biases) = &biases { y.add(&biases[i])? } else { y };
        // [N, T, heads · D] as [N, heads, T, D].
        y.unflatten(-1, &[heads, width / heads])?.transpose(1, 2)
    };
    let keys = projections.key_mask.map(|mask| mask.unsqueeze(1)?.unsqueeze(1)).transpose()?;
    let shares = shares(&project(0)?, &project(1)?, options, keys.as_ref())?;
    let y = shares.matmul(&project(2)?)?.transpose(1, 2)?.flatten(2, 3)?;
    let y = y.matmul(&projections.out_weight.t()?)?;
    let y = if let Some(bias) = projections.out_bias { y.add(bias)? } else { y };
    Ok((y, shares))
}

fn rotary<V: Ops>(x: &V, positions: &V, base: f64, interleaved: bool) -> Result<V> {
    let shape = *V::shape(x);
    let width = shape.last().copied().unwrap_or(0);
    if shape.rank() < 2 || width % 2 == 1 {
        let text = format!("needs [..., T, D] with an even number of features, found {shape}");
        return Err(Error::shape("rotary_embedding", text));
    }
    let half = width / 2;
    // Angles of half precision would be wrong from position 2048 on.
    let wide = if V::dtype(x) == DType::F64 { DType::F64 } else { DType::F32 };
    let speeds: Vec<f64> = (0..half).map(|i| base.powf(-2.0 * i as f64 / width as f64)).collect();
    let speeds = x.beside(Tensor::from_vec(speeds, half)?.cast(wide)?)?;
    let angles = positions.cast(wide)?.unsqueeze(-1)?.mul(&speeds)?;
    let dtype = V::dtype(x).to_float();
    let (sin, cos) = (angles.sin()?, angles.cos()?);
    let pairs = x.cast(wide)?;
    let pairs = if interleaved { pairs.unflatten(-1, &[half, 2])? } else { pairs.unflatten(-1, &[2, half])? };
    let axis = if interleaved { -1 } else { -2 };
    let (a, b) = (pairs.index(axis, 0)?, pairs.index(axis, 1)?);
    let turned = [a.mul(&cos)?.sub(&b.mul(&sin)?)?, a.mul(&sin)?.add(&b.mul(&cos)?)?];
    let turned = turned.map(|x| x.unsqueeze(axis));
    let [a, b] = turned;
    let y = concat(&[&a?, &b?], axis)?.reshape(shape)?;
    y.cast(dtype)
}
