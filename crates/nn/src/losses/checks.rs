//! Operations that refuse targets of the wrong kind. What only values show, a label that is no class or a number that is no
//! probability, is an error of their kernels: on the CPU at once.

use kiln_autograd::{
    CpuCall, CudaCall, DType, Element, Error, Launch, Op, Result, Shape, Spec, Specs, View, with_element,
};

/// Labels `[…]` of any type as class ids, each checked to be one of the classes. Where one is ignored, it becomes class 0, and
/// a second result says which count.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ClassIds {
    /// The loss, for errors.
    pub(super) name: &'static str,
    pub(super) classes: usize,
    pub(super) ignored: Option<i64>,
}

impl ClassIds {
    fn check<T: Element>(&self, labels: &View<'_>, ids: &mut [i64], counts: &mut [bool]) -> Result<()> {
        let mut counts = counts.iter_mut();
        let labels = labels.contiguous::<T>()?;
        for (at, label) in labels.iter().enumerate() {
            let id = label.to_i64();
            if T::DTYPE.is_float() && label.to_f64() != id as f64 {
                return Err(self.no_class(Err(label.to_f64()), at, labels.len()));
            }
            let count = Some(id) != self.ignored;
            ids[at] = if count { id } else { 0 };
            if let Some(counts) = counts.next() {
                *counts = count;
            }
            if !(0..self.classes as i64).contains(&ids[at]) {
                return Err(self.no_class(Ok(id), at, labels.len()));
            }
        }
        Ok(())
    }

    /// The error of a label that is no class, or no whole number at all.
    fn no_class(&self, label: Result<i64, f64>, at: usize, count: usize) -> Error {
        let label = match label {
            Ok(label) => label,
            Err(label) => {
                let text = format!("class ids must be whole numbers; label {label} at position {at} is none");
                let error = Error::dtype(self.name, text).of_element(at, count);
                return error.help("numbers to predict: use mean_squared_error");
            }
        };
        let last = self.classes.saturating_sub(1);
        let text = format!("label {label} at position {at} is not one of the {} classes 0 … {last}", self.classes);
        Error::index(self.name, text).of_element(at, count).help(match self.classes {
            1 => "one unit with a sigmoid: use binary_crossentropy",
            _ => "labels count from 0; the last layer needs one unit for each class",
        })
    }
}

impl Op for ClassIds {
    fn name(&self) -> &str {
        self.name
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let counts = self.ignored.map(|_| DType::Bool);
        Ok([DType::I64].into_iter().chain(counts).map(|dtype| Spec::new(x[0].shape, dtype)).collect())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let (ids, rest) = y.split_first_mut().expect("as many results as were inferred");
        let counts = rest.first_mut().map_or(Ok(&mut [][..]), |counts| counts.slice::<bool>())?;
        with_element!(x[0].dtype(), T => self.check::<T>(&x[0], ids.slice()?, counts))
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let (x, op) = (call.inputs()[0], self.clone());
        let count = x.shape().count();
        let labels = call.dense(0);
        let is_float = x.dtype().is_float();
        let faults = call.faults(move |fault| {
            let label = match (is_float, fault.number()) {
                (false, _) => Ok(fault.integer()),
                (true, whole) if whole == whole.trunc() => Ok(whole as i64),
                (true, other) => Err(other),
            };
            op.no_class(label, fault.position as usize, count)
        });
        let counts = if self.ignored.is_some() { 1 } else { 0 };
        let launch = Launch::new(include_str!("checks.cu"), "class_ids")
            .define_type("T", x.dtype())
            .define("REPORTED", if is_float { "f64" } else { "i64" })
            .over(count)
            .arg(count)
            .arg(self.classes)
            .arg(self.ignored.unwrap_or(-1))
            .arg(labels)
            .arg(call.output(0))
            // The first result once more where there is no second.
            .arg(call.output(counts))
            .arg(i32::from(self.ignored.is_some()))
            .arg(faults);
        call.launch(launch);
        Ok(())
    }
}

/// Checks that targets are probabilities. Its result is empty: it is run for its errors.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Probabilities {
    /// The loss, for errors.
    pub(super) name: &'static str,
}

impl Op for Probabilities {
    fn name(&self) -> &str {
        self.name
    }

    fn infer(&self, _: &[Spec]) -> Result<Specs> {
        Ok(Spec::new(Shape::new(&[0])?, DType::Bool).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, _) = call.parts();
        with_element!(x[0].dtype(), T => {
            let targets = x[0].contiguous::<T>()?;
            let outside = |t: &T| !(0.0..=1.0).contains(&t.to_f64());
            match targets.iter().position(outside) {
                None => Ok(()),
                Some(at) => Err(no_probability(self.name, targets[at].to_f64(), at, targets.len())),
            }
        })
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let (x, name) = (call.inputs()[0], self.name);
        let count = x.shape().count();
        let targets = call.dense(0);
        let faults = call.faults(move |fault| no_probability(name, fault.number(), fault.position as usize, count));
        let launch = Launch::new(include_str!("checks.cu"), "probabilities")
            .define_type("T", x.dtype())
            .define("REPORTED", "f64")
            .over(count)
            .arg(count)
            .arg(targets)
            .arg(faults);
        call.launch(launch);
        Ok(())
    }
}

/// The error of a target that is no probability.
fn no_probability(name: &str, value: f64, at: usize, count: usize) -> Error {
    let text = format!("target {value} at position {at} is no probability: targets lie between 0 and 1");
    let help = "class ids: use sparse_categorical_crossentropy; labels -1 and 1: use hinge";
    Error::index(name, text).of_element(at, count).help(help)
}
