//! Ways to split samples into parts to train on and parts to judge by: scikit-learn's, with its splits for the same arguments.

use crate::{Dataset, Error, Result};
use rand_mt::Mt;
use std::collections::BTreeMap;

/// Samples by number: those to train on, and those held out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Those to train on.
    pub train: Vec<usize>,
    /// Those held out.
    pub test: Vec<usize>,
}

/// A way to split samples, for [`cross_validate`](crate::cross_validate).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no way to split data",
    note = "give one such as `KFold::new(5)`, or a vector of `Fold`"
)]
pub trait Splits {
    /// The folds of these data.
    ///
    /// # Errors
    /// Too few samples, or none of the kind that the way needs.
    fn folds(&self, data: &Dataset) -> Result<Vec<Fold>>;
}

/// `n_splits` parts of about the same size, each held out once: rows of neighbours, or by `seed` at random.
///
/// ```
/// use kiln_train::splits::KFold;
/// let folds = KFold::new(3).split(7)?;
/// let held_out: Vec<_> = folds.iter().map(|fold| fold.test.clone()).collect();
/// assert_eq!(held_out, [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KFold {
    splits: usize,
    seed: Option<u32>,
}

/// [`KFold`] with the classes in each part in about the proportion they have in all.
#[derive(Debug, Clone)]
pub struct StratifiedKFold {
    splits: usize,
    seed: Option<u32>,
}

/// Parts in which samples of one group are together, such as all pictures of a person; of about the same size.
#[derive(Debug, Clone)]
pub struct GroupKFold {
    splits: usize,
    seed: Option<u32>,
    /// The number of each sample's group, in the order of the groups' names.
    groups: Vec<usize>,
}

/// Parts of a series in time, each judged by what comes before it alone.
///
/// ```
/// use kiln_train::splits::TimeSeriesSplit;
/// let folds = TimeSeriesSplit::new(2).gap(1).split(6)?;
/// assert_eq!((&folds[0].train[..], &folds[0].test[..]), (&[0][..], &[2, 3][..]));
/// assert_eq!((&folds[1].train[..], &folds[1].test[..]), (&[0, 1, 2][..], &[4, 5][..]));
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TimeSeriesSplit {
    splits: usize,
    max_train_size: Option<usize>,
    test_size: Option<usize>,
    gap: usize,
}

impl KFold {
    /// So many parts, unshuffled.
    pub fn new(n_splits: usize) -> KFold {
        KFold { splits: n_splits, seed: None }
    }

    /// Shuffles by a seed: scikit-learn's `shuffle=True, random_state=seed`.
    #[must_use]
    pub fn shuffle(mut self, seed: u32) -> KFold {
        self.seed = Some(seed);
        self
    }

    /// The folds of `n` samples.
    ///
    /// # Errors
    /// Fewer than two parts, or more than samples.
    pub fn split(&self, n: usize) -> Result<Vec<Fold>> {
        check("KFold", self.splits, n, "samples")?;
        let mut order: Vec<usize> = (0..n).collect();
        if let Some(seed) = self.seed {
            shuffle(&mut order, &mut Mt::new(seed));
        }
        let mut part_of = vec![0; n];
        let mut rest = &order[..];
        for part in 0..self.splits {
            let (own, others) = rest.split_at(part_size(n, self.splits, part));
            own.iter().for_each(|sample| part_of[*sample] = part);
            rest = others;
        }
        Ok(folds_of(&part_of, self.splits))
    }
}

impl StratifiedKFold {
    /// So many parts, unshuffled.
    pub fn new(n_splits: usize) -> StratifiedKFold {
        StratifiedKFold { splits: n_splits, seed: None }
    }

    /// Shuffles each class by a seed: scikit-learn's `shuffle=True, random_state=seed`.
    #[must_use]
    pub fn shuffle(mut self, seed: u32) -> StratifiedKFold {
        self.seed = Some(seed);
        self
    }

    /// The folds of samples with these labels. A class with fewer samples than parts is missing from some.
    ///
    /// # Errors
    /// Fewer than two parts, or more than the most frequent class has samples.
    pub fn split<L: Ord>(&self, labels: &[L]) -> Result<Vec<Fold>> {
        check("StratifiedKFold", self.splits, labels.len(), "samples")?;
        // Classes by their first appearance.
        let mut known: BTreeMap<&L, usize> = BTreeMap::new();
        let mut counts: Vec<usize> = Vec::new();
        let mut classes = Vec::with_capacity(labels.len());
        for label in labels {
            let class = *known.entry(label).or_insert(counts.len());
            if class == counts.len() {
                counts.push(0);
            }
            counts[class] += 1;
            classes.push(class);
        }
        let most = counts.iter().copied().max().unwrap_or(0);
        check("StratifiedKFold", self.splits, most, "samples of the most frequent class")?;
        // The samples in the order of their classes are dealt out: which part gets how many of each class.
        let mut random = self.seed.map(Mt::new);
        let mut part_of = vec![0; labels.len()];
        let mut start = 0;
        for (class, count) in counts.iter().enumerate() {
            let mut dealt = vec![0; self.splits];
            (start..start + count).for_each(|place| dealt[place % self.splits] += 1);
            start += count;
            let mut parts: Vec<usize> =
                dealt.iter().enumerate().flat_map(|(part, times)| std::iter::repeat_n(part, *times)).collect();
            if let Some(random) = &mut random {
                shuffle(&mut parts, random);
            }
            let own = classes.iter().enumerate().filter(|(_, other)| **other == class);
            own.zip(parts).for_each(|((sample, _), part)| part_of[sample] = part);
        }
        Ok(folds_of(&part_of, self.splits))
    }
}

impl GroupKFold {
    /// So many parts of samples with these groups: large groups first, each into the smallest part.
    pub fn new<G: Ord>(n_splits: usize, groups: impl IntoIterator<Item = G>) -> GroupKFold {
        let groups: Vec<G> = groups.into_iter().collect();
        let mut known: BTreeMap<&G, usize> = groups.iter().map(|group| (group, 0)).collect();
        known.values_mut().enumerate().for_each(|(number, place)| *place = number);
        let groups = groups.iter().map(|group| known[group]).collect();
        GroupKFold { splits: n_splits, seed: None, groups }
    }

    /// Takes groups at random by a seed, as many into each part: scikit-learn's `shuffle=True, random_state=seed`.
    #[must_use]
    pub fn shuffle(mut self, seed: u32) -> GroupKFold {
        self.seed = Some(seed);
        self
    }

    /// The folds.
    ///
    /// # Errors
    /// Fewer than two parts, or more than groups.
    pub fn split(&self) -> Result<Vec<Fold>> {
        let count = self.groups.iter().max().map_or(0, |last| last + 1);
        check("GroupKFold", self.splits, count, "groups")?;
        let mut order: Vec<usize> = (0..count).collect();
        let mut part_of_group = vec![0; count];
        if let Some(seed) = self.seed {
            shuffle(&mut order, &mut Mt::new(seed));
            let mut rest = &order[..];
            for part in 0..self.splits {
                let (own, others) = rest.split_at(part_size(count, self.splits, part));
                own.iter().for_each(|group| part_of_group[*group] = part);
                rest = others;
            }
        } else {
            let mut sizes = vec![0; count];
            self.groups.iter().for_each(|group| sizes[*group] += 1);
            // Of groups of one size the last comes first.
            order.sort_by_key(|group| sizes[*group]);
            let mut filled = vec![0; self.splits];
            for group in order.into_iter().rev() {
                let lightest = (0..self.splits).min_by_key(|part| filled[*part]).unwrap_or(0);
                filled[lightest] += sizes[group];
                part_of_group[group] = lightest;
            }
        }
        let part_of: Vec<usize> = self.groups.iter().map(|group| part_of_group[*group]).collect();
        Ok(folds_of(&part_of, self.splits))
    }
}

impl TimeSeriesSplit {
    /// So many parts behind the first.
    pub fn new(n_splits: usize) -> TimeSeriesSplit {
        TimeSeriesSplit { splits: n_splits, max_train_size: None, test_size: None, gap: 0 }
    }

    /// The most samples to train on: the last of those before a part.
    #[must_use]
    pub fn max_train_size(mut self, samples: usize) -> TimeSeriesSplit {
        self.max_train_size = Some(samples);
        self
    }

    /// Samples in each part; unless set, as many as if the first was one too.
    #[must_use]
    pub fn test_size(mut self, samples: usize) -> TimeSeriesSplit {
        self.test_size = Some(samples);
        self
    }

    /// Samples between those to train on and a part, which are left out.
    #[must_use]
    pub fn gap(mut self, samples: usize) -> TimeSeriesSplit {
        self.gap = samples;
        self
    }

    /// The folds of `n` samples in the order of time.
    ///
    /// # Errors
    /// Fewer than two parts, or more than fit behind a first sample and the gap.
    pub fn split(&self, n: usize) -> Result<Vec<Fold>> {
        check("TimeSeriesSplit", self.splits, n.saturating_sub(1), "samples behind the first")?;
        let size = self.test_size.unwrap_or(n / (self.splits + 1));
        let tested = size.saturating_mul(self.splits);
        if size == 0 || tested.saturating_add(self.gap) >= n {
            let text = format!(
                "TimeSeriesSplit: {} parts of {size} samples and a gap of {} leave none of {n} to train on",
                self.splits, self.gap
            );
            return Err(Error::config(text, "ask for fewer or smaller parts, or a smaller gap"));
        }
        let fold = |part: usize| {
            let start = n - tested + part * size;
            let end = start - self.gap;
            let first = end.saturating_sub(self.max_train_size.unwrap_or(end));
            Fold { train: (first..end).collect(), test: (start..start + size).collect() }
        };
        Ok((0..self.splits).map(fold).collect())
    }
}

impl Splits for KFold {
    fn folds(&self, data: &Dataset) -> Result<Vec<Fold>> {
        self.split(data.len())
    }
}

impl Splits for StratifiedKFold {
    fn folds(&self, data: &Dataset) -> Result<Vec<Fold>> {
        let Some(classes) = data.classes() else {
            return Err(Error::data("StratifiedKFold: the targets are no classes", "use KFold"));
        };
        self.split(&classes)
    }
}

impl Splits for GroupKFold {
    fn folds(&self, data: &Dataset) -> Result<Vec<Fold>> {
        if self.groups.len() != data.len() {
            let text = format!("GroupKFold: {} groups for {} samples", self.groups.len(), data.len());
            return Err(Error::data(text, "name the group of each sample"));
        }
        self.split()
    }
}

impl Splits for TimeSeriesSplit {
    fn folds(&self, data: &Dataset) -> Result<Vec<Fold>> {
        self.split(data.len())
    }
}

/// Folds of one's own.
impl Splits for Vec<Fold> {
    fn folds(&self, _data: &Dataset) -> Result<Vec<Fold>> {
        Ok(self.clone())
    }
}

fn check(class: &str, splits: usize, most: usize, what: &str) -> Result<()> {
    if splits < 2 {
        return Err(Error::config(format!("{class}: {splits} parts"), "one part to train on and one held out are two"));
    }
    if splits > most {
        return Err(Error::config(format!("{class}: {splits} parts of {most} {what}"), "ask for fewer parts"));
    }
    Ok(())
}

/// The size of a part where the first ones get what is left over.
fn part_size(n: usize, parts: usize, part: usize) -> usize {
    n / parts + usize::from(part < n % parts)
}

/// The folds in which each part is held out once.
fn folds_of(part_of: &[usize], parts: usize) -> Vec<Fold> {
    let fold = |part: usize| {
        let (test, train) = (0..part_of.len()).partition(|sample| part_of[*sample] == part);
        Fold { train, test }
    };
    (0..parts).map(fold).collect()
}

/// NumPy's `RandomState.shuffle`.
fn shuffle<T>(items: &mut [T], random: &mut Mt) {
    for i in (1..items.len()).rev() {
        // The smallest power of two that is more, less 1: numbers beyond `i` are drawn again.
        let mask = usize::MAX >> i.leading_zeros();
        let drawn = loop {
            let low = random.next_u32() as usize;
            let number = if i > u32::MAX as usize { low << 32 | random.next_u32() as usize } else { low } & mask;
            if number <= i {
                break number;
            }
        };
        items.swap(i, drawn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(folds: &[Fold]) -> Vec<Vec<usize>> {
        folds.iter().map(|fold| fold.test.clone()).collect()
    }

    /// scikit-learn 1.9.1.
    #[test]
    fn parts_are_those_of_scikit_learn() {
        assert_eq!(
            tests(&KFold::new(5).shuffle(42).split(12).unwrap()),
            [vec![0, 9, 10], vec![2, 5, 8], vec![1, 11], vec![4, 7], vec![3, 6]]
        );
        let labels = [1, 0, 1, 2, 0, 0, 1, 2, 2, 1, 0, 1];
        assert_eq!(
            tests(&StratifiedKFold::new(3).split(&labels).unwrap()),
            [vec![0, 1, 2, 3], vec![4, 6, 7, 9], vec![5, 8, 10, 11]]
        );
        assert_eq!(
            tests(&StratifiedKFold::new(3).shuffle(7).split(&labels).unwrap()),
            [vec![0, 3, 5, 9], vec![2, 4, 6, 7], vec![1, 8, 10, 11]]
        );
        let groups = [3, 3, 1, 2, 2, 2, 5, 4, 4, 1, 9, 9];
        assert_eq!(
            tests(&GroupKFold::new(3, groups).split().unwrap()),
            [vec![3, 4, 5, 6], vec![0, 1, 10, 11], vec![2, 7, 8, 9]]
        );
        assert_eq!(
            tests(&GroupKFold::new(3, groups).shuffle(1).split().unwrap()),
            [vec![0, 1, 3, 4, 5], vec![2, 6, 9], vec![7, 8, 10, 11]]
        );
        let folds = TimeSeriesSplit::new(3).max_train_size(4).test_size(2).gap(1).split(12).unwrap();
        assert_eq!(tests(&folds), [vec![6, 7], vec![8, 9], vec![10, 11]]);
        assert_eq!(
            folds.iter().map(|fold| fold.train.clone()).collect::<Vec<_>>(),
            [vec![1, 2, 3, 4], vec![3, 4, 5, 6], vec![5, 6, 7, 8]]
        );
    }

    #[test]
    fn what_cannot_be_split_is_told() {
        let text = |folds: Result<Vec<Fold>>| folds.unwrap_err().to_string();
        assert!(text(KFold::new(1).split(5)).contains("1 parts"));
        assert!(text(KFold::new(6).split(5)).contains("6 parts of 5 samples"));
        assert!(text(StratifiedKFold::new(3).split(&[0, 0, 1, 1])).contains("of 2 samples of the most frequent class"));
        assert!(text(GroupKFold::new(3, ["a", "b", "a"]).split()).contains("3 parts of 2 groups"));
        assert!(text(TimeSeriesSplit::new(3).split(3)).contains("behind the first"));
        assert!(text(TimeSeriesSplit::new(2).gap(2).split(6)).contains("leave none of 6"));
        assert!(text(TimeSeriesSplit::new(2).test_size(usize::MAX).split(6)).contains("leave none"));
    }
}
