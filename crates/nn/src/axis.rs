//! The axes of a setting.

use std::ops::Deref;

/// Axes as an argument names them: `-1`, `[1, 2]`, or none, which some take for all. In a config, `null`, a number or a
/// list.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(from = "Spelling")]
pub struct AxisList(Vec<isize>);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Spelling {
    None(()),
    One(isize),
    Many(Vec<isize>),
}

impl From<Spelling> for AxisList {
    fn from(spelling: Spelling) -> AxisList {
        AxisList(match spelling {
            Spelling::None(()) => Vec::new(),
            Spelling::One(axis) => vec![axis],
            Spelling::Many(axes) => axes,
        })
    }
}

impl From<isize> for AxisList {
    fn from(axis: isize) -> AxisList {
        AxisList(vec![axis])
    }
}

impl From<Vec<isize>> for AxisList {
    fn from(axes: Vec<isize>) -> AxisList {
        AxisList(axes)
    }
}

impl<const N: usize> From<[isize; N]> for AxisList {
    fn from(axes: [isize; N]) -> AxisList {
        AxisList(axes.to_vec())
    }
}

impl Deref for AxisList {
    type Target = [isize];
    fn deref(&self) -> &[isize] {
        &self.0
    }
}
