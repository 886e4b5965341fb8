//! A picture of pixels: made from a tensor, painted, and written as PNG, by itself or inside an SVG.

use crate::error::{Error, Result};
use kiln_nn::Tensor;

/// Rows of red, green and blue.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        Self { width, height, pixels }
    }

    /// Height over width.
    pub fn aspect(&self) -> f64 {
        self.height as f64 / self.width as f64
    }

    /// The pictures of `[N, H, W]` or `[N, H, W, C]`, grey for one channel, in colour for three; of the numbers `rows` only. Numbers up to 1
    /// are shares of white, numbers up to 255 its levels.
    pub fn of_rows(images: &Tensor, rows: &[usize]) -> Result<Vec<Picture>> {
        let shape = images.shape().to_vec();
        let (height, width, channels) = match shape[..] {
            [_, height, width] => (height, width, 1),
            [_, height, width, channels @ (1 | 3)] => (height, width, channels),
            _ => {
                return Err(Error::data(
                    format!("plot: images have the shape {shape:?}"),
                    "give [N, height, width], or [N, height, width, channels] of 1 or 3 channels; `permute` moves channels to the end",
                ));
            }
        };
        let size = height * width * channels;
        let numbers: Vec<f64> = images.to_vec_as();
        let largest = numbers.iter().copied().filter(|number| number.is_finite()).fold(0.0, f64::max);
        let white = if largest > 1.0 { 255.0 } else { 1.0 };
        let level = |number: &f64| (number / white * 255.0).clamp(0.0, 255.0).round() as u8;
        let picture = |&row: &usize| {
            let numbers = &numbers[row * size..][..size];
            let pixels = match channels {
                1 => numbers.iter().flat_map(|number| [level(number); 3]).collect(),
                _ => numbers.iter().map(level).collect(),
            };
            Picture::new(width, height, pixels)
        };
        Ok(rows.iter().map(picture).collect())
    }

    /// Paints the picture into rows of red, green and blue, from corner to corner.
    pub fn paint(&self, onto: &mut [u8], row_width: usize, from: (i32, i32), to: (i32, i32)) {
        let (left, top) = (from.0.max(0) as usize, from.1.max(0) as usize);
        let (right, bottom) = ((to.0.max(0) as usize).min(row_width), to.1.max(0) as usize);
        for y in top..bottom.min(onto.len() / (row_width * 3)) {
            for x in left..right {
                let source =
                    (y - top) * self.height / (bottom - top) * self.width + (x - left) * self.width / (right - left);
                onto[(y * row_width + x) * 3..][..3].copy_from_slice(&self.pixels[source * 3..][..3]);
            }
        }
    }

    /// The bytes of a PNG file.
    pub fn to_png(&self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        let write = || -> Result<(), png::EncodingError> {
            let mut image = encoder.write_header()?;
            image.write_image_data(&self.pixels)?;
            image.finish()
        };
        write().map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    /// An element of an SVG, with the PNG in it.
    pub fn to_svg(&self, from: (i32, i32), to: (i32, i32)) -> Result<String, String> {
        let (x, y, width, height) = (from.0, from.1, to.0 - from.0, to.1 - from.1);
        let data = base64(&self.to_png()?);
        Ok(format!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\" \
             image-rendering=\"pixelated\" href=\"data:image/png;base64,{data}\"/>\n"
        ))
    }
}

/// Bytes as text (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0_u32, |word, (at, &byte)| word | u32::from(byte) << (16 - 8 * at));
        for digit in 0..4 {
            let is_padding = digit > chunk.len();
            text.push(if is_padding { '=' } else { char::from(DIGITS[(word >> (18 - 6 * digit)) as usize & 63]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn tensors_become_pictures() {
        let grey = Tensor::new([[[0.0, 1.0]], [[0.5, f64::NAN]]]);
        let pictures = Picture::of_rows(&grey, &[1, 0]).unwrap();
        assert_eq!(pictures[1].pixels, [0, 0, 0, 255, 255, 255]);
        assert_eq!(pictures[0].pixels[..3], [128; 3]);
        let colour = Tensor::new([[[[255.0, 0.0, 51.0]]]]);
        assert_eq!(Picture::of_rows(&colour, &[0]).unwrap()[0].pixels, [255, 0, 51]);
        let text = Picture::of_rows(&Tensor::zeros([2, 4]).unwrap(), &[0]).unwrap_err().to_string();
        assert!(text.contains("[2, 4]"), "{text}");
    }

    #[test]
    fn pixels_are_painted_as_rectangles() {
        let mut onto = vec![9; 4 * 2 * 3];
        Picture::new(2, 1, vec![0, 0, 0, 255, 255, 255]).paint(&mut onto, 4, (0, 0), (4, 1));
        assert_eq!(onto[..12], [0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255]);
        assert!(onto[12..].iter().all(|&level| level == 9));
    }
}
