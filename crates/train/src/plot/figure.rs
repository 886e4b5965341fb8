//! A finished drawing: written as PNG or SVG, and panels laid out side by side. Knows nothing of what is drawn.

use super::axes::{INK, Legend, TITLE_SIZE};
use super::canvas::{Align, Canvas};
use super::panel::Panel;
use crate::error::{Error, Result};
use crate::files::write_atomic;
use std::path::Path;

const PANEL_WIDTH: f64 = 600.0;
const PANEL_HEIGHT: f64 = 480.0;
const LEGEND_MARGIN: f64 = 40.0;
pub const TITLE_HEIGHT: f64 = 44.0;

/// A finished drawing.
#[derive(Clone, Debug)]
pub struct Figure(pub(super) Canvas);

impl Figure {
    /// Writes the drawing to `path`, a `.png` (twice the logical size) or an `.svg`, in one step; missing folders are made.
    ///
    /// # Errors
    /// [`Error::Config`] for another extension, [`Error::Io`] where the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        match extension(path)? {
            Extension::Png => write_atomic(path, &self.to_png()?),
            Extension::Svg => write_atomic(path, self.to_svg()?.as_bytes()),
        }
    }

    /// The drawing as the text of an SVG file.
    ///
    /// # Errors
    /// [`Error::Data`] where it cannot be drawn.
    pub fn to_svg(&self) -> Result<String> {
        self.0.to_svg()
    }

    /// The drawing as the bytes of a PNG file, at twice its logical size.
    ///
    /// # Errors
    /// [`Error::Data`] where it cannot be drawn.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        self.0.to_png()
    }

    /// Panels below a title, two in a row; however many there are.
    pub(super) fn of_panels(title: Option<&str>, panels: &[Panel]) -> Result<Figure> {
        Figure::of_panels_with(title, panels, &Legend::default())
    }

    /// The same above a legend that is of all of them.
    pub(super) fn of_panels_with(title: Option<&str>, panels: &[Panel], legend: &Legend) -> Result<Figure> {
        let columns = panels.len().clamp(1, 2);
        let rows = panels.len().div_ceil(2).max(1);
        let width = PANEL_WIDTH * columns as f64;
        let top = if title.is_some() { TITLE_HEIGHT } else { 0.0 };
        let bottom = top + PANEL_HEIGHT * rows as f64;
        let legend_width = width - 2.0 * LEGEND_MARGIN;
        let below = if legend.0.is_empty() { 0.0 } else { legend.height_above(legend_width) + LEGEND_MARGIN / 2.0 };
        let mut canvas = Canvas::new(width, bottom + below)?;
        legend.draw_above(&mut canvas, LEGEND_MARGIN, bottom, legend_width);
        draw_title(&mut canvas, title, width);
        for (at, panel) in panels.iter().enumerate() {
            let x = PANEL_WIDTH * (at % 2) as f64;
            let y = top + PANEL_HEIGHT * (at / 2) as f64;
            let corners = ((x + 8.0, y), (x + PANEL_WIDTH - 8.0, y + PANEL_HEIGHT));
            let column = panels.iter().skip(at % 2).step_by(2);
            let tick_width = column.map(Panel::tick_width).fold(0.0, f64::max);
            panel.draw(&mut canvas, corners, tick_width);
        }
        Ok(Figure(canvas))
    }
}

/// Writes a title across the top, if there is one.
pub fn draw_title(canvas: &mut Canvas, title: Option<&str>, width: f64) {
    if let Some(title) = title {
        canvas.text(title, (width / 2.0, TITLE_HEIGHT / 2.0 + 4.0), TITLE_SIZE, INK, Align::Centre);
    }
}

enum Extension {
    Png,
    Svg,
}

fn extension(path: &Path) -> Result<Extension> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    match extension.to_ascii_lowercase().as_str() {
        "png" => Ok(Extension::Png),
        "svg" => Ok(Extension::Svg),
        _ => Err(Error::config(
            format!("plot: `{}` has no extension that can be drawn", path.display()),
            "end the path in .png or .svg",
        )),
    }
}
