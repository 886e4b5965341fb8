//! A setting of one number, or of several.

use std::ops::Deref;

/// One number for all elements, or one for each along the last axis. In a config, a number or a list.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(from = "Spelling", into = "Spelling")]
pub struct Numbers(Vec<f64>);

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum Spelling {
    One(f64),
    Many(Vec<f64>),
}

impl From<Spelling> for Numbers {
    fn from(spelling: Spelling) -> Numbers {
        Numbers(match spelling {
            Spelling::One(number) => vec![number],
            Spelling::Many(numbers) => numbers,
        })
    }
}

impl From<Numbers> for Spelling {
    fn from(Numbers(numbers): Numbers) -> Spelling {
        match numbers[..] {
            [number] => Spelling::One(number),
            _ => Spelling::Many(numbers),
        }
    }
}

impl From<f64> for Numbers {
    fn from(number: f64) -> Numbers {
        Numbers(vec![number])
    }
}

impl<const N: usize> From<[f64; N]> for Numbers {
    fn from(numbers: [f64; N]) -> Numbers {
        Numbers(numbers.to_vec())
    }
}

impl From<Vec<f64>> for Numbers {
    fn from(numbers: Vec<f64>) -> Numbers {
        Numbers(numbers)
    }
}

impl Deref for Numbers {
    type Target = [f64];
    fn deref(&self) -> &[f64] {
        &self.0
    }
}
