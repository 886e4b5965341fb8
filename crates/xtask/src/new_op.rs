//! `new-op`: the three rooms of an operation and its lines in the lists. It begins as the identity, which passes every
//! check; whoever adds it replaces what it computes.

use std::fs;
use std::path::{Path, PathBuf};

/// A room of a new operation: where it is, and what it begins with.
const ROOMS: &[(&str, &str)] = &[
    ("crates/tensor/src/ops/NAME/mod.rs", include_str!("../templates/op.txt")),
    ("crates/autograd/src/rules/NAME.rs", include_str!("../templates/rule.txt")),
    ("tests/cases/NAME.rs", include_str!("../templates/cases.txt")),
];

/// A list that names every operation: the file, the line before which a new one goes, and that one. The formatter puts
/// most in order.
const LISTS: &[(&str, &str, &str)] = &[
    ("crates/tensor/src/ops/mod.rs", "mod value;\n", "mod NAME;\n"),
    ("crates/tensor/src/ops/mod.rs", "pub use value::", "pub use NAME::{TYPE, TYPEOps};\n"),
    ("crates/tensor/src/ops/mod.rs", "    ActivationOps\n", "    TYPEOps\n"),
    ("crates/tensor/src/ops/prelude.rs", "    ActivationOps,", "    TYPEOps,\n"),
    ("crates/autograd/src/rules/mod.rs", "mod views;\n", "mod NAME;\n"),
    ("tests/cases/mod.rs", "pub mod views;\n", "pub mod NAME;\n"),
    ("tests/contract.rs", "        Box::new(MatMul),\n", "        Box::new(TYPE),\n"),
    ("tests/ops.rs", "#[test]\n", "#[test]\nfn NAME() {\n    check_all(cases::NAME::all());\n}\n\n"),
];

/// No method has one of these names.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// The first source file of a folder with a line that begins as one of these, and does not go on with the same word.
fn defines(folder: &Path, starts: &[String]) -> Result<Option<PathBuf>, String> {
    let begins = |line: &str, start: &String| {
        let line = line.trim_start();
        let rest = line.strip_prefix("pub ").unwrap_or(line).strip_prefix(start.as_str());
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(|e| format!("{}: {e}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if let Some(found) = defines(&path, starts)? {
                return Ok(Some(found));
            }
        } else if let Ok(text) = fs::read_to_string(&path)
            && text.lines().any(|line| starts.iter().any(|start| begins(line, start)))
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Writes the rooms of operation `name` below the workspace's `root` and returns what was written, or writes nothing.
///
/// # Errors
/// A name that is no method's, or is taken; a list that does not look as expected.
pub fn run(root: &Path, name: &str) -> Result<Vec<String>, String> {
    let snake = name.split('_').all(|word| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    });
    if !snake {
        return Err(format!("`{name}` is no name for a method: write it like_this"));
    }
    if KEYWORDS.contains(&name) {
        return Err(format!("`{name}` is a word of Rust's own"));
    }
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let pascal: String = name.split('_').map(capital).collect();
    // A method, a row of a table of functions, a type.
    let taken = [format!("fn {name}"), format!("{name} {pascal}"), format!("struct {pascal}")];
    if let Some(file) = defines(&root.join("crates/tensor/src/ops"), &taken)? {
        return Err(format!("there is a method `{name}` or a type `{pascal}`: {}", file.display()));
    }
    let fill = |text: &str| text.replace("NAME", name).replace("TYPE", &pascal);

    let mut files: Vec<(String, String)> = Vec::new();
    for (path, template) in ROOMS {
        let path = fill(path);
        // A room may be a folder or a file.
        let other = path.strip_suffix("/mod.rs").map_or_else(|| path.clone(), |room| format!("{room}.rs"));
        if root.join(&path).exists() || root.join(&other).exists() {
            return Err(format!("there is an operation `{name}`: {path}"));
        }
        files.push((path, fill(template)));
    }
    for &(path, anchor, line) in LISTS {
        let at = match files.iter().position(|(file, _)| file == path) {
            Some(at) => at,
            None => {
                let text = fs::read_to_string(root.join(path)).map_err(|e| format!("{path}: {e}"))?;
                files.push((path.to_owned(), text));
                files.len() - 1
            }
        };
        let text = &mut files[at].1;
        let place = text.find(anchor).ok_or_else(|| format!("{path}: no place for `{name}` before `{anchor}`"))?;
        text.insert_str(place, &fill(line));
    }
    for (path, text) in &files {
        let path = root.join(path);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let nowhere = Path::new("no/such/folder");
        for bad in ["", "Roll", "2d", "a__b", "a-b", "_a", "roll_2d", "größe"] {
            assert!(run(nowhere, bad).unwrap_err().contains("like_this"), "{bad}");
        }
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for taken in ["type", "self", "sum", "exp", "relu", "log2", "matmul", "conv2d"] {
            let error = run(&repository, taken).unwrap_err();
            assert!(error.contains("Rust's own") || error.contains("there is a"), "{taken}: {error}");
        }
    }

    #[test]
    fn rooms_and_lists() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = std::env::temp_dir().join(format!("kiln-new-op-{}", std::process::id()));
        for (path, ..) in LISTS {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::copy(repository.join(path), root.join(path)).unwrap();
        }
        let written = run(&root, "roll_twice").unwrap();
        assert_eq!(written.len(), 9, "{written:?}");
        for path in &written {
            let text = fs::read_to_string(root.join(path)).unwrap();
            assert!(text.contains("roll_twice") || text.contains("RollTwice"), "{path}");
            assert!(!text.contains("NAME") && !text.contains("TYPE"), "{path}");
        }
        assert!(run(&root, "roll_twice").unwrap_err().contains("there is a"));
        fs::remove_dir_all(root).unwrap();
    }
}
