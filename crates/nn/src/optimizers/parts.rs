//! Several optimizers for parts of a model: one is asked, and the others are parts of it.

use super::{IntoOptimizer, Optimizer, ParameterUpdate};
use crate::{Error, Result};

impl Optimizer {
    /// Leaves the parameters whose paths match a pattern to another optimizer, with a rate, clipping and averages of its own. The
    /// first part that matches counts; what matches none is this one's.
    ///
    /// ```
    /// use kiln_nn::optimizers::{AdamW, IntoOptimizer, SGD};
    /// let optimizer = AdamW::new(1e-3).into_optimizer()?.part("embedding/*", SGD::new(0.1))?;
    /// # let _ = optimizer;
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// An optimizer that has parts, or scales the loss, which this one does for all.
    pub fn part(mut self, pattern: impl Into<String>, optimizer: impl IntoOptimizer) -> Result<Optimizer> {
        let (pattern, optimizer) = (pattern.into(), optimizer.into_optimizer()?);
        if !optimizer.parts.is_empty() || optimizer.scaling.is_some() {
            let text = format!("{}: the optimizer of `{pattern}` has parts or a loss scale", self.name());
            return Err(Error::config(text, "set both on the optimizer of the whole model"));
        }
        self.parts.push((pattern, optimizer));
        Ok(self)
    }

    /// Checks the patterns by which parameters are told apart, those of parts and of the groups of each, against their paths.
    ///
    /// # Errors
    /// A pattern that no path matches, or none but those that are left to another part.
    pub fn check_patterns(&self, paths: &[&str]) -> Result<()> {
        let part_of: Vec<usize> = paths.iter().map(|path| self.part_of(path)).collect();
        let check = |what: &str, pattern: &str, part: usize| {
            let matching = || (0..paths.len()).filter(|&i| crate::names::matches(pattern, paths[i]));
            if matching().any(|i| part_of[i] == part) {
                return Ok(());
            }
            let Some(i) = matching().next() else {
                return Err(Error::unknown(&format!("parameter of a {what}"), pattern, paths));
            };
            let owner = part_of[i].checked_sub(1).map_or("", |part| &self.parts[part].0);
            let text =
                format!("{}: all parameters of the {what} `{pattern}` are left to the part `{owner}`", self.name());
            let help = match what {
                "part" => "the first part that matches counts: name the narrower one first",
                _ => "give the group to the optimizer of that part",
            };
            Err(Error::config(text, help))
        };
        for (i, (pattern, _)) in self.parts.iter().enumerate() {
            check("part", pattern, i + 1)?;
        }
        for (part, one) in self.all().enumerate() {
            one.settings.groups.iter().try_for_each(|group| check("group", &group.pattern, part))?;
        }
        Ok(())
    }

    /// This one and its parts.
    pub(super) fn all(&self) -> impl Iterator<Item = &Optimizer> {
        [self].into_iter().chain(self.parts.iter().map(|(_, part)| part))
    }

    /// The part that a parameter belongs to, counted as [`Optimizer::all`] does.
    pub(super) fn part_of(&self, name: &str) -> usize {
        self.parts.iter().position(|(pattern, _)| crate::names::matches(pattern, name)).map_or(0, |i| i + 1)
    }

    /// The parameters of this one and of each part.
    pub(super) fn split<'p>(&self, parameters: &'p mut [ParameterUpdate<'_>]) -> Vec<Vec<ParameterUpdate<'p>>> {
        let mut split: Vec<Vec<_>> = self.all().map(|_| Vec::new()).collect();
        split[0].reserve(parameters.len());
        for ParameterUpdate { name, value, gradient } in parameters {
            split[self.part_of(name)].push(ParameterUpdate { name, value, gradient: gradient.take() });
        }
        split
    }

    /// `f` of this one and each part with their parameters.
    pub(super) fn each(
        &mut self,
        split: &mut [Vec<ParameterUpdate<'_>>],
        f: &mut dyn FnMut(&mut Optimizer, &mut [ParameterUpdate<'_>]) -> Result<()>,
    ) -> Result<()> {
        let Some((own, others)) = split.split_first_mut() else { return Ok(()) };
        f(self, own)?;
        self.parts.iter_mut().zip(others).try_for_each(|((_, part), parameters)| f(part, parameters))
    }
}
