//! A list of lines, areas, pictures and words in logical pixels, and its way into PNG and SVG. Knows no history.

use super::picture::Picture;
use crate::error::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use std::sync::OnceLock;

/// A point in logical pixels, y downwards.
pub type Point = (f64, f64);

/// Where a text stands relative to its point; vertically it is always centred.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Align {
    Left,
    Centre,
    Right,
    /// Centred, and read from below to above.
    Upwards,
}

#[derive(Clone, Debug)]
enum Shape {
    Line { points: Vec<Point>, width: f64, colour: RGBAColor },
    Box { from: Point, to: Point, fill: RGBAColor },
    Dot { centre: Point, radius: f64, colour: RGBAColor },
    Area { points: Vec<Point>, fill: RGBAColor },
    Text { text: String, at: Point, size: f64, colour: RGBAColor, align: Align },
}

/// A drawing of a given size.
#[derive(Clone, Debug)]
pub struct Canvas {
    size: (f64, f64),
    shapes: Vec<Shape>,
    /// Pictures with their corners; they lie above all shapes.
    pictures: Vec<(Picture, Point, Point)>,
}

/// Device pixels in a logical pixel. plotters places everything on whole pixels and does not smooth thick lines, so a
/// PNG is drawn at four times its logical size and averaged down by two; an SVG is drawn as finely and scaled back.
const FINE: u32 = 4;
/// The averaging of a PNG, which leaves it twice its logical size: sharp on dense screens and in print.
const AVERAGED: u32 = 2;
/// The font by its name in a style sheet; an SVG's reader falls back along this list.
const FONT: &str = "DejaVu Sans, Verdana, sans-serif";
static FONT_FILE: &[u8] = include_bytes!("../../assets/DejaVuSans-subset.ttf");
/// Sizes here are those of an em. plotters' bitmap text takes a size for the height of a line (ascent and descent).
const LINE_IN_EM: f64 = 1.164;
/// plotters divides the size of a font by this on its way into an SVG.
const SVG_SHRINK: f64 = 1.24;
/// plotters' bitmap text stands this share of its size above the place that is asked for.
const BITMAP_RISE: f64 = 0.2;

/// Whether the font is there, which is read the first time.
fn knows_font() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| register_font(FONT, FontStyle::Normal, FONT_FILE).is_ok())
}

impl Canvas {
    /// An empty, white canvas.
    pub fn new(width: f64, height: f64) -> Result<Self> {
        if !knows_font() {
            return Err(Error::config(
                "plot: the embedded font cannot be read",
                "this build of the library is damaged; build it again",
            ));
        }
        Ok(Self { size: (width, height), shapes: Vec::new(), pictures: Vec::new() })
    }

    /// A line through all points.
    pub fn line(&mut self, points: Vec<Point>, width: f64, colour: RGBAColor) {
        self.shapes.push(Shape::Line { points, width, colour });
    }

    /// A dashed line through all points; the rhythm of `dash` drawn and `gap` free goes on around corners.
    pub fn dashed(&mut self, points: &[Point], dash: (f64, f64), width: f64, colour: RGBAColor) {
        for piece in dashes(points, dash.0, dash.1) {
            self.line(piece, width, colour);
        }
    }

    /// A filled rectangle.
    pub fn fill(&mut self, from: Point, to: Point, fill: RGBAColor) {
        self.shapes.push(Shape::Box { from, to, fill });
    }

    /// A filled polygon.
    pub fn area(&mut self, points: Vec<Point>, fill: RGBAColor) {
        self.shapes.push(Shape::Area { points, fill });
    }

    /// A picture from corner to corner, each of its pixels a rectangle.
    pub fn picture(&mut self, picture: Picture, from: Point, to: Point) {
        self.pictures.push((picture, from, to));
    }

    /// A filled circle.
    pub fn dot(&mut self, centre: Point, radius: f64, colour: RGBAColor) {
        self.shapes.push(Shape::Dot { centre, radius, colour });
    }

    /// A word or a few.
    pub fn text(&mut self, text: &str, at: Point, size: f64, colour: RGBAColor, align: Align) {
        self.shapes.push(Shape::Text { text: text.to_owned(), at, size, colour, align });
    }

    /// The width of a text in logical pixels.
    pub fn text_width(text: &str, size: f64) -> f64 {
        knows_font();
        let font = (FONT, size * LINE_IN_EM * f64::from(FINE)).into_font();
        let pixels = font.box_size(text).map_or(0, |(width, _)| width);
        f64::from(pixels) / f64::from(FINE)
    }

    /// The drawing as PNG, at twice its logical size.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let bad = |problem: String| Error::data(format!("plot: the PNG cannot be drawn: {problem}"), "");
        let (width, height) = self.device_size(FINE);
        let mut pixels = vec![255; width as usize * height as usize * 3];
        {
            let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
            let area = backend.into_drawing_area();
            self.render(&area, true).map_err(|error| bad(error.to_string()))?;
            area.present().map_err(|error| bad(error.to_string()))?;
        }
        for (picture, from, to) in &self.pictures {
            picture.paint(&mut pixels, width as usize, device(*from), device(*to));
        }
        let averaged = average(&pixels, width as usize, AVERAGED as usize);
        Picture::new((width / AVERAGED) as usize, (height / AVERAGED) as usize, averaged).to_png().map_err(bad)
    }

    /// The drawing as SVG, at its logical size.
    pub fn to_svg(&self) -> Result<String> {
        let bad = |problem: String| Error::data(format!("plot: the SVG cannot be drawn: {problem}"), "");
        let (width, height) = self.device_size(FINE);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
            self.render(&area, false).map_err(|error| bad(error.to_string()))?;
            area.present().map_err(|error| bad(error.to_string()))?;
        }
        let fine = format!("width=\"{width}\" height=\"{height}\" viewBox");
        let (width, height) = self.device_size(1);
        let mut svg = svg.replacen(&fine, &format!("width=\"{width}\" height=\"{height}\" viewBox"), 1);
        if let Some(end) = svg.rfind("</svg>").filter(|_| !self.pictures.is_empty()) {
            let mut images = String::new();
            for (picture, from, to) in &self.pictures {
                images += &picture.to_svg(device(*from), device(*to)).map_err(bad)?;
            }
            svg.insert_str(end, &images);
        }
        Ok(svg)
    }

    fn device_size(&self, factor: u32) -> (u32, u32) {
        ((self.size.0 as u32) * factor, (self.size.1 as u32) * factor)
    }

    fn render<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        is_bitmap: bool,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        area.fill(&WHITE)?;
        for shape in &self.shapes {
            match shape {
                Shape::Line { points, width, colour } => {
                    let points: Vec<_> = points.iter().map(|&point| device(point)).collect();
                    let style = ShapeStyle::from(colour).stroke_width(device_length(*width));
                    area.draw(&PathElement::new(points, style))?;
                }
                Shape::Box { from, to, fill } => {
                    let style = ShapeStyle::from(fill).filled();
                    area.draw(&Rectangle::new([device(*from), device(*to)], style))?;
                }
                Shape::Dot { centre, radius, colour } => {
                    let style = ShapeStyle::from(colour).filled();
                    area.draw(&Circle::new(device(*centre), device_length(*radius), style))?;
                }
                Shape::Area { points, fill } => {
                    let points: Vec<_> = points.iter().map(|&point| device(point)).collect();
                    area.draw(&Polygon::new(points, ShapeStyle::from(fill).filled()))?;
                }
                Shape::Text { text, at, size, colour, align } => {
                    let (size, rise) = if is_bitmap {
                        (size * LINE_IN_EM, size * LINE_IN_EM * BITMAP_RISE)
                    } else {
                        (*size * SVG_SHRINK, 0.0)
                    };
                    let (transform, at) = match align {
                        Align::Upwards => (FontTransform::Rotate270, (at.0 + rise, at.1)),
                        _ => (FontTransform::None, (at.0, at.1 + rise)),
                    };
                    let anchor = match align {
                        Align::Left => HPos::Left,
                        Align::Centre | Align::Upwards => HPos::Center,
                        Align::Right => HPos::Right,
                    };
                    let font = (FONT, size * f64::from(FINE)).into_font().transform(transform);
                    let style = font.color(colour).pos(Pos::new(anchor, VPos::Center));
                    area.draw_text(text, &style, device(at))?;
                }
            }
        }
        Ok(())
    }
}

fn device((x, y): Point) -> (i32, i32) {
    let fine = f64::from(FINE);
    ((x * fine).round() as i32, (y * fine).round() as i32)
}

fn device_length(length: f64) -> u32 {
    (length * f64::from(FINE)).round().max(1.0) as u32
}

/// Each pixel of the result is the mean of a square of `side` by `side` pixels.
fn average(pixels: &[u8], width: usize, side: usize) -> Vec<u8> {
    let row_bytes = width * 3;
    let mut averaged = Vec::with_capacity(pixels.len() / (side * side));
    let area = side * side;
    for rows in pixels.chunks_exact(row_bytes * side) {
        for column in 0..width / side {
            for channel in 0..3 {
                let mut sum = area / 2;
                for y in 0..side {
                    for x in 0..side {
                        sum += usize::from(rows[y * row_bytes + (column * side + x) * 3 + channel]);
                    }
                }
                averaged.push((sum / area) as u8);
            }
        }
    }
    averaged
}

/// The drawn pieces of a dashed line.
pub fn dashes(points: &[Point], dash: f64, gap: f64) -> Vec<Vec<Point>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<Point> = points.first().copied().into_iter().collect();
    let (mut is_drawn, mut left) = (true, dash);
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let mut done = 0.0;
        while length - done > left {
            done += left;
            let share = done / length;
            let cut = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            if is_drawn {
                piece.push(cut);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![cut];
            }
            is_drawn = !is_drawn;
            left = if is_drawn { dash } else { gap };
        }
        left -= length - done;
        if is_drawn {
            piece.push(to);
        }
    }
    if is_drawn && piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_around_corners() {
        let pieces = dashes(&[(0.0, 0.0), (3.0, 0.0), (3.0, 5.0)], 4.0, 2.0);
        assert_eq!(pieces, [vec![(0.0, 0.0), (3.0, 0.0), (3.0, 1.0)], vec![(3.0, 3.0), (3.0, 5.0)]]);
        assert!(dashes(&[], 1.0, 1.0).is_empty());
        assert!(dashes(&[(1.0, 1.0)], 1.0, 1.0).is_empty());
    }

    #[test]
    fn averages_squares() {
        let pixels = [0, 0, 0, 4, 8, 12, 4, 8, 12, 8, 16, 24];
        assert_eq!(average(&pixels, 2, 2), [4, 8, 12]);
    }

    #[test]
    fn the_font_has_letters_of_different_width() {
        Canvas::new(10.0, 10.0).unwrap();
        assert!(Canvas::text_width("WWW", 13.0) > 2.0 * Canvas::text_width("iii", 13.0));
    }
}
