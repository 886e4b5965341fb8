//! What Kiln says to a newcomer's mistakes. Each is a closure in one of the lists below; what it prints is in
//! `errors.txt`, to be read from top to bottom. After a change of a text, `KILN_BLESS=1 cargo test --test main errors`
//! writes the file anew; read the difference.

mod data;
mod files;
mod models;
mod scores;
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
        ("Scores and pictures", scores::all()),
        ("Callbacks", data::callbacks()),
        ("Files", files::all()),
        ("Tensors", tensors::operations()),
        ("Gradients", tensors::gradients()),
    ];
    let mut text =
        String::from("What Kiln says to mistakes: written by tests/errors.rs, whose cases have these names.\n");
    for (group, mistakes) in groups {
        write!(text, "\n==== {group}\n").unwrap();
        for (name, mistake) in mistakes {
            write!(text, "\n# {name}\n{}\n", outcome(mistake)).unwrap();
        }
    }
    std::fs::remove_dir_all(files::folder()).unwrap();
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
    // What is called directly is told by its line.
    let tensors = text.split("\n==== ").find(|group| group.starts_with("Tensors")).unwrap();
    for mistake in tensors.split("\n# ").skip(1) {
        assert!(
            mistake.contains("\n  at tests/errors/tensors.rs") || mistake.contains("no/such"),
            "without its line: {mistake}"
        );
    }
}

/// Whether a file of some kind can be read.
type Reader = fn(&Path) -> bool;

/// Files that are damaged anywhere, or end anywhere, are errors or are read; they never panic.
#[test]
fn damaged_files() {
    let folder = files::folder().with_extension("damaged");
    classifier().and_then(|model| model.save(folder.join("whole"))).unwrap();
    let model = std::fs::read(folder.join("whole")).unwrap();
    let readers: [(&str, Vec<u8>, Reader); 3] = [
        ("damaged.safetensors", model, |path| Model::load(path).is_ok()),
        ("damaged.idx", files::idx_of(&[1, 2, 3, 4, 5, 6]), |path| kiln::train::data::idx::read(path).is_ok()),
        ("damaged.csv", b"a,b,c\n1,2,x\n3,4,y\n".to_vec(), |path| {
            kiln::train::data::csv::Csv::new(path).class_target("c").read().is_ok()
        }),
    ];
    for (name, whole, read) in readers {
        let path = folder.join(name);
        let mut refused = 0;
        for i in 0..300u64 {
            let mut bytes = whole.clone();
            let at = Key::new(i).below(0, bytes.len() as u64) as usize;
            match i % 3 {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 1 << (i / 3 % 8),
                _ => bytes[at] = 0xff,
            }
            std::fs::write(&path, bytes).unwrap();
            refused += usize::from(!read(&path));
        }
        assert!(refused > 60, "{name}: only {refused} damaged files were refused");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// Every name that stands for something is in the lists of the docs.
#[test]
fn the_docs_list_every_name() {
    let page = include_str!("../docs/compile-and-fit.md");
    let unknown = [
        losses::from_name("?").err(),
        metrics::from_name("?").err(),
        optimizers::from_name("?").err(),
        init::Initializer::from_name("?").err(),
        Sequential::new([1]).add(Dense::new(1).activation("?")).build().err().and_then(|error| match error {
            kiln::nn::Error::Layer { source, .. } => Some(*source),
            _ => None,
        }),
    ];
    for error in unknown {
        let Some(kiln::nn::Error::Unknown { what, known, .. }) = error else { panic!("`?` is a name: {error:?}") };
        for name in known {
            assert!(page.contains(&format!("`\"{name}\"`")), "the {what} {name} is in no list of compile-and-fit.md");
        }
    }
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
            let (place, rest) =
                place.split_once(", ").map_or((place, String::new()), |(p, rest)| (p, format!(", {rest}")));
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
    Sequential::new([4]).add(Dense::new(2).activation("softmax")).compile(
        "adam",
        "sparse_categorical_crossentropy",
        ["accuracy"],
    )
}

/// A model of one number from four.
fn regressor() -> Result<Model> {
    Sequential::new([4]).add(Dense::new(1)).compile("sgd", "mse", ["mae"])
}
