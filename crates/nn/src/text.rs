//! Words as numbers: what comes before a model that reads texts. The numbers of words are Keras's.

use crate::layers::OutputMode;
use crate::{Error, Result};
use kiln_autograd::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What stands for a word that is not known.
const UNKNOWN: &str = "[UNK]";

/// Numbers for strings, such as the values of a category.
///
/// The numbers of strings that are not known come first, 0 as a rule, and before them, where it is asked for, that of the string that
/// stands for nothing; then the vocabulary, the most frequent first.
///
/// ```
/// use kiln_nn::text::StringLookup;
/// let lookup = StringLookup::new().adapt(["cat", "dog", "cat"]);
/// let numbers = lookup.numbers(["dog", "cat", "owl"])?;
/// assert_eq!(numbers.to_vec::<i64>()?, [2, 1, 0]);
/// assert_eq!(lookup.strings(&numbers)?, ["dog", "cat", "[UNK]"]);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StringLookup {
    vocabulary: Vec<String>,
    max_tokens: Option<usize>,
    num_oov_indices: usize,
    mask_token: Option<String>,
}

impl Default for StringLookup {
    fn default() -> StringLookup {
        StringLookup { vocabulary: Vec::new(), max_tokens: None, num_oov_indices: 1, mask_token: None }
    }
}

/// The strings by how often they come, the most frequent first; of equally frequent ones the last in the alphabet, as in Keras.
fn by_frequency<S: AsRef<str>>(all: impl IntoIterator<Item = S>) -> Vec<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for string in all {
        *counts.entry(string.as_ref().to_owned()).or_default() += 1;
    }
    let mut sorted: Vec<(usize, String)> = counts.into_iter().map(|(string, count)| (count, string)).collect();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.into_iter().map(|(_, string)| string).collect()
}

impl StringLookup {
    /// With no vocabulary yet, and one number for what is not known.
    pub fn new() -> StringLookup {
        StringLookup::default()
    }

    /// These strings, in this order; or all of [`StringLookup::get_vocabulary`], which begins with what stands for nothing and for
    /// what is not known.
    #[must_use]
    pub fn vocabulary<S: Into<String>>(mut self, vocabulary: impl IntoIterator<Item = S>) -> StringLookup {
        self.vocabulary = vocabulary.into_iter().map(Into::into).collect();
        self
    }

    /// The most numbers there may be: rarer strings are not known.
    #[must_use]
    pub fn max_tokens(mut self, tokens: usize) -> StringLookup {
        self.max_tokens = Some(tokens);
        self
    }

    /// How many numbers strings that are not known share; with 0, one is an error.
    #[must_use]
    pub fn num_oov_indices(mut self, numbers: usize) -> StringLookup {
        self.num_oov_indices = numbers;
        self
    }

    /// The string that stands for nothing and has the number 0.
    #[must_use]
    pub fn mask_token(mut self, token: impl Into<String>) -> StringLookup {
        self.mask_token = Some(token.into());
        self
    }

    /// Takes the vocabulary from data.
    #[must_use]
    pub fn adapt<S: AsRef<str>>(mut self, data: impl IntoIterator<Item = S>) -> StringLookup {
        self.vocabulary = by_frequency(data);
        self.vocabulary.retain(|string| Some(string) != self.mask_token.as_ref());
        self
    }

    /// The number of the first string of the vocabulary.
    fn first(&self) -> usize {
        self.num_oov_indices.saturating_add(self.mask_token.is_some().into())
    }

    /// The strings that have numbers of their own.
    fn known(&self) -> &[String] {
        let rest = match &self.mask_token {
            Some(token) => self.vocabulary.strip_prefix(std::slice::from_ref(token)).unwrap_or(&self.vocabulary),
            None => &self.vocabulary,
        };
        let unknown = rest.iter().take(self.num_oov_indices).take_while(|string| *string == UNKNOWN).count();
        let known = if unknown == self.num_oov_indices { &rest[unknown..] } else { rest };
        let most = self.max_tokens.map_or(usize::MAX, |most| most.saturating_sub(self.first()));
        &known[..known.len().min(most)]
    }

    /// How many numbers there are: the `input_dim` of an [`Embedding`](crate::layers::Embedding).
    pub fn size(&self) -> usize {
        self.first().saturating_add(self.known().len())
    }

    /// The string of each number; those that are not known share one.
    pub fn get_vocabulary(&self) -> Vec<&str> {
        let unknown = std::iter::repeat_n(UNKNOWN, self.num_oov_indices);
        self.mask_token.as_deref().into_iter().chain(unknown).chain(self.known().iter().map(String::as_str)).collect()
    }

    /// The number of each string that has one of its own.
    ///
    /// # Errors
    /// A string that has two.
    fn index(&self) -> Result<HashMap<&str, i64>> {
        let known = self.known().iter().enumerate().map(|(i, s)| (s.as_str(), self.first().saturating_add(i) as i64));
        let mut index: HashMap<&str, i64> = HashMap::with_capacity(self.known().len() + 1);
        for (string, number) in self.mask_token.iter().map(|s| (s.as_str(), 0)).chain(known) {
            if index.insert(string, number).is_some() {
                let text = format!("the vocabulary has `{string}` twice");
                return Err(Error::config(text, "each string has one number: leave out all but the first"));
            }
        }
        Ok(index)
    }

    fn number(&self, index: &HashMap<&str, i64>, string: &str) -> Result<i64> {
        if self.vocabulary.is_empty() {
            return Err(Error::config(
                "there is no vocabulary yet",
                "take it from data, .adapt(texts), or give it: .vocabulary(…)",
            ));
        }
        match (index.get(string), self.num_oov_indices) {
            (Some(number), _) => Ok(*number),
            (None, 0) => {
                let text = format!("StringLookup: `{string}` is not in the vocabulary");
                Err(Error::config(text, "give it a number for what is not known: .num_oov_indices(1)"))
            }
            (None, numbers) => {
                let offset = usize::from(self.mask_token.is_some());
                // FNV-1a: the same on every machine.
                let hash = string.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
                });
                Ok((offset + (hash % numbers as u64) as usize) as i64)
            }
        }
    }

    /// The number of each string: a vector of `i64`.
    ///
    /// # Errors
    /// A string that is not known where no number stands for those; a vocabulary that has one twice.
    pub fn numbers<S: AsRef<str>>(&self, strings: impl IntoIterator<Item = S>) -> Result<Tensor> {
        let index = self.index()?;
        let numbers: Vec<i64> =
            strings.into_iter().map(|string| self.number(&index, string.as_ref())).collect::<Result<_>>()?;
        let count = numbers.len();
        Ok(Tensor::from_vec(numbers, [count])?)
    }

    /// The string of each number of a tensor, in order.
    ///
    /// # Errors
    /// A number that stands for none.
    pub fn strings(&self, numbers: &Tensor) -> Result<Vec<String>> {
        let all = self.get_vocabulary();
        let string = |number: i64| {
            let found = usize::try_from(number).ok().and_then(|i| all.get(i));
            found.map(|string| (*string).to_owned()).ok_or_else(|| {
                let text = format!("StringLookup: {number} is no number of the vocabulary");
                Error::config(text, format!("they run from 0 to {}", all.len().saturating_sub(1)))
            })
        };
        numbers.to_vec_as::<i64>().into_iter().map(string).collect()
    }
}

/// Texts as rows of the numbers of their words, for an [`Embedding`](crate::layers::Embedding) of `mask_zero`: 0 is filling, 1 what
/// is not known, and the most frequent word is 2.
///
/// Texts are put in lower case, their punctuation is taken out, and words are what stands between spaces.
///
/// ```
/// use kiln_nn::text::TextVectorization;
/// let texts = ["The cat sat.", "The dog!"];
/// let layer = TextVectorization::new().adapt(texts);
/// assert_eq!(layer.get_vocabulary(), ["", "[UNK]", "the", "sat", "dog", "cat"]);
/// let rows = layer.call(["the cat", "a dog sat"])?;
/// assert_eq!(rows.shape().dims(), [2, 3]);
/// assert_eq!(rows.to_vec::<i64>()?, [2, 5, 0, 1, 4, 3]);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextVectorization {
    lookup: StringLookup,
    standardize: bool,
    ngrams: usize,
    output_sequence_length: Option<usize>,
}

impl Default for TextVectorization {
    fn default() -> TextVectorization {
        let lookup = StringLookup::new().mask_token("");
        TextVectorization { lookup, standardize: true, ngrams: 1, output_sequence_length: None }
    }
}

impl TextVectorization {
    /// Of all words, each row as long as the longest text of a call.
    pub fn new() -> TextVectorization {
        TextVectorization::default()
    }

    /// The most numbers there may be, filling and what is not known included: rarer words are not known.
    #[must_use]
    pub fn max_tokens(mut self, tokens: usize) -> TextVectorization {
        self.lookup.max_tokens = Some(tokens);
        self
    }

    /// The length of every row: longer texts are cut, shorter ones filled with 0.
    #[must_use]
    pub fn output_sequence_length(mut self, length: usize) -> TextVectorization {
        self.output_sequence_length = Some(length);
        self
    }

    /// Whether case and punctuation are taken away.
    #[must_use]
    pub fn standardize(mut self, standardize: bool) -> TextVectorization {
        self.standardize = standardize;
        self
    }

    /// Counts up to so many words in a row as words too, after those themselves.
    #[must_use]
    pub fn ngrams(mut self, words: usize) -> TextVectorization {
        self.ngrams = words.max(1);
        self
    }

    /// These words, in this order.
    #[must_use]
    pub fn vocabulary<S: Into<String>>(mut self, vocabulary: impl IntoIterator<Item = S>) -> TextVectorization {
        self.lookup = self.lookup.vocabulary(vocabulary);
        self
    }

    /// Takes the vocabulary from texts.
    #[must_use]
    pub fn adapt<S: AsRef<str>>(mut self, texts: impl IntoIterator<Item = S>) -> TextVectorization {
        let words: Vec<String> = texts.into_iter().flat_map(|text| self.words(text.as_ref())).collect();
        self.lookup = self.lookup.adapt(words);
        self
    }

    /// How many numbers there are: the `input_dim` of an [`Embedding`](crate::layers::Embedding).
    pub fn size(&self) -> usize {
        self.lookup.size()
    }

    /// The word of each number.
    pub fn get_vocabulary(&self) -> Vec<&str> {
        self.lookup.get_vocabulary()
    }

    fn words(&self, text: &str) -> Vec<String> {
        let text = match self.standardize {
            true => text.to_lowercase().replace(|c: char| c.is_ascii_punctuation(), ""),
            false => text.to_owned(),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        (1..=self.ngrams).flat_map(|n| words.windows(n).map(|words| words.join(" "))).collect()
    }

    /// The texts as rows of numbers, `[texts, length]` of `i64`.
    ///
    /// # Errors
    /// A vocabulary that has a word twice, rows that do not fit into memory.
    pub fn call<S: AsRef<str>>(&self, texts: impl IntoIterator<Item = S>) -> Result<Tensor> {
        let index = self.lookup.index()?;
        let row = |text: S| -> Result<Vec<i64>> {
            self.words(text.as_ref()).iter().map(|word| self.lookup.number(&index, word)).collect()
        };
        let rows: Vec<Vec<i64>> = texts.into_iter().map(row).collect::<Result<_>>()?;
        let longest = || rows.iter().map(Vec::len).max().unwrap_or(0);
        let length = self.output_sequence_length.unwrap_or_else(longest);
        let mut all = room(rows.len(), length)?;
        for row in &rows {
            all.extend(row.iter().copied().chain(std::iter::repeat(0)).take(length));
        }
        Ok(Tensor::from_vec(all, [rows.len(), length])?)
    }

    /// The texts as vectors with a place for each number: 1 where a text has the word, or how often it has it.
    ///
    /// # Errors
    /// The mode of plain numbers, for which there is [`TextVectorization::call`]; as there.
    pub fn vectors<S: AsRef<str>>(&self, texts: impl IntoIterator<Item = S>, mode: OutputMode) -> Result<Tensor> {
        let (texts, size) = (texts.into_iter().collect::<Vec<S>>(), self.size());
        let index = self.lookup.index()?;
        if !matches!(mode, OutputMode::Count | OutputMode::MultiHot) {
            let text = format!("TextVectorization: vectors of texts in the mode {mode:?}");
            return Err(Error::config(text, "use MultiHot or Count, or .call(…) for numbers"));
        }
        let mut all: Vec<f32> = room(texts.len(), size)?;
        for text in &texts {
            let start = all.len();
            all.resize(start + size, 0.0);
            for word in self.words(text.as_ref()) {
                let count = &mut all[start + self.lookup.number(&index, &word)? as usize];
                *count = if mode == OutputMode::Count { *count + 1.0 } else { 1.0 };
            }
        }
        Ok(Tensor::from_vec(all, [texts.len(), size])?)
    }
}

/// An empty vector with room for so many rows.
fn room<T>(rows: usize, length: usize) -> Result<Vec<T>> {
    let mut all = Vec::new();
    match all.try_reserve_exact(rows.saturating_mul(length)) {
        Ok(()) => Ok(all),
        Err(_) => {
            let text = format!("TextVectorization: {rows} rows of {length} numbers do not fit into memory");
            Err(Error::config(text, "make the rows shorter, or take fewer texts at a time"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_keras_order() {
        let lookup =
            StringLookup::new().mask_token("").num_oov_indices(2).max_tokens(5).adapt(["b", "a", "c", "c", ""]);
        // The mask, two unknown, and two of three: `c` is the most frequent, and of the others the last in the alphabet.
        assert_eq!(lookup.get_vocabulary(), ["", UNKNOWN, UNKNOWN, "c", "b"]);
        let numbers = lookup.numbers(["c", "", "b", "a"]).unwrap().to_vec::<i64>().unwrap();
        assert_eq!(numbers[..3], [3, 0, 4]);
        assert!([1, 2].contains(&numbers[3]));
        assert!(lookup.strings(&Tensor::new([5])).unwrap_err().to_string().contains("from 0 to 4"));
        let strict = StringLookup::new().num_oov_indices(0).vocabulary(["x"]);
        assert!(strict.numbers(["y"]).unwrap_err().to_string().contains("`y` is not in the vocabulary"));
        // A vocabulary as it is printed, or written by hand; the limit may come after it.
        let whole = StringLookup::new().mask_token("").num_oov_indices(2).vocabulary(lookup.get_vocabulary());
        assert_eq!(whole.get_vocabulary(), lookup.get_vocabulary());
        assert_eq!(whole.max_tokens(4).get_vocabulary(), ["", UNKNOWN, UNKNOWN, "c"]);
        let twice = StringLookup::new().vocabulary(["a", "b", "a"]).numbers(["b"]).unwrap_err().to_string();
        assert!(twice.contains("has `a` twice"), "{twice}");
        assert_eq!(StringLookup::new().num_oov_indices(usize::MAX).vocabulary(["a"]).size(), usize::MAX);
        let json = serde_json::to_string(&lookup).unwrap();
        assert_eq!(serde_json::from_str::<StringLookup>(&json).unwrap(), lookup);
    }

    #[test]
    fn texts_become_rows_and_vectors() {
        let layer = TextVectorization::new().ngrams(2).vocabulary(["a", "b", "a b"]).output_sequence_length(4);
        assert_eq!(layer.call(["A, b", "b a b a b"]).unwrap().to_vec::<i64>().unwrap(), [2, 3, 4, 0, 3, 2, 3, 2]);
        let counts = layer.vectors(["a a z"], OutputMode::Count).unwrap();
        // Nothing, what is not known (`z`, `a a`, `a z`), and `a` twice.
        assert_eq!(counts.to_vec::<f32>().unwrap(), [0.0, 3.0, 2.0, 0.0, 0.0]);
        let many = layer.vectors(["a a z"], OutputMode::MultiHot).unwrap();
        assert_eq!(many.to_vec::<f32>().unwrap(), [0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(TextVectorization::new().call([] as [&str; 0]).unwrap().shape().dims(), [0, 0]);
        assert!(TextVectorization::new().call(["a"]).unwrap_err().to_string().contains(".adapt(texts)"));
        assert!(layer.vectors(["a"], OutputMode::Int).is_err());
        let far = layer.output_sequence_length(usize::MAX).call(["a"]).unwrap_err().to_string();
        assert!(far.contains("do not fit into memory"), "{far}");
    }
}
