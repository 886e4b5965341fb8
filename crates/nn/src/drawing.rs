//! A graph of boxes as an SVG picture: each box below those that it comes from, lines between them. Writes no file.

use std::fmt::Write;

/// A box: its lines of text, and the numbers of the boxes before it that it comes from.
pub(crate) struct Part {
    pub(crate) lines: Vec<String>,
    pub(crate) from: Vec<usize>,
}

/// Sizes in pixels.
const LETTER: f64 = 7.3;
const LINE: f64 = 18.0;
const MARGIN: f64 = 20.0;
const BETWEEN: f64 = 28.0;
const BELOW: f64 = 44.0;

/// Where a box is: its middle, its top, its width and height.
#[derive(Debug, Clone, Copy)]
struct Place {
    middle: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// The picture.
pub(crate) fn svg(title: &str, parts: &[Part]) -> String {
    let Layout { rows, places, mut width, height } = Layout::of(parts);
    // Lines over more than a row go around the boxes between, each at a distance of its own.
    let mut around = vec![None; parts.len()];
    for (to, part) in parts.iter().enumerate() {
        let longest =
            part.from.iter().copied().filter(|from| rows[*from] + 1 < rows[to]).min_by_key(|from| rows[*from]);
        if let Some(from) = longest {
            let between = (0..parts.len()).filter(|i| rows[*i] > rows[from] && rows[*i] < rows[to]);
            let edge = between.map(|i| places[i].middle + places[i].width / 2.0).fold(0.0, f64::max);
            let side = edge + 14.0 + 5.0 * around.iter().flatten().count() as f64;
            around[to] = Some(side);
            width = width.max(side + MARGIN);
        }
    }
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escaped(title)
    );
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    for (number, (part, to)) in parts.iter().zip(&places).enumerate() {
        for (i, &before) in part.from.iter().enumerate() {
            let from = places[before];
            // Lines that come from several boxes arrive side by side.
            let share = (i + 1) as f64 / (part.from.len() + 1) as f64 - 0.5;
            let (x1, y1) = (from.middle, from.top + from.height);
            let (x2, y2) = (to.middle + share * to.width * 0.6, to.top);
            let curve = |x1: f64, y1: f64, x2: f64, y2: f64| {
                let middle = (y1 + y2) / 2.0;
                format!("C{x1:.1},{middle:.1} {x2:.1},{middle:.1} {x2:.1},{y2:.1}")
            };
            let path = match around[number].filter(|_| rows[before] + 1 < rows[number]) {
                None => curve(x1, y1, x2, y2 - 5.0),
                Some(side) => {
                    let (down, up) = (y1 + BELOW, y2 - BELOW);
                    format!("{} L{side:.1},{up:.1} {}", curve(x1, y1, side, down), curve(side, up, x2, y2 - 5.0))
                }
            };
            line(format!("<path d=\"M{x1:.1},{y1:.1} {path}\" fill=\"none\" stroke=\"#555555\"/>"));
            line(format!(
                "<path d=\"M{:.1},{:.1} L{:.1},{:.1} L{x2:.1},{y2:.1} z\" fill=\"#555555\"/>",
                x2 - 4.0,
                y2 - 7.0,
                x2 + 4.0,
                y2 - 7.0
            ));
        }
    }
    for (part, place) in parts.iter().zip(&places) {
        let Place { middle, top, width, height } = *place;
        let left = middle - width / 2.0;
        line(format!(
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"4\" \
             fill=\"#eef3fa\" stroke=\"#4a6fa5\"/>"
        ));
        for (i, text) in part.lines.iter().enumerate() {
            let weight = if i == 0 { " font-weight=\"bold\"" } else { "" };
            let y = top + LINE * (i as f64 + 1.0);
            line(format!(
                "<text x=\"{middle:.1}\" y=\"{y:.1}\" text-anchor=\"middle\"{weight}>{}</text>",
                escaped(text)
            ));
        }
    }
    out.push_str("</svg>\n");
    out
}

/// The row and the place of each box, and the size of the picture.
struct Layout {
    rows: Vec<usize>,
    places: Vec<Place>,
    width: f64,
    height: f64,
}

impl Layout {
    fn of(parts: &[Part]) -> Layout {
        // A box is one row below the lowest of those that it comes from.
        let mut rows: Vec<usize> = Vec::with_capacity(parts.len());
        for part in parts {
            rows.push(part.from.iter().map(|i| rows[*i] + 1).max().unwrap_or(0));
        }
        let size = |part: &Part| {
            let longest = part.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
            (longest as f64 * LETTER + 24.0, part.lines.len() as f64 * LINE + 10.0)
        };
        let last = rows.iter().max().map_or(0, |row| row + 1);
        let of_row = |row: usize| (0..parts.len()).filter(|i| rows[*i] == row).collect::<Vec<_>>();
        let wide = |row: &[usize]| {
            row.iter().map(|i| size(&parts[*i]).0).sum::<f64>() + BETWEEN * row.len().saturating_sub(1) as f64
        };
        let width = (0..last).map(|row| wide(&of_row(row))).fold(0.0, f64::max) + 2.0 * MARGIN;
        let mut places = vec![Place { middle: 0.0, top: 0.0, width: 0.0, height: 0.0 }; parts.len()];
        let mut top = MARGIN;
        for row in 0..last {
            let mut row = of_row(row);
            // In the order of what they come from, so that lines cross less.
            let above = |i: usize| {
                let from = &parts[i].from;
                from.iter().map(|from| places[*from].middle).sum::<f64>() / from.len().max(1) as f64
            };
            row.sort_by(|a, b| above(*a).total_cmp(&above(*b)));
            let mut left = (width - wide(&row)) / 2.0;
            let mut tallest = 0.0f64;
            for &i in &row {
                let (width, height) = size(&parts[i]);
                places[i] = Place { middle: left + width / 2.0, top, width, height };
                left += width + BETWEEN;
                tallest = tallest.max(height);
            }
            top += tallest + BELOW;
        }
        Layout { rows, places, width, height: (top - BELOW).max(0.0) + MARGIN }
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Other control characters are none of XML's.
            c if c.is_control() => out.push(' '),
            c => drop(write!(out, "{c}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_stand_below_those_they_come_from_and_beside_each_other() {
        let part =
            |text: &str, from: &[usize]| Part { lines: vec![text.to_owned(), "(None, 4)".into()], from: from.to_vec() };
        let parts =
            [part("a", &[]), part("b", &[]), part("left <1>", &[0]), part("right", &[1]), part("sum", &[2, 3, 0])];
        let Layout { places, width, height, .. } = Layout::of(&parts);
        assert!(places[0].top == places[1].top && places[2].top > places[0].top && places[4].top > places[3].top);
        assert!(places[0].middle + places[0].width / 2.0 < places[1].middle - places[1].width / 2.0);
        assert!(places[2].middle < places[3].middle);
        assert!(places.iter().all(|p| p.middle + p.width / 2.0 <= width && p.top + p.height <= height));
        let text = svg("a & b", &parts);
        assert!(text.contains("a &amp; b") && text.contains("left &lt;1&gt;"));
        // A box and two lines of text each, and a line with its head for each of five connections.
        assert_eq!(["<rect x", "<text", "<path"].map(|tag| text.matches(tag).count()), [5, 10, 10]);
        // The one that skips a row goes around what is there.
        let edge = places[2..4].iter().map(|p| p.middle + p.width / 2.0).fold(0.0, f64::max);
        assert!(text.contains(&format!("L{:.1},", edge + 14.0)), "{text}");
        assert!(svg("", &[]).ends_with("</svg>\n"));
    }
}
