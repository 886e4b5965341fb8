//! The table of a model's layers, in Keras's form.

use crate::module::Module;
use crate::table::{Column, Table, byte_size, thousands};
use kiln_autograd::Shape;

/// A line of the table.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) layer: String,
    pub(crate) output: String,
    pub(crate) trainable: usize,
    pub(crate) frozen: usize,
    /// What it is called on, where that is not the line before.
    pub(crate) from: Option<String>,
}

/// Shapes one after the other: `[3], [4, 2]`.
pub(crate) fn shapes(shapes: &[Shape]) -> String {
    shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(", ")
}

/// A shape with an open batch dimension, as Keras writes it: `(None, 28, 28)`.
pub(crate) fn batch_shape(shape: &Shape) -> String {
    let dims: Vec<String> = shape.iter().map(|d| format!(", {d}")).collect();
    match dims.is_empty() {
        true => "(None,)".into(),
        false => format!("(None{})", dims.concat()),
    }
}

/// The table, and the totals below it.
pub(crate) fn table(name: &str, rows: &[Row], element_bytes: usize) -> String {
    let mut columns = vec![
        Column::new("Layer (type)").min_width(30),
        Column::new("Output Shape").min_width(22),
        Column::new("Param #").right().min_width(13),
    ];
    columns.extend(rows.iter().any(|row| row.from.is_some()).then(|| Column::new("Connected to").min_width(20)));
    let mut table = Table::new(columns);
    table.title(format!("Model: \"{name}\"")).rules(true);
    for row in rows {
        let mut cells = vec![row.layer.clone(), row.output.clone(), thousands(row.trainable + row.frozen)];
        cells.extend(row.from.clone());
        table.row(cells);
    }
    let trainable: usize = rows.iter().map(|r| r.trainable).sum();
    let frozen: usize = rows.iter().map(|r| r.frozen).sum();
    let line = |what: &str, count: usize| {
        format!(" {what}: {} ({})\n", thousands(count), byte_size(count.saturating_mul(element_bytes)))
    };
    format!(
        "{table}{}{}{}",
        line("Total params", trainable + frozen),
        line("Trainable params", trainable),
        line("Non-trainable params", frozen)
    )
}

/// The table of a hand-written module: its parameters by path.
pub(crate) fn of_parameters(module: &(impl Module + ?Sized)) -> String {
    let mut rows = Vec::new();
    let mut element_bytes = 4;
    module.parameters(&mut |path, p| {
        element_bytes = p.tensor.dtype().size();
        let count = p.tensor.count();
        let (trainable, frozen) = if p.is_trained() { (count, 0) } else { (0, count) };
        rows.push(Row { layer: path.to_owned(), output: p.tensor.shape().to_string(), trainable, frozen, from: None });
    });
    table("module", &rows, element_bytes)
}
