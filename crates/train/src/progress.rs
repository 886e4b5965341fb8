//! The live progress bar and its one-line form, as Keras prints them. Keeps time, computes no metric.

use crate::history::Logs;
use crate::text::log_value;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Columns of the bar itself.
const BAR_WIDTH: usize = 20;
/// A line that is drawn over is drawn no more often than this, from one pass to the next too: for each, values are read.
/// In between, a step costs one look at the clock.
const REFRESH: Duration = Duration::from_millis(100);

/// How much a run says while it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing.
    Silent,
    /// A live bar for each epoch (`verbose=1`).
    Bar,
    /// One line for each epoch (`verbose=2`).
    Line,
    /// A bar on a terminal, lines elsewhere.
    #[default]
    Auto,
}

impl Verbosity {
    /// The verbosity for a sink that is a terminal or not: [`Verbosity::Auto`] becomes one of the others.
    #[must_use]
    pub fn resolve(self, is_terminal: bool) -> Self {
        match self {
            Self::Auto if is_terminal => Self::Bar,
            Self::Auto => Self::Line,
            other => other,
        }
    }
}

/// Prints the progress of a run to any sink.
///
/// A sink that can no longer be written to (a closed pipe) is no reason to lose a training run: failed writes are
/// ignored.
///
/// # Examples
/// ```
/// use kiln_train::Logs;
/// use kiln_train::progress::{Progress, Verbosity};
/// let mut text = Vec::new();
/// let mut progress = Progress::new(&mut text, Verbosity::Line);
/// progress.begin_epoch(0, 3, Some(25));
/// for step in 1..=25 {
///     progress.step(step, || Logs::from([("loss", 1.5)]));
/// }
/// progress.end(&Logs::from([("loss", 1.5222)]));
/// let text = String::from_utf8(text).unwrap();
/// assert!(text.starts_with("Epoch 1/3\n25/25 - 0s - "));
/// assert!(text.ends_with("/step - loss: 1.5222\n"));
/// ```
#[derive(Debug)]
pub struct Progress<W: Write> {
    out: W,
    verbosity: Verbosity,
    colour: bool,
    width: Width,
    steps: Option<usize>,
    done: usize,
    /// Steps that were done before the clock ran.
    before: usize,
    validation: Option<(usize, Option<usize>)>,
    started: Instant,
    /// When the first step ended: it warms caches and would spoil the mean.
    first_step: Option<Instant>,
    last_step: Instant,
    last_draw: Option<Instant>,
    /// Columns of the line that the cursor stands in, which the next drawing must cover.
    drawn: usize,
}

/// Where the room for a live line is known from.
#[derive(Clone, Copy, Debug)]
enum Width {
    Terminal,
    Columns(usize),
}

impl Progress<io::Stdout> {
    /// Prints to standard output: coloured and fitted to its width where it is a terminal (`NO_COLOR` turns colours
    /// off).
    pub fn stdout(verbosity: Verbosity) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = io::stdout().is_terminal() && !is_dumb;
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            width: Width::Terminal,
            colour: is_terminal && !no_colour,
            ..Self::new(io::stdout(), verbosity.resolve(is_terminal))
        }
    }
}

impl<W: Write> Progress<W> {
    /// Prints to `out`, which is taken for no terminal: no colours, 80 columns for a bar that is asked for.
    pub fn new(out: W, verbosity: Verbosity) -> Self {
        let now = Instant::now();
        Self {
            out,
            verbosity: verbosity.resolve(false),
            colour: false,
            width: Width::Columns(80),
            steps: None,
            done: 0,
            before: 0,
            validation: None,
            started: now,
            first_step: None,
            last_step: now,
            last_draw: None,
            drawn: 0,
        }
    }

    /// Fits the live line into so many columns.
    #[must_use]
    pub fn width(mut self, columns: usize) -> Self {
        self.width = Width::Columns(columns);
        self
    }

    /// Whether to use the terminal's colours.
    #[must_use]
    pub fn colour(mut self, colour: bool) -> Self {
        self.colour = colour;
        self
    }

    /// Starts an epoch (from 0) of `epochs`, of `steps` batches where that is known; the title is left out of a run
    /// with one epoch.
    pub fn begin_epoch(&mut self, epoch: usize, epochs: usize, steps: Option<usize>) {
        if epochs > 1 && self.verbosity != Verbosity::Silent {
            self.write(&format!("Epoch {}/{epochs}\n", epoch + 1));
        }
        self.begin(steps);
    }

    /// Tells that so many steps of the pass were done before it was taken up again.
    pub fn goes_on_from(&mut self, done: usize) {
        (self.done, self.before) = (done, done);
    }

    /// Starts a pass without a title, such as an evaluation.
    pub fn begin(&mut self, steps: Option<usize>) {
        self.begin_at(steps, Instant::now());
    }

    /// Tells that `done` steps are done; `logs` is asked for values only if the line is drawn, which it seldom is.
    pub fn step(&mut self, done: usize, logs: impl FnOnce() -> Logs) {
        if self.verbosity != Verbosity::Silent {
            self.step_at(done, Instant::now(), logs);
        }
    }

    /// Tells that `done` validation steps are done, of `total` if that is known, so that a long validation does not look frozen.
    pub fn validation_step(&mut self, done: usize, total: Option<usize>, logs: impl FnOnce() -> Logs) {
        if self.verbosity == Verbosity::Bar {
            self.validation = Some((done, total));
            self.draw_if_due(Instant::now(), logs);
        }
    }

    /// Ends the pass with its final values.
    pub fn end(&mut self, logs: &Logs) {
        self.end_at(logs, Instant::now());
    }

    /// Prints a line of its own, above the bar.
    pub fn message(&mut self, text: &str) {
        if self.verbosity == Verbosity::Silent {
            return;
        }
        let cleared = if self.drawn > 0 { format!("\r{}\r", " ".repeat(self.drawn)) } else { String::new() };
        self.drawn = 0;
        self.last_draw = None;
        self.write(&format!("{cleared}{text}\n"));
    }

    fn begin_at(&mut self, steps: Option<usize>, now: Instant) {
        self.steps = steps.filter(|&steps| steps > 0);
        (self.done, self.before) = (0, 0);
        self.validation = None;
        self.started = now;
        self.first_step = None;
        self.last_step = now;
    }

    fn step_at(&mut self, done: usize, now: Instant, logs: impl FnOnce() -> Logs) {
        self.done = done;
        self.last_step = now;
        if done == self.before + 1 {
            self.first_step = Some(now);
        }
        if self.verbosity == Verbosity::Bar {
            self.draw_if_due(now, logs);
        }
    }

    fn draw_if_due(&mut self, now: Instant, logs: impl FnOnce() -> Logs) {
        if self.last_draw.is_some_and(|last| now.saturating_duration_since(last) < REFRESH) {
            return;
        }
        self.last_draw = Some(now);
        let line = self.live_line(&logs());
        let columns = line.columns;
        self.overwrite(line, "");
        self.drawn = columns;
    }

    fn end_at(&mut self, logs: &Logs, now: Instant) {
        if self.verbosity == Verbosity::Silent {
            return;
        }
        // A pass of unknown length turns out to have had as many steps as were done.
        let steps = self.steps.unwrap_or(self.done);
        self.steps = Some(steps);
        self.done = self.done.min(steps);
        let elapsed = now.saturating_duration_since(self.started).as_secs_f64();
        let mut line = Line::new(self.colour);
        line.push(Paint::Bold, &self.counter());
        if self.verbosity == Verbosity::Bar {
            self.push_bar(&mut line);
            line.push(Paint::Plain, " ");
            line.push(Paint::Bold, &format!("{elapsed:.0}s"));
            line.push(Paint::Plain, &format!(" {}", step_time(self.seconds_per_step())));
        } else {
            let per_step = step_time(self.seconds_per_step());
            line = Line::new(false);
            line.push(Paint::Plain, &format!("{} - {elapsed:.0}s - {per_step}", self.counter()));
        }
        for (name, value) in logs.iter() {
            line.push(Paint::Plain, &metric(name, value));
        }
        // The last word on an epoch is never cut: nothing is drawn over it, so it may wrap.
        self.overwrite(line, "\n");
        self.drawn = 0;
    }

    /// The line of a pass that goes on, cut to the terminal: values that do not fit are left out whole, for half a
    /// number would be a wrong one.
    fn live_line(&self, logs: &Logs) -> Line {
        let room = match self.width {
            Width::Columns(columns) => columns,
            Width::Terminal => terminal_columns(),
        }
        .saturating_sub(1);
        let per_step = self.seconds_per_step();
        let left = self.steps.map(|steps| steps.saturating_sub(self.done) as f64 * per_step);
        let elapsed = self.last_step.saturating_duration_since(self.started).as_secs_f64();
        let time = left.map_or_else(|| format!("{elapsed:.0}s"), clock);
        let per_step = step_time(per_step);
        let counter = self.counter();
        let columns = |text: &str| text.chars().count();

        let mut line = Line::new(self.colour);
        line.push(Paint::Bold, &cut(&counter, room));
        let time_columns = columns(&time) + columns(&per_step) + 2;
        if line.columns + 1 + BAR_WIDTH + time_columns <= room && self.steps.is_some() {
            self.push_bar(&mut line);
        }
        if line.columns + time_columns <= room {
            line.push(Paint::Plain, " ");
            line.push(Paint::Bold, &time);
            line.push(Paint::Plain, &format!(" {per_step}"));
        }
        let validating = self.validation.map(|(done, total)| match total {
            Some(total) => format!(" - validating {done}/{total}"),
            None => format!(" - validating {done}"),
        });
        let metrics = logs.iter().map(|(name, value)| metric(name, value));
        for text in validating.into_iter().chain(metrics) {
            if line.columns + columns(&text) > room {
                if line.columns + 2 <= room {
                    line.push(Paint::Plain, " …");
                }
                break;
            }
            line.push(Paint::Plain, &text);
        }
        line
    }

    fn counter(&self) -> String {
        match self.steps {
            Some(steps) => {
                let digits = steps.to_string().len();
                format!("{:>digits$}/{steps}", self.done)
            }
            None => format!("{:>7}/Unknown", self.done),
        }
    }

    fn push_bar(&self, line: &mut Line) {
        let steps = self.steps.unwrap_or(1).max(1);
        let filled = (BAR_WIDTH * self.done.min(steps)) / steps;
        // Without colours the rest of the bar is told apart by a thinner line.
        let rest = if self.colour { "━" } else { "─" };
        line.push(Paint::Plain, " ");
        line.push(Paint::Green, &"━".repeat(filled));
        line.push(Paint::White, &rest.repeat(BAR_WIDTH - filled));
    }

    /// The mean time of a step, without the first one where there are others.
    fn seconds_per_step(&self) -> f64 {
        let done = self.done.saturating_sub(self.before);
        let (since, steps) = match self.first_step {
            Some(first) if done > 1 => (first, done - 1),
            _ => (self.started, done),
        };
        if steps == 0 {
            return 0.0;
        }
        self.last_step.saturating_duration_since(since).as_secs_f64() / steps as f64
    }

    /// Puts a line over the one that the cursor stands in.
    fn overwrite(&mut self, line: Line, end: &str) {
        let start = if self.drawn > 0 { "\r" } else { "" };
        let cover = " ".repeat(self.drawn.saturating_sub(line.columns));
        self.write(&format!("{start}{}{cover}{end}", line.text));
    }

    fn write(&mut self, text: &str) {
        // See the type's documentation: a sink that is gone must not end the training.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// The colours of a line.
#[derive(Clone, Copy)]
enum Paint {
    Plain,
    Bold,
    Green,
    White,
}

/// Text with its escape sequences, and its width without them.
struct Line {
    text: String,
    columns: usize,
    colour: bool,
}

impl Line {
    fn new(colour: bool) -> Self {
        Self { text: String::new(), columns: 0, colour }
    }

    fn push(&mut self, paint: Paint, text: &str) {
        if text.is_empty() {
            return;
        }
        self.columns += text.chars().count();
        let escape = match paint {
            Paint::Bold => "\x1b[1m",
            Paint::Green => "\x1b[32m",
            Paint::White => "\x1b[37m",
            Paint::Plain => "",
        };
        if escape.is_empty() || !self.colour {
            self.text.push_str(text);
        } else {
            self.text.push_str(&format!("{escape}{text}\x1b[0m"));
        }
    }
}

fn terminal_columns() -> usize {
    console::Term::stdout().size_checked().map_or(80, |(_rows, columns)| usize::from(columns))
}

fn metric(name: &str, value: f64) -> String {
    format!(" - {name}: {}", log_value(value))
}

fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns).collect()
}

/// `59s`, `1:05`, `1:02:03`.
fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if seconds >= 3600 {
        format!("{hours}:{minutes:02}:{:02}", seconds % 60)
    } else if seconds >= 60 {
        format!("{minutes}:{:02}", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// `2s/step`, `29ms/step`, `740us/step`.
fn step_time(seconds: f64) -> String {
    if seconds >= 1.0 || seconds == 0.0 {
        format!("{seconds:.0}s/step")
    } else if seconds >= 1e-3 {
        format!("{:.0}ms/step", seconds * 1e3)
    } else {
        format!("{:.0}us/step", seconds * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pass with a clock of its own: step n ends `step_ms` after step n-1.
    struct Run {
        progress: Progress<Vec<u8>>,
        start: Instant,
    }

    impl Run {
        fn new(steps: Option<usize>, make: impl Fn(Progress<Vec<u8>>) -> Progress<Vec<u8>>) -> Self {
            let mut progress = make(Progress::new(Vec::new(), Verbosity::Bar));
            let start = Instant::now();
            progress.begin_at(steps, start);
            Self { progress, start }
        }

        fn step(&mut self, done: usize, ms: u64, logs: &Logs) {
            self.progress.step_at(done, self.start + Duration::from_millis(ms), || logs.clone());
        }

        fn end(&mut self, ms: u64, logs: &Logs) {
            self.progress.end_at(logs, self.start + Duration::from_millis(ms));
        }

        fn text(&mut self) -> String {
            String::from_utf8(std::mem::take(&mut self.progress.out)).unwrap()
        }
    }

    fn logs() -> Logs {
        Logs::from([("accuracy", 0.2988), ("loss", 1.66)])
    }

    #[test]
    fn a_coloured_bar_is_that_of_keras() {
        let mut run = Run::new(Some(25), |progress| progress.colour(true).width(120));
        run.step(1, 2304, &logs());
        assert_eq!(
            run.text(),
            "\x1b[1m 1/25\x1b[0m \x1b[37m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m55s\x1b[0m 2s/step - accuracy: 0.2988 - \
             loss: 1.6600"
        );
        for step in 2..=25 {
            run.progress.last_draw = None;
            run.step(step, 2304 + 29 * (step as u64 - 1), &logs());
        }
        let text = run.text();
        assert!(
            text.contains(
                "\r\x1b[1m13/25\x1b[0m \x1b[32m━━━━━━━━━━\x1b[0m\x1b[37m━━━━━━━━━━\x1b[0m \x1b[1m0s\x1b[0m 29ms/step"
            ),
            "{text:?}"
        );
        let mut last = logs();
        last.extend(&Logs::from([("val_accuracy", 0.3), ("val_loss", 1.3139), ("learning_rate", 1e-3)]));
        run.end(3100, &last);
        assert_eq!(
            run.text(),
            "\r\x1b[1m25/25\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m3s\x1b[0m 29ms/step - accuracy: 0.2988 \
             - loss: 1.6600 - val_accuracy: 0.3000 - val_loss: 1.3139 - learning_rate: 0.0010\n"
        );
    }

    #[test]
    fn steps_between_refreshes_ask_for_nothing() {
        let mut run = Run::new(Some(1000), |progress| progress);
        run.step(1, 0, &logs());
        run.text();
        let at = run.start + Duration::from_millis(99);
        run.progress.step_at(2, at, || panic!("nobody looks at these values"));
        assert_eq!(run.text(), "");
        run.step(3, 100, &logs());
        assert!(run.text().starts_with("\r   3/1000 "));
    }

    #[test]
    fn values_are_read_ten_times_a_second_and_for_lines_never() {
        // 4 passes of 500 steps of 1 ms, and their validations.
        let read = |verbosity: Verbosity| {
            let mut run = Run::new(Some(500), |_| Progress::new(Vec::new(), verbosity));
            let mut reads = 0;
            for pass in 0..4 {
                let at = |step: usize| run.start + Duration::from_millis((500 * pass + step) as u64);
                run.progress.begin_at(Some(500), at(0));
                for step in 1..=500 {
                    run.progress.step_at(step, at(step), || {
                        reads += 1;
                        logs()
                    });
                }
                run.progress.end_at(&logs(), at(500));
            }
            reads
        };
        assert_eq!(read(Verbosity::Bar), 20);
        assert_eq!([read(Verbosity::Line), read(Verbosity::Silent)], [0, 0]);
    }

    #[test]
    fn a_shorter_line_covers_a_longer_one() {
        let mut run = Run::new(Some(2), |progress| progress);
        run.step(1, 100, &Logs::from([("loss", 123_456.0)]));
        run.text();
        run.step(2, 200, &Logs::from([("loss", 1.0)]));
        assert_eq!(run.text(), "\r2/2 ━━━━━━━━━━━━━━━━━━━━ 0s 100ms/step - loss: 1.0000     ");
    }

    #[test]
    fn a_narrow_terminal_gets_whole_values_only() {
        let line = |columns: usize| {
            let mut run = Run::new(Some(25), |progress| progress.width(columns));
            run.step(10, 1000, &logs());
            let text = run.text();
            assert!(text.chars().count() < columns, "{columns}: {text}");
            text
        };
        assert_eq!(line(78), "10/25 ━━━━━━━━──────────── 1s 100ms/step - accuracy: 0.2988 - loss: 1.6600");
        assert_eq!(line(70), "10/25 ━━━━━━━━──────────── 1s 100ms/step - accuracy: 0.2988 …");
        assert_eq!(line(50), "10/25 ━━━━━━━━──────────── 1s 100ms/step …");
        assert_eq!(line(30), "10/25 1s 100ms/step …");
        assert_eq!(line(10), "10/25 …");
        assert_eq!(line(4), "10/");
        for columns in 1..90 {
            line(columns);
        }
    }

    #[test]
    fn a_pass_of_unknown_length() {
        let mut run = Run::new(None, |progress| progress);
        run.step(7, 3000, &Logs::from([("loss", 0.5)]));
        assert_eq!(run.text(), "      7/Unknown 3s 429ms/step - loss: 0.5000");
        run.end(3000, &Logs::from([("loss", 0.5)]));
        assert_eq!(run.text(), "\r7/7 ━━━━━━━━━━━━━━━━━━━━ 3s 429ms/step - loss: 0.5000\n");
    }

    #[test]
    fn a_validation_is_seen() {
        let mut run = Run::new(Some(2), |progress| progress);
        run.step(2, 200, &logs());
        run.text();
        run.progress.last_draw = None;
        run.progress.validation_step(3, Some(10), || Logs::from([("loss", 1.0)]));
        assert_eq!(run.text(), "\r2/2 ━━━━━━━━━━━━━━━━━━━━ 0s 100ms/step - validating 3/10 - loss: 1.0000 ");
    }

    #[test]
    fn lines_silence_and_messages() {
        let mut run = Run::new(Some(25), |_| Progress::new(Vec::new(), Verbosity::Auto));
        run.progress.begin_epoch(1, 3, Some(25));
        run.progress.begin_at(Some(25), run.start);
        run.step(1, 100, &logs());
        run.progress.message("Epoch 2: early stopping");
        for step in 2..=25 {
            run.progress.step_at(step, run.start + Duration::from_micros(100_000 + 740 * (step as u64 - 1)), Logs::new);
        }
        run.end(400, &logs());
        assert_eq!(
            run.text(),
            "Epoch 2/3\nEpoch 2: early stopping\n25/25 - 0s - 740us/step - accuracy: 0.2988 - loss: 1.6600\n"
        );
        let mut silent = Run::new(Some(25), |_| Progress::new(Vec::new(), Verbosity::Silent));
        silent.progress.begin_epoch(0, 3, Some(25));
        silent.progress.step(1, logs);
        silent.progress.message("psst");
        silent.end(400, &logs());
        assert_eq!(silent.text(), "");
    }

    #[test]
    fn a_message_clears_the_bar() {
        let mut run = Run::new(Some(2), |progress| progress);
        run.step(1, 100, &Logs::new());
        let bar = run.text();
        run.progress.message("hello");
        assert_eq!(run.text(), format!("\r{}\rhello\n", " ".repeat(bar.chars().count())));
        run.end(200, &Logs::new());
        assert!(!run.text().starts_with('\r'));
    }

    #[test]
    fn clocks() {
        assert_eq!([clock(59.9), clock(65.0), clock(3723.0), clock(0.2)], ["59s", "1:05", "1:02:03", "0s"]);
        assert_eq!(
            [step_time(2.4), step_time(0.0294), step_time(7.4e-4), step_time(0.0)],
            ["2s/step", "29ms/step", "740us/step", "0s/step"]
        );
    }

    #[test]
    fn a_closed_sink_is_no_reason_to_stop() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut progress = Progress::new(Closed, Verbosity::Bar);
        progress.begin_epoch(0, 2, None);
        progress.step(1, logs);
        progress.end(&logs());
    }
}
