//! A deployed model over its windows: metrics beside what they were on the reference, and how far samples have moved.

use super::axes::{HUES, LINE, Mark, SOFT_INK};
use super::figure::Figure;
use super::panel::{Line, Panel};
use super::{check_epochs, line};
use crate::Result;
use crate::history::from_1;
use crate::monitor::Monitor;
use crate::text::log_value;
use std::path::Path;

impl Monitor {
    /// Draws every window: metrics with their values on the reference, and the largest population stability index of the inputs and of
    /// the predictions with the threshold. To a `.png` or an `.svg`.
    ///
    /// # Errors
    /// No full window yet; a file that cannot be written.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        self.draw()?.save(path)
    }

    /// What [`Monitor::plot`] writes.
    ///
    /// # Errors
    /// No full window yet.
    pub fn draw(&self) -> Result<Figure> {
        let history = self.history();
        check_epochs(history)?;
        let own = [("input_psi", "PSI of the inputs, largest"), ("prediction_psi", "PSI of the predictions, largest")];
        let metrics = history.names().filter(|name| self.reference().metric(name).is_some());
        let metrics = metrics.map(|name| (name, name.replace('_', " "), self.reference().metric(name), "reference"));
        let drifts = own.map(|(name, title)| (name, title.to_owned(), Some(self.psi), "threshold"));
        let panel = |(hue, (name, title, level, what)): (usize, (&str, String, Option<f64>, &str))| {
            let [colour, _] = HUES[hue % HUES.len()];
            let mut panel =
                Panel { title, across: Some(format!("window of {} samples", self.window)), ..Panel::default() };
            panel.legend.add(Mark::Solid(colour), "measured");
            panel.lines.extend(line(history, name, colour, false));
            if let Some(level) = level {
                let values = history.epochs().iter().map(|&epoch| (from_1(epoch), Some(level))).collect();
                panel.legend.add(Mark::Dashed(SOFT_INK), format!("{what} {}", log_value(level)));
                panel.lines.push(Line {
                    values,
                    colour: SOFT_INK,
                    width: LINE - 0.75,
                    is_dashed: true,
                    has_dots: false,
                });
            }
            panel
        };
        let panels: Vec<Panel> = metrics.chain(drifts).enumerate().map(panel).collect();
        Figure::of_panels(None, &panels)
    }
}
