//! Weights of a graph that are others of it.

use super::Functional;
use crate::layer::{AnyLayer, Tie};
use crate::module::Role;
use crate::{Error, Result};
use serde_json::Value as Json;

impl Functional {
    /// Makes `weight` the one at `to`: they are one parameter with one gradient, which keeps the path, the initial values and the
    /// constraint of `to`.
    ///
    /// ```
    /// use kiln_nn::{Sequential, layers::{Dense, Embedding, Flatten}};
    /// // The scores of 50 words are products with their 8 numbers.
    /// let model = Sequential::new([1])
    ///     .add(Embedding::new(50, 8))
    ///     .add(Flatten::new())
    ///     .add(Dense::new(50).use_bias(false))
    ///     .graph()?
    ///     .tie_transposed("dense/kernel", "embedding/embeddings")?;
    /// assert_eq!(kiln_nn::module::count_parameters(&model.build()?).0, 50 * 8);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A path that is none, shapes that differ, a weight that is tied already or has a constraint, a statistic.
    pub fn tie(self, weight: &str, to: &str) -> Result<Functional> {
        self.tied(weight, Tie { to: to.to_owned(), transposed: false })
    }

    /// Makes a matrix another one with its rows and columns exchanged: [`Functional::tie`].
    ///
    /// # Errors
    /// As there; weights that are no matrices.
    pub fn tie_transposed(self, weight: &str, to: &str) -> Result<Functional> {
        self.tied(weight, Tie { to: to.to_owned(), transposed: true })
    }

    fn tied(mut self, weight: &str, tie: Tie) -> Result<Functional> {
        let all = self.weights_for(&[])?;
        let find = |path: &str| {
            let paths: Vec<&str> = all.iter().map(|weight| &*weight.name).collect();
            let found = all.iter().find(|weight| weight.name == path);
            found.ok_or_else(|| Error::unknown("weight", path, &paths))
        };
        let (own, other) = (find(weight)?, find(&tie.to)?);
        let refused = |text: String, help: &str| Err(Error::config(format!("tie: {text}"), help));
        if weight == tie.to {
            return refused(format!("`{weight}` is tied to itself"), "name another weight");
        }
        for one in [own, other] {
            if one.is_tied() {
                return refused(format!("`{}` is another weight already", one.name), "tie all to the one that is left");
            }
            if one.role != Role::Weight {
                return refused(format!("`{}` is a statistic", one.name), "tie weights, which the optimizer changes");
            }
        }
        if self.ties.iter().any(|(_, tie)| tie.to == weight) {
            return refused(format!("others are tied to `{weight}`"), "tie all to the one that is left");
        }
        if own.constraint.is_some() {
            return refused(format!("`{weight}` has a constraint"), "give it to the weight that is left");
        }
        let mut wanted = other.shape.clone();
        if tie.transposed {
            if wanted.len() != 2 {
                return refused(format!("`{}` of shape {wanted:?} is no matrix", tie.to), "only these are transposed");
            }
            wanted.reverse();
        }
        if own.shape != wanted {
            let (to, what) = (&tie.to, if tie.transposed { " transposed" } else { "" });
            return refused(
                format!("`{weight}` is {:?}, and `{to}`{what} {wanted:?}", own.shape),
                "make the shapes equal",
            );
        }
        self.ties.push((weight.to_owned(), tie));
        Ok(self)
    }

    /// Ties the weights that a file names.
    pub(super) fn tied_as(self, ties: &Json) -> Result<Functional> {
        ties.as_array().into_iter().flatten().try_fold(self, |graph, tie| {
            let path = |key: &str| tie[key].as_str().unwrap_or_default();
            let transposed = tie["transposed"].as_bool().unwrap_or(false);
            graph.tied(path("weight"), Tie { to: path("to").to_owned(), transposed })
        })
    }
}
