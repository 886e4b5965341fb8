//! The parts of a page of HTML: text that is escaped, tables, the style. Knows no training.

use std::fmt::Write;

/// Text as HTML shows it.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A table; the first column is of names, the rest of numbers. Rows say whether they stand out.
pub fn table(header: &[String], rows: &[(bool, Vec<String>)]) -> String {
    let mut html = String::from("<div class=\"wide\"><table>\n");
    let cells = |tag: &str, cells: &[String]| -> String {
        let cell = |(at, text): (usize, &String)| {
            let tag_of = if at == 0 { "th scope=\"row\"" } else { tag };
            let end = if at == 0 { "th" } else { tag };
            format!("<{tag_of}>{}</{end}>", escape(text))
        };
        cells.iter().enumerate().map(cell).collect()
    };
    if !header.is_empty() {
        let names: String = header.iter().map(|name| format!("<th scope=\"col\">{}</th>", escape(name))).collect();
        let _ = writeln!(html, "<thead><tr>{names}</tr></thead>");
    }
    html.push_str("<tbody>\n");
    for (stands_out, row) in rows {
        let class = if *stands_out { " class=\"best\"" } else { "" };
        let _ = writeln!(html, "<tr{class}>{}</tr>", cells("td", row));
    }
    html + "</tbody></table></div>\n"
}

/// A drawing with a line below it.
pub fn figure(svg: &str, caption: &str) -> String {
    // Inside a page an SVG needs no declaration, only its element.
    let svg = svg.find("<svg").map_or(svg, |start| &svg[start..]);
    let label = escape(caption);
    let named = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1);
    format!("<figure>\n{named}<figcaption>{label}</figcaption>\n</figure>\n")
}

/// A paragraph.
pub fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

/// What is shown when its summary is opened.
pub fn details(summary: &str, html: &str) -> String {
    format!("<details><summary>{}</summary>\n{html}</details>\n", escape(summary))
}

/// The whole page, of headings and what stands below them.
pub fn page(title: &str, sections: &[(String, String)]) -> String {
    let title = escape(title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    if sections.len() > 1 {
        let link =
            |(at, (heading, _)): (usize, &(String, String))| format!("<a href=\"#s{at}\">{}</a>", escape(heading));
        let links: Vec<String> = sections.iter().enumerate().map(link).collect();
        let _ = writeln!(html, "<nav>{}</nav>", links.join(" · "));
    }
    for (at, (heading, body)) in sections.iter().enumerate() {
        let _ = writeln!(html, "<section id=\"s{at}\">\n<h2>{}</h2>\n{body}</section>", escape(heading));
    }
    html + "</main>\n</body>\n</html>\n"
}

const STYLE: &str = "\
body { margin: 0; background: #fff; color: #262b33; font: 16px/1.5 \"DejaVu Sans\", Verdana, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 24px; }
h1 { font-size: 28px; margin: 0 0 8px; }
h2 { font-size: 20px; margin: 40px 0 12px; padding-bottom: 4px; border-bottom: 1px solid #e5e8ec; }
nav { color: #5f6670; } a { color: #174e8c; }
figure { margin: 16px 0; } figure svg { display: block; max-width: 100%; height: auto; }
figcaption { color: #5f6670; font-size: 14px; margin-top: 4px; }
.wide { overflow-x: auto; margin: 12px 0; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px; text-align: right; border-bottom: 1px solid #e5e8ec; white-space: nowrap; }
th:first-child { text-align: left; font-weight: normal; } thead th { color: #5f6670; font-weight: normal; }
tr.best { background: #e4eef8; }
pre { overflow-x: auto; background: #f5f7f9; padding: 12px; font-size: 13px; line-height: 1.35; }
summary { cursor: pointer; color: #174e8c; }
@media print { main { max-width: none; padding: 0; } section { break-inside: avoid; } nav { display: none; } }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        assert_eq!(escape("<b a='x'>&\"</b>"), "&lt;b a=&#39;x&#39;&gt;&amp;&quot;&lt;/b&gt;");
        let table = table(&["<i>".to_owned()], &[(true, vec!["<u>".to_owned(), "1".to_owned()])]);
        assert!(
            table.contains("&lt;i&gt;") && table.contains("class=\"best\"") && table.contains("<td>1</td>"),
            "{table}"
        );
        let html = page("<x>", &[("<y>".to_owned(), paragraph("<z>")), ("b".to_owned(), String::new())]);
        assert!(["<x>", "<y>", "<z>"].iter().all(|tag| !html.contains(tag)), "{html}");
        let figure = figure("<?xml?>\n<svg width=\"1\"></svg>", "a \"b\"");
        assert!(
            figure.contains("<svg role=\"img\" aria-label=\"a &quot;b&quot;\" width=\"1\">")
                && !figure.contains("?xml")
        );
    }
}
