//! What Kiln says to a newcomer's mistakes. Each is a closure in one of the lists below; what it prints is in
//! `errors.txt`, to be read from top to bottom. After a change of a text, `KILN_BLESS=1 cargo test --test main errors`
//! writes the file anew; read the difference.

mod data;
mod files;
mod models;
mod tensors;

use kiln::prelude::*;
use std::fmt::Write;
use std::panic::catch_unwind;
use std::path::Path;

/// A name and what goes wrong.
type Mistake = (&'static str, fn() -> Result<()>);

/// Lists of mistakes: each body ends in an error.
macro_rules! mistakes {
    ($($name:literal => $body:block)*) => {
        vec![$(($name, || { $body; Ok(()) })),*]
    };
}
use mistakes;

const EXPECTED: &str = "tests/errors/errors.txt";

#[test]
fn texts() {
    let groups = [
        ("Models and layers", models::layers()),
        ("Names", models::names()),
        ("Settings", models::settings()),
        ("Losses and targets", models::targets()),
        ("Data", data::all()),
        ("Callbacks", data::callbacks()),
        ("Files", files::all()),
        ("Tensors", tensors::operations()),
        ("Gradients", tensors::gradients()),
    ];
    let mut text = String::from("What Kiln says to mistakes: written by tests/errors.rs, whose cases have these names.\n");
    for (group, mistakes) in groups {
        write!(text, "\n==== {group}\n").unwrap();
        for (name, mistake) in mistakes {
            write!(text, "\n# {name}\n{}\n", outcome(mistake)).unwrap();
        }
    }
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(EXPECTED, &text).unwrap();
    }
    let expected = std::fs::read_to_string(EXPECTED).unwrap();
    let wrong = text.lines().zip(expected.lines()).position(|(got, want)| got != want);
    if let Some(line) = wrong {
        let at = |text: &str| text.lines().skip(line).take(3).collect::<Vec<_>>().join("\n");
        panic!("line {} of {EXPECTED} is\n{}\nand would be\n{}", line + 1, at(&expected), at(&text));
    }
    assert_eq!(text, expected, "lines were added or removed");
    assert!(!text.contains("PANIC"), "no call may panic on bad input");
    assert!(!text.contains("NO ERROR"), "a mistake went through");
}

fn outcome(mistake: fn() -> Result<()>) -> String {
    match catch_unwind(mistake) {
        Ok(Err(error)) => normalized(&error.to_string()),
        Ok(Ok(())) => "NO ERROR".into(),
        Err(panic) => format!("PANIC {:?}", panic.downcast_ref::<String>()),
    }
}

/// The text without what differs between machines and edits: the temporary folder, line and column.
fn normalized(text: &str) -> String {
    let text = text.replace(&files::folder().display().to_string(), "FOLDER");
    let line = |line: &str| match line.strip_prefix("  at ") {
        Some(place) => {
            let (place, rest) = place.split_once(", ").map_or((place, String::new()), |(p, rest)| (p, format!(", {rest}")));
            let path = place.rsplitn(3, ':').last().unwrap_or(place);
            let file = Path::new(path).strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(Path::new(path));
            format!("  at {}{rest}", file.display())
        }
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Samples of some shape with class ids 0 and 1.
fn classes(shape: &[usize]) -> Result<Dataset> {
    let labels: Vec<i64> = (0..shape[0] as i64).map(|i| i % 2).collect();
    Dataset::new(Tensor::ones(shape)?, Tensor::from_vec(labels, [shape[0]])?)
}

/// One quiet epoch.
fn quiet<'a>() -> Fit<'a> {
    Fit::new().verbose(Verbosity::Silent)
}

/// A classifier of four numbers into two classes.
fn classifier() -> Result<Model> {
    Sequential::new([4]).add(Dense::new(2).activation("softmax")).compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
}

/// A model of one number from four.
fn regressor() -> Result<Model> {
    Sequential::new([4]).add(Dense::new(1)).compile("sgd", "mse", ["mae"])
}
