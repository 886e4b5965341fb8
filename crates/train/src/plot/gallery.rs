//! The images that a classifier is most wrong about: those that it takes for another class with the highest probability.

use super::axes::{INK, LOST, SOFT_INK, TICK_SIZE};
use super::canvas::{Align, Canvas};
use super::figure::{Figure, TITLE_HEIGHT, draw_title};
use super::picture::Picture;
use crate::error::{Error, Result};
use crate::scores::Values;
use kiln_nn::Tensor;
use std::path::Path;

/// Images that are taken for another class, the surest first, each with what it is taken for and what it is.
///
/// # Examples
/// ```no_run
/// # fn of(model: &kiln_train::Model, test: &kiln_train::Dataset) -> kiln_train::Result<()> {
/// use kiln_train::plot::Gallery;
/// let probabilities = model.predict(&test.x()?)?;
/// Gallery::new().count(12).save(&test.x()?, test.y(), &probabilities, "wrong.png")
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Gallery {
    title: Option<String>,
    names: Vec<String>,
    count: usize,
    columns: usize,
}

impl Default for Gallery {
    fn default() -> Self {
        Self { title: None, names: Vec::new(), count: 18, columns: 6 }
    }
}

/// An image that was taken for another class.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mistake {
    row: usize,
    truth: usize,
    predicted: usize,
    /// Of the predicted and of the true class.
    probabilities: (f64, f64),
}

impl Gallery {
    /// At most 18 images, 6 in a row.
    pub fn new() -> Self {
        Self::default()
    }

    /// A line above the images.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The names of the classes, in order of their labels; the labels unless given.
    #[must_use]
    pub fn names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// How many images there are at most.
    #[must_use]
    pub fn count(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// How many images stand in a row.
    #[must_use]
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = columns.max(1);
        self
    }

    /// Draws the images to `path`, a `.png` or an `.svg`.
    ///
    /// # Errors
    /// As [`Gallery::draw`] and [`Figure::save`].
    pub fn save(
        &self,
        images: &Tensor,
        y_true: &(impl Values + ?Sized),
        probabilities: &(impl Values + ?Sized),
        path: impl AsRef<Path>,
    ) -> Result<()> {
        self.draw(images, y_true, probabilities)?.save(path)
    }

    /// Draws the images. Their numbers are shares of white where none is above 1, and else levels up to 255.
    ///
    /// # Shapes
    /// `images`: `[N, height, width]`, or `[N, height, width, channels]` of 1 or 3 channels; `y_true`: labels `[N]`, from 0;
    /// `probabilities`: `[N, K]`, or `[N]` of class 1 of two.
    ///
    /// # Errors
    /// [`Error::Data`] where shapes, labels and names do not fit together.
    pub fn draw(
        &self,
        images: &Tensor,
        y_true: &(impl Values + ?Sized),
        probabilities: &(impl Values + ?Sized),
    ) -> Result<Figure> {
        const CELL: f64 = 132.0;
        const IMAGE: f64 = 112.0;
        const CAPTION: f64 = 44.0;
        let mistakes = self.mistakes(images, y_true, probabilities)?;
        let rows: Vec<usize> = mistakes.iter().map(|mistake| mistake.row).collect();
        let pictures = Picture::of_rows(images, &rows)?;
        let columns = self.columns.min(pictures.len()).max(1);
        let height = pictures.first().map_or(0.0, |picture| IMAGE * picture.aspect());
        let top = 10.0 + if self.title.is_some() { TITLE_HEIGHT } else { 0.0 };
        let lines = pictures.len().div_ceil(columns) as f64;
        let mut least = 0.0_f64;
        if pictures.is_empty() {
            least = 260.0;
        }
        if let Some(title) = &self.title {
            least = least.max(Canvas::text_width(title, super::axes::TITLE_SIZE) + 24.0);
        }
        let width = (CELL * columns as f64 + 12.0).max(least);
        let bottom = if pictures.is_empty() { 40.0 } else { (height + CAPTION) * lines };
        let mut canvas = Canvas::new(width, top + bottom)?;
        draw_title(&mut canvas, self.title.as_deref(), width);
        if pictures.is_empty() {
            canvas.text(
                "no image is taken for another class",
                (width / 2.0, top + 16.0),
                TICK_SIZE,
                SOFT_INK,
                Align::Centre,
            );
        }
        let left = (width - CELL * columns as f64) / 2.0;
        for (at, (picture, mistake)) in pictures.into_iter().zip(&mistakes).enumerate() {
            let middle = left + CELL * ((at % columns) as f64 + 0.5);
            let y = top + (height + CAPTION) * (at / columns) as f64;
            canvas.picture(picture, (middle - IMAGE / 2.0, y), (middle + IMAGE / 2.0, y + height));
            let caption = |label: usize, probability: f64, before: &str| {
                let after = format!(" {probability:.2}");
                let room = CELL - 8.0 - Canvas::text_width(&format!("{before}{after}"), 12.0);
                format!("{before}{}{after}", fitting(&self.name(label), 12.0, room))
            };
            let (wrong, right) = mistake.probabilities;
            canvas.text(&caption(mistake.predicted, wrong, ""), (middle, y + height + 12.0), 12.0, LOST, Align::Centre);
            canvas.text(&caption(mistake.truth, right, "is "), (middle, y + height + 28.0), 12.0, INK, Align::Centre);
        }
        Ok(Figure(canvas))
    }

    fn name(&self, label: usize) -> String {
        self.names.get(label).cloned().unwrap_or_else(|| label.to_string())
    }

    /// The surest mistakes, of equal ones the first.
    fn mistakes(
        &self,
        images: &Tensor,
        y_true: &(impl Values + ?Sized),
        probabilities: &(impl Values + ?Sized),
    ) -> Result<Vec<Mistake>> {
        let truth = y_true.numbers().0;
        let (scores, shape) = probabilities.numbers();
        let bad = |what: String, help: &str| Err(Error::data(format!("Gallery: {what}"), help));
        let (rows, columns) = match shape[..] {
            [rows] => (rows, 1),
            [rows, columns] if columns > 0 => (rows, columns),
            _ => return bad(format!("probabilities of shape {shape:?}"), "give a row of probabilities for each image"),
        };
        let count = images.shape().first().copied().unwrap_or(0);
        if count != rows || truth.len() != rows {
            let what = format!("{count} images, {} labels and {rows} rows of probabilities", truth.len());
            return bad(what, "give one label and one row of probabilities for each image");
        }
        let classes = columns.max(2);
        if !self.names.is_empty() && self.names.len() != classes {
            return bad(format!("{} names for {classes} classes", self.names.len()), "give one name for each class");
        }
        let mut mistakes = Vec::new();
        for (row, (scores, &label)) in scores.chunks(columns).zip(&truth).enumerate() {
            if !(0..classes).any(|class| label == class as f64) {
                let what = format!(
                    "the label of image {row} is {label}, with {classes} classes it can be 0 to {}",
                    classes - 1
                );
                return bad(what, "labels are numbers of columns, from 0");
            }
            let scores = match scores {
                [p] => &[1.0 - p, *p],
                _ => scores,
            };
            let truth = label as usize;
            let predicted = (0..classes).fold(0, |best, class| if scores[class] > scores[best] { class } else { best });
            if predicted != truth {
                mistakes.push(Mistake { row, truth, predicted, probabilities: (scores[predicted], scores[truth]) });
            }
        }
        mistakes.sort_by(|a, b| b.probabilities.0.total_cmp(&a.probabilities.0));
        mistakes.truncate(self.count);
        Ok(mistakes)
    }
}

/// As much of a text as has room, with a sign that there was more.
fn fitting(text: &str, size: f64, room: f64) -> String {
    if Canvas::text_width(text, size) <= room {
        return text.to_owned();
    }
    let mut short: Vec<char> = text.chars().collect();
    while !short.is_empty() {
        short.pop();
        let candidate: String = short.iter().chain(['…'].iter()).collect();
        if Canvas::text_width(&candidate, size) <= room {
            return candidate;
        }
    }
    "…".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Tensor {
        Tensor::from_vec((0..48).map(|level| f64::from(level) / 48.0).collect(), [4, 4, 3]).unwrap()
    }

    #[test]
    fn the_surest_mistakes_come_first() {
        let p = [[0.4, 0.6], [0.1, 0.9], [0.8, 0.2], [0.95, 0.05]];
        let gallery = Gallery::new().names(["a&b", "a class whose name is far too long for a caption"]);
        let mistakes = gallery.mistakes(&images(), &[0, 0, 0, 1], &p).unwrap();
        assert_eq!(mistakes.iter().map(|mistake| mistake.row).collect::<Vec<_>>(), [3, 1, 0]);
        assert_eq!(mistakes[0].probabilities, (0.95, 0.05));
        let svg = gallery.clone().count(2).draw(&images(), &[0, 0, 0, 1], &p).unwrap().to_svg().unwrap();
        assert_eq!(svg.matches("<image ").count(), 2);
        assert!(svg.contains("a&amp;b 0.95") && svg.contains('…'), "{svg}");
        assert_eq!(gallery.draw(&images(), &[0, 0, 0, 1], &p).unwrap().to_png().unwrap()[..4], *b"\x89PNG");
        // One unit: the probability of class 1.
        let one = Gallery::new().mistakes(&images(), &[1, 0, 0, 1], &[0.25, 0.75, 0.1, 0.9]).unwrap();
        assert_eq!((one[0].row, one[0].probabilities), (0, (0.75, 0.25)));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_no_mistake_is_said() {
        let p = [[0.9, 0.1]; 4];
        let right = Gallery::new().draw(&images(), &[0, 0, 0, 0], &p).unwrap().to_svg().unwrap();
        assert!(right.contains("no image is taken for another class"));
        for text in [
            Gallery::new().draw(&images(), &[0, 0], &p).unwrap_err().to_string(),
            Gallery::new().draw(&images(), &[0, 0, 2, 0], &p).unwrap_err().to_string(),
            Gallery::new().names(["a"]).draw(&images(), &[0; 4], &p).unwrap_err().to_string(),
            Gallery::new().draw(&images(), &[0; 4], &Tensor::zeros([4, 0]).unwrap()).unwrap_err().to_string(),
        ] {
            assert!(text.contains("Gallery: ") && text.contains("help: "), "{text}");
        }
    }
}
