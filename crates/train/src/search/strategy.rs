//! Which points of a space are tried, in which order, and for how many epochs.

use super::space::{Space, Value};
use super::{Trial, better_first};
use crate::{Direction, Error, Result};
use kiln_nn::Key;
use serde::{Deserialize, Serialize};

/// A way to search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Strategy {
    Grid,
    Random {
        trials: usize,
    },
    /// Li et al. 2018: many configurations for few epochs, the best of them for more.
    Hyperband {
        max_epochs: usize,
        factor: usize,
    },
    /// Bergstra et al. 2011: a tree-structured Parzen estimator, after some trials at random.
    #[cfg(feature = "bayesian")]
    Bayesian {
        trials: usize,
    },
}

/// A trial that is to be run, or to go on, for so many epochs where the search says how many.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Task {
    pub(super) number: usize,
    pub(super) values: Vec<Value>,
    pub(super) epochs: Option<usize>,
}

/// Trials at random before a model of the scores is worth anything.
#[cfg(feature = "bayesian")]
const STARTUP: usize = 10;

/// Epochs of Hyperband at most.
const MOST_EPOCHS: usize = 1_000_000;

impl Strategy {
    pub(super) fn check(&self) -> Result<()> {
        let text = match self {
            Strategy::Random { trials: 0 } => "search: 0 trials".to_owned(),
            #[cfg(feature = "bayesian")]
            Strategy::Bayesian { trials: 0 } => "search: 0 trials".to_owned(),
            Strategy::Hyperband { max_epochs, factor } if *max_epochs == 0 || *factor < 2 => {
                format!("search: Hyperband of {max_epochs} epochs by a factor of {factor}")
            }
            // It begins with about as many trials.
            Strategy::Hyperband { max_epochs, .. } if *max_epochs > MOST_EPOCHS => {
                let text = format!("search: Hyperband of {max_epochs} epochs begins with too many trials");
                return Err(Error::config(text, format!("give at most {MOST_EPOCHS} epochs; 81 are five brackets")));
            }
            _ => return Ok(()),
        };
        Err(Error::config(text, "give at least one trial, or one epoch and a factor of 2 or 3"))
    }

    /// Whether trials of the one are trials of the other: there may be more of them.
    pub(super) fn same_kind(&self, other: &Strategy) -> bool {
        match self {
            Strategy::Hyperband { .. } => self == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// How many trials there will be.
    pub(super) fn count(&self, space: &Space) -> Result<usize> {
        Ok(match self {
            Strategy::Grid => space.grid()?.len(),
            Strategy::Random { trials } => *trials,
            #[cfg(feature = "bayesian")]
            Strategy::Bayesian { trials } => *trials,
            Strategy::Hyperband { max_epochs, factor } => {
                brackets(*max_epochs, *factor).iter().map(|rungs| rungs[0].0).sum()
            }
        })
    }

    /// What is to be run next, given what has been; nothing where the search is at its end. With `width`, no more than what may run at
    /// the same time, where each is to learn of those before.
    pub(super) fn next(
        &self,
        space: &Space,
        seed: u64,
        done: &[Trial],
        direction: Direction,
        width: Option<usize>,
    ) -> Result<Vec<Task>> {
        let is_done = |number: usize| done.iter().any(|trial| trial.number == number);
        let at_random = |number: usize| -> Result<Task> {
            Ok(Task { number, values: space.sample(&Key::new(seed).fold(number as u64))?, epochs: None })
        };
        // Those that learn of each other go by rounds of fixed numbers: one that was broken off is ended first.
        let within = |number: usize, first: usize| width.is_none_or(|width| number < first - first % width + width);
        match self {
            Strategy::Grid => {
                let points = space.grid()?.into_iter().enumerate().filter(|(number, _)| !is_done(*number));
                let tasks: Vec<Task> = points.map(|(number, values)| Task { number, values, epochs: None }).collect();
                let first = tasks.first().map_or(0, |task| task.number);
                Ok(tasks.into_iter().take_while(|task| within(task.number, first)).collect())
            }
            Strategy::Random { trials } => {
                let Some(first) = (0..*trials).find(|number| !is_done(*number)) else { return Ok(Vec::new()) };
                let round = (first..*trials).take_while(|number| within(*number, first));
                round.filter(|number| !is_done(*number)).map(at_random).collect()
            }
            #[cfg(feature = "bayesian")]
            Strategy::Bayesian { trials } => {
                // A round learns of those before it, and of none in it: which of two ends first must not matter.
                let width = width.unwrap_or(1);
                let Some(first) = (0..*trials).find(|number| !is_done(*number)) else { return Ok(Vec::new()) };
                let begin = first - first % width;
                let before: Vec<&Trial> = done.iter().filter(|trial| trial.number < begin).collect();
                let round = (begin..(begin + width).min(*trials)).filter(|number| !is_done(*number));
                round
                    .map(|number| match number < STARTUP {
                        true => at_random(number),
                        false => estimated(space, seed, number, &before, direction),
                    })
                    .collect()
            }
            Strategy::Hyperband { max_epochs, factor } => {
                let mut first = 0;
                for rungs in brackets(*max_epochs, *factor) {
                    let mut alive: Vec<usize> = (first..first + rungs[0].0).collect();
                    first += rungs[0].0;
                    for &(count, epochs) in &rungs {
                        alive.truncate(count);
                        let reached = |number: &usize| {
                            done.iter()
                                .any(|trial| trial.number == *number && trial.budget.is_some_and(|b| b >= epochs))
                        };
                        let missing: Vec<usize> = alive.iter().copied().filter(|number| !reached(number)).collect();
                        if !missing.is_empty() {
                            let task = |number| Ok(Task { epochs: Some(epochs), ..at_random(number)? });
                            return missing.into_iter().map(task).collect();
                        }
                        // The best by what they had reached with this rung.
                        let score = |number: &usize| {
                            let trial = done.iter().find(|trial| trial.number == *number);
                            trial.and_then(|trial| trial.best_within(epochs, direction)).unwrap_or(f64::NAN)
                        };
                        alive.sort_by(|a, b| better_first(direction, score(a), score(b)).then(a.cmp(b)));
                    }
                }
                Ok(Vec::new())
            }
        }
    }
}

/// The brackets of Hyperband: for each, how many configurations are trained up to how many epochs, rung by rung.
fn brackets(max_epochs: usize, factor: usize) -> Vec<Vec<(usize, usize)>> {
    let mut most = 0;
    while factor.checked_pow(most + 1).is_some_and(|first| first <= max_epochs) {
        most += 1;
    }
    let bracket = |s: u32| {
        let first = ((most + 1) as usize * factor.pow(s)).div_ceil((s + 1) as usize);
        let rung = |i: u32| ((first / factor.pow(i)).max(1), (max_epochs / factor.pow(s - i)).max(1));
        (0..=s).map(rung).collect()
    };
    (0..=most).rev().map(bracket).collect()
}

/// A point that good trials make likely, and bad ones do not.
#[cfg(feature = "bayesian")]
fn estimated(space: &Space, seed: u64, number: usize, before: &[&Trial], direction: Direction) -> Result<Task> {
    use super::space::Range;
    use rand_mt::Mt64;
    let failed = |e: &dyn std::fmt::Display| Error::data(format!("search: the estimator: {e}"), "");
    // What could not be measured is as bad as the worst that could.
    let scores: Vec<f64> = before.iter().filter_map(|trial| trial.score).filter(|score| score.is_finite()).collect();
    let sign = if direction == Direction::Min { 1.0 } else { -1.0 };
    let worst = scores.iter().map(|score| sign * score).fold(f64::NEG_INFINITY, f64::max);
    let [low, high, ..] = Key::new(seed).fold(number as u64).bits(0);
    let mut random = Mt64::new(u64::from(low) | u64::from(high) << 32);
    let mut values = Vec::with_capacity(space.dimensions.len());
    for (i, dimension) in space.dimensions.iter().enumerate() {
        let (estimator, range) = match &dimension.range {
            Range::Choice(all) => (tpe::histogram_estimator(), tpe::categorical_range(all.len())),
            _ => (tpe::parzen_estimator(), tpe::range(0.0, 1.0)),
        };
        let count = match &dimension.range {
            Range::Choice(all) => all.len() as f64,
            _ => 1.0,
        };
        let mut optimizer = tpe::TpeOptimizer::new(estimator, range.map_err(|e| failed(&e))?);
        for trial in before {
            let score = trial.score.filter(|score| score.is_finite()).map_or(worst, |score| sign * score);
            if score.is_finite() {
                let at = dimension.range.fraction(&trial.values[i]).clamp(0.0, 1.0 - f64::EPSILON);
                let at = if count > 1.0 { (at * count).floor() } else { at };
                optimizer.tell(at, score).map_err(|e| failed(&e))?;
            }
        }
        let at = optimizer.ask(&mut random).map_err(|e| failed(&e))?;
        values.push(dimension.range.at(if count > 1.0 { (at.floor() + 0.5) / count } else { at }));
    }
    Ok(Task { number, values, epochs: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brackets_of_the_paper() {
        // By the formulas of Li et al., Algorithm 1, for 81 epochs and a factor of 3.
        let all = brackets(81, 3);
        assert_eq!(all[0], [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]);
        assert_eq!(all[1], [(34, 3), (11, 9), (3, 27), (1, 81)]);
        assert_eq!(all[2], [(15, 9), (5, 27), (1, 81)]);
        assert_eq!(all[3], [(8, 27), (2, 81)]);
        assert_eq!(all[4], [(5, 81)]);
        assert_eq!(brackets(1, 3), [[(1, 1)]]);
    }

    #[cfg(feature = "bayesian")]
    #[test]
    fn an_estimate_is_nearer_than_chance() {
        let space = Space::new().uniform("x", 0.0, 1.0).log_uniform("y", 1e-4, 1.0).choice("z", ["a", "b", "c"]);
        // Best at x = 0.3, y = 0.01, z = b.
        let loss = |values: &[Value]| {
            let [Value::Float(x), Value::Float(y), Value::Text(z)] = values else { unreachable!() };
            (x - 0.3).powi(2) + ((y.ln() - 0.01f64.ln()) / 9.0).powi(2) + if z == "b" { 0.0 } else { 0.2 }
        };
        let run = |strategy: Strategy, seed| {
            let mut done: Vec<Trial> = Vec::new();
            loop {
                let tasks = strategy.next(&space, seed, &done, Direction::Min, Some(2)).unwrap();
                if tasks.is_empty() {
                    return done.iter().filter_map(|trial| trial.score).fold(f64::INFINITY, f64::min);
                }
                done.extend(tasks.into_iter().map(|task| Trial::told(task.number, &task.values, loss(&task.values))));
            }
        };
        let mean = |strategy: &Strategy| (0..20).map(|seed| run(strategy.clone(), seed)).sum::<f64>() / 20.0;
        let (estimated, random) = (mean(&Strategy::Bayesian { trials: 60 }), mean(&Strategy::Random { trials: 60 }));
        assert!(estimated < 0.5 * random, "{estimated} {random}");
    }
}
