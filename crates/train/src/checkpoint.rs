//! Model files: one safetensors file with the weights, the optimizer's state, and in its header the architecture and
//! the compile settings as JSON. A checkpoint of a run is one with more in it, which `fit/checkpoints.rs` knows.

use crate::files::write_atomic;
use crate::model::{Model, Tracked};
use crate::monitor::Reference;
use crate::{Compile, Error, Result};
use kiln_nn::io::{TensorFile, parse_safetensors, to_safetensors};
use kiln_nn::losses::Losses;
use kiln_nn::module::{fitting, load_parameters, named_parameters};
use kiln_nn::names::{listing, matches};
use kiln_nn::{Functional, IntoModule, Module, Network, Spec, Tensor};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs;
use std::path::Path;

/// The entry of the header that holds the JSON.
const ENTRY: &str = "kiln_model";
/// Before the names of the optimizer's tensors, which would else collide with weights.
pub(crate) const OPTIMIZER: &str = "optimizer/";
/// Before the names of what a run keeps beside the model.
pub(crate) const RUN: &str = "run/";
/// What the checksum of all bytes but its own digits is called.
const CHECKSUM: &str = "kiln_checksum";
/// How a model goes on that no file can describe.
const OWN_PARTS: &str =
    "what is your own is built by your code: build and compile the model, then model.load_state(path)";
/// The version of this form.
const FORMAT: u64 = 1;

/// What [`Model::load_weights_by_name`] did: a path stands in one of the four lists if the pattern stands for it.
///
/// `Display` tells it in lines.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "it says which parameters were left as they are"]
pub struct LoadReport {
    /// The parameters that now have the file's values.
    pub loaded: Vec<String>,
    /// The parameters that are not in the file.
    pub missing: Vec<String>,
    /// The parameters that have another shape or type in the file, with what the model wants and what the file has.
    pub unfit: Vec<(String, Spec, Spec)>,
    /// The tensors of the file that the model has no parameter for; the optimizer's do not count.
    pub unused: Vec<String>,
}

impl LoadReport {
    /// Whether every parameter and every tensor of the file found its like.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unfit.is_empty() && self.unused.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loaded {}", listing(&self.loaded))?;
        if !self.missing.is_empty() {
            write!(f, "\nnot in the file: {}", listing(&self.missing))?;
        }
        for (path, want, found) in &self.unfit {
            write!(f, "\n`{path}` has shape {} ({}) in the model", want.shape, want.dtype)?;
            write!(f, " and {} ({}) in the file", found.shape, found.dtype)?;
        }
        if !self.unused.is_empty() {
            write!(f, "\nnot in the model: {}", listing(&self.unused))?;
        }
        Ok(())
    }
}

impl<M: Module> Model<M> {
    /// Writes the weights alone.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        let weights = named_parameters(&self.module);
        let weights = weights.iter().map(|(name, tensor)| (name.as_str(), tensor));
        write(path.as_ref(), weights, CHECKSUM, NO_DIGITS.to_owned())
    }

    /// Reads weights that [`Model::save_weights`] or [`Model::save`] wrote into this model.
    ///
    /// # Errors
    /// A file that is missing, damaged or of another model; the model is unchanged then.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let file = read(path.as_ref())?;
        self.check_all_used(path.as_ref(), &file)?;
        load_parameters(&mut self.module, |name| file.tensors.get(name).cloned())
            .map_err(|e| Error::file(path.as_ref(), e.to_string()))?;
        self.stay()
    }

    /// Refuses a file that has weights which the model does not have.
    fn check_all_used(&self, path: &Path, file: &TensorFile) -> Result<()> {
        let known: HashSet<&str> = self.paths.iter().map(String::as_str).collect();
        let is_unused = |name: &&String| !known.contains(name.as_str()) && !name.starts_with(OPTIMIZER);
        let Some(first) = file.tensors.keys().filter(is_unused).min() else { return Ok(()) };
        let text = format!("has `{first}`, which this model does not have");
        let help = "it is of another model: model.load_weights_by_name(path, \"*\") takes what both have";
        Err(Error::file(path, text).with_help(help))
    }

    /// Reads those weights of another model's file whose paths a pattern stands for, in which `*` is any number of characters:
    /// `load_weights_by_name(path, "features/*")` takes over the layers that two models share. What is missing or has
    /// another shape stays as it is, and the report says so; the optimizer's state stays too.
    ///
    /// ```
    /// use kiln_nn::{Sequential, layers::Dense};
    /// use kiln_train::Compile;
    /// let net = |classes| {
    ///     let layers = Sequential::new([4]).add_named("features", Dense::new(8));
    ///     layers.add_named("head", Dense::new(classes)).compile("adam", "mse", ())
    /// };
    /// let path = std::env::temp_dir().join(format!("kiln-by-name-{}.safetensors", std::process::id()));
    /// net(2)?.save_weights(&path)?;
    ///
    /// let mut other = net(3)?;
    /// let report = other.load_weights_by_name(&path, "features/*")?;
    /// assert_eq!(report.loaded, ["features/kernel", "features/bias"]);
    /// assert!(report.is_complete());
    ///
    /// // Of all paths, those of the head do not fit.
    /// let report = other.load_weights_by_name(&path, "*")?;
    /// assert!(report.to_string().contains("`head/kernel` has shape [8, 3] (f32) in the model and [8, 2] (f32) in the file"));
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    ///
    /// # Errors
    /// A file that is missing or damaged; a pattern that stands for no parameter of the model; a file that has nothing for those
    /// that it stands for. The model is unchanged then.
    pub fn load_weights_by_name(&mut self, path: impl AsRef<Path>, pattern: &str) -> Result<LoadReport> {
        let path = path.as_ref();
        let file = read(path)?;
        let mut report = LoadReport::default();
        let (mut known, mut fit) = (HashSet::new(), HashMap::new());
        self.module.parameters(&mut |name, parameter| {
            known.insert(name.to_owned());
            if !matches(pattern, name) {
                return;
            }
            let want = parameter.tensor.spec();
            match file.tensors.get(name) {
                None => report.missing.push(name.to_owned()),
                Some(tensor) if tensor.spec() != want => report.unfit.push((name.to_owned(), want, tensor.spec())),
                Some(tensor) => {
                    report.loaded.push(name.to_owned());
                    fit.insert(name.to_owned(), tensor.clone());
                }
            }
        });
        let is_unused =
            |name: &&String| matches(pattern, name) && !known.contains(*name) && !name.starts_with(OPTIMIZER);
        report.unused = file.tensors.keys().filter(is_unused).cloned().collect();
        report.unused.sort();
        if report.loaded.is_empty() {
            if report.missing.is_empty() && report.unfit.is_empty() {
                let paths: Vec<&str> = self.paths.iter().map(String::as_str).collect();
                return Err(kiln_nn::Error::unknown("parameter", pattern, &paths).into());
            }
            let text = format!("has nothing for the parameters `{pattern}` of this model\n{report}");
            return Err(
                Error::file(path, text).with_help("the names of layers, and what they are part of, must be equal")
            );
        }
        self.module.parameters_mut(&mut |name, parameter| {
            if let Some(tensor) = fit.remove(name) {
                parameter.tensor = tensor;
            }
        });
        self.stay()?;
        Ok(report)
    }

    /// Writes the whole model: architecture, compile settings, weights and optimizer state. The file is replaced in one
    /// step, so a crash leaves the old one or the new one, and has a checksum. A module, layer, loss or metric of your own cannot be
    /// made from a file; such a model is built by your code and goes on with [`Model::load_state`].
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_model(path.as_ref(), self.tensors(), &[], &self.description())
    }

    /// The weights, and the optimizer's state, by their names in a file.
    pub(crate) fn tensors(&self) -> Vec<(String, Tensor)> {
        let state = self.optimizer.state().into_iter().map(|(name, tensor)| (format!("{OPTIMIZER}{name}"), tensor));
        named_parameters(&self.module).into_iter().chain(state).collect()
    }

    /// What it was compiled with.
    pub(crate) fn compiled(&self) -> Json {
        let several = self.objectives.len() > 1;
        let configs = |metrics: &[Tracked]| -> Vec<Json> {
            let config = |tracked: &Tracked| match several {
                false => tracked.metric.to_config(),
                true => json!({ "output": tracked.output, "metric": tracked.metric.to_config() }),
            };
            metrics.iter().map(config).collect()
        };
        let loss: Json = match &self.objectives[..] {
            [one] => one.loss.to_config(),
            all => all.iter().map(|one| json!({ "loss": one.loss.to_config(), "weight": one.weight })).collect(),
        };
        json!({
            "optimizer": self.optimizer.to_config(),
            "loss": loss,
            "metrics": configs(&self.metrics),
            "weighted_metrics": configs(&self.weighted_metrics),
        })
    }

    /// What a file says of the model beside its tensors.
    pub(crate) fn description(&self) -> Description {
        let mut frozen = Vec::new();
        self.module.parameters(&mut |path, parameter| frozen.extend((!parameter.trainable).then(|| path.to_owned())));
        let own = json!({
            "format": FORMAT,
            "kiln": env!("CARGO_PKG_VERSION"),
            "architecture": self.module.config(),
            "steps": self.steps,
            "frozen": frozen,
            "reference": self.reference,
        });
        [own, self.compiled()].into_iter().filter_map(|part| part.as_object().cloned()).flatten().collect()
    }

    /// Takes the weights and the optimizer's state from a file that [`Model::save`] wrote: training goes on where it was, to
    /// the same bits. The model is built and compiled as the saved one was; that may have parts of your own, which
    /// [`Model::load`] cannot make.
    ///
    /// # Errors
    /// A file that is missing, damaged, or of another model or optimizer; the model is unchanged then.
    pub fn load_state(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let (saved, _) = read_model(path.as_ref())?;
        self.restore(path.as_ref(), &saved)
    }

    /// Puts weights, the optimizer's state and the position in the stream of random numbers in place; all or none.
    pub(crate) fn restore(&mut self, path: &Path, saved: &Saved) -> Result<()> {
        let Saved { file, description } = saved;
        if let Some(name) = description["optimizer"]["name"].as_str().filter(|name| *name != self.optimizer.name()) {
            let text = format!("has the state of {name}, this model is compiled with {}", self.optimizer.name());
            let help = "compile it as the saved one was; model.load_weights(path) takes the weights alone";
            return Err(Error::file(path, text).with_help(help));
        }
        let inner = |(name, t): (&String, &Tensor)| Some((name.strip_prefix(OPTIMIZER)?.to_owned(), t.clone()));
        let state: Vec<(String, Tensor)> = file.tensors.iter().filter_map(inner).collect();
        self.check_all_used(path, file)?;
        let reference = Option::<Reference>::deserialize(&description["reference"])
            .map_err(|e| Error::file(path, format!("its reference cannot be read: {e}")))?;
        let before = self.optimizer.clone();
        self.load_optimizer(&state).map_err(|e| Error::file(path, e.to_string()))?;
        if let Err(error) = saved.put_weights(path, &mut self.module) {
            self.optimizer = before;
            return Err(error);
        }
        self.steps = description["steps"].as_u64().unwrap_or(0);
        if let Some(reference) = reference {
            self.reference = Some(reference);
        }
        self.stay()
    }
}

impl Model<Network> {
    /// Draws the model as an SVG picture: a box for each layer, with the shapes of what it gives, and lines for what flows between
    /// them.
    ///
    /// # Errors
    /// A file that cannot be written, or whose name does not end in `.svg`.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        if !path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("svg")) {
            return Err(Error::file(path, "is no name of an SVG file").with_help("models are drawn as SVG: model.svg"));
        }
        write_atomic(path, self.module.graph().svg().as_bytes())
    }

    /// Reads a model that [`Model::save`] wrote: it predicts the same bits, and training goes on where it was.
    ///
    /// # Errors
    /// A file that is missing, damaged, of another program, or of a model with parts of your own, for which there is
    /// [`Model::load_state`].
    pub fn load(path: impl AsRef<Path>) -> Result<Model<Network>> {
        let path = path.as_ref();
        let (saved, _) = read_model(path)?;
        let description = &saved.description;
        let part = |e| saved.unknown(path, e);
        let architecture = saved.architecture(path)?;
        let metrics = |key: &str| -> Result<Vec<Tracked>> {
            let list = description[key].as_array().cloned().unwrap_or_default();
            let read = |json: &Json| {
                let output = json["output"].as_u64().map(|i| i as usize);
                let config = if output.is_some() { &json["metric"] } else { json };
                let metric = kiln_nn::metrics::from_config(config).map_err(part)?;
                Ok(Tracked { output: output.unwrap_or(0), metric })
            };
            list.iter().map(read).collect()
        };
        let optimizer = kiln_nn::optimizers::from_config(&description["optimizer"]).map_err(part)?;
        let several = description["loss"].as_array();
        let loss = |json: &Json| kiln_nn::losses::from_config(json).map_err(part);
        let losses = match several {
            None => Losses::One(loss(&description["loss"])?),
            Some(all) => Losses::Each(all.iter().map(|one| loss(&one["loss"])).collect::<Result<_>>()?),
        };
        let mut model = architecture.compile(optimizer, losses, ())?;
        model.set_metrics(metrics("metrics")?, metrics("weighted_metrics")?)?;
        for (objective, saved) in model.objectives.iter_mut().zip(several.into_iter().flatten()) {
            objective.weight = saved["weight"].as_f64().unwrap_or(1.0);
        }
        model.restore(path, &saved)?;
        Ok(model)
    }

    /// The layers of a file that [`Model::save`] wrote, with their weights and without what they were compiled with, as Keras's
    /// `compile=False`: to be compiled anew, where the loss or the metrics are your own.
    ///
    /// ```
    /// use kiln_nn::{Network, Sequential, layers::Dense, losses::LossFn, ops::*};
    /// use kiln_train::{Compile, Model};
    /// let path = std::env::temp_dir().join(format!("kiln-network-{}", std::process::id()));
    /// let own = || LossFn::new("cubic", |y, p| Ok(p.sub(y)?.abs()?.pow(3.0)?.mean(-1)?));
    /// Sequential::new([4]).add(Dense::new(1)).compile("adam", own(), ())?.save(&path)?;
    /// assert!(Model::load(&path).is_err());
    ///
    /// let model = Model::load_network(&path)?.compile("sgd", own(), ["mae"])?;
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    ///
    /// # Errors
    /// As of [`Model::load`], but for losses, metrics and optimizers.
    pub fn load_network(path: impl AsRef<Path>) -> Result<Network> {
        let path = path.as_ref();
        let (saved, _) = read_model(path)?;
        let mut network = saved.architecture(path)?.into_module()?;
        saved.put_weights(path, &mut network)?;
        Ok(network)
    }
}

/// What a file says of a model beside its tensors.
pub(crate) type Description = serde_json::Map<String, Json>;

/// A model file that was read.
pub(crate) struct Saved {
    pub(crate) file: TensorFile,
    pub(crate) description: Json,
}

impl Saved {
    /// What the model is made of.
    fn architecture(&self, path: &Path) -> Result<Functional> {
        let part = |e| self.unknown(path, e);
        if self.description["architecture"].is_null() {
            let text = "has no architecture: it is of a module written by hand";
            return Err(Error::file(path, text).with_help(OWN_PARTS));
        }
        let architecture = Functional::from_config(&self.description["architecture"]).map_err(part)?;
        // Before there is a weight: what a damaged file says of its layers may be any size.
        for (path, spec) in architecture.parameter_specs().map_err(part)? {
            fitting(&path, spec, self.file.tensors.get(&path).cloned()).map_err(part)?;
        }
        Ok(architecture)
    }

    /// Gives a module its weights, and freezes what was frozen; all or none.
    fn put_weights(&self, path: &Path, module: &mut (impl Module + ?Sized)) -> Result<()> {
        load_parameters(module, |name| self.file.tensors.get(name).cloned())
            .map_err(|e| Error::file(path, e.to_string()))?;
        // Files from before frozen parameters were remembered say nothing of them.
        if let Some(frozen) = self.description["frozen"].as_array() {
            let frozen: Vec<&str> = frozen.iter().filter_map(Json::as_str).collect();
            module.parameters_mut(&mut |path, parameter| parameter.trainable = !frozen.contains(&path));
        }
        Ok(())
    }

    /// An error of a part of the model, with the way out where the part is the user's.
    fn unknown(&self, path: &Path, error: kiln_nn::Error) -> Error {
        let kiln_nn::Error::Unknown { what, given, .. } = &error else { return Error::file(path, error.to_string()) };
        let way = match what.as_str() {
            "layer" => format!("a layer of your own is known after kiln::nn::layers::register(\"{given}\", …); "),
            "cell" => format!("a cell of your own is known after layers::register_cell(\"{given}\", …); "),
            _ => "Model::load_network(path) gives the layers with their weights, to be compiled anew; ".to_owned(),
        };
        Error::file(path, format!("has the {what} `{given}`, which this version does not know"))
            .with_help(format!("{way}{OWN_PARTS}"))
    }
}

/// Reads a model file, and apart from it the tensors of a run, if it is a checkpoint.
pub(crate) fn read_model(path: &Path) -> Result<(Saved, BTreeMap<String, Tensor>)> {
    let mut file = read_all(path)?;
    let inside = |text: String| Error::file(path, text);
    let text = file.metadata.get(ENTRY).ok_or_else(|| {
        inside("holds tensors but no Kiln model".into())
            .with_help("weights alone are read with model.load_weights(path)")
    })?;
    let description: Json =
        serde_json::from_str(text).map_err(|e| inside(format!("its description is no JSON: {e}")))?;
    match description["format"].as_u64() {
        Some(FORMAT) => Ok(()),
        Some(newer) if newer > FORMAT => {
            let writer = description["kiln"].as_str().unwrap_or("a later version");
            let text = format!("has format {newer}, this version reads {FORMAT}");
            Err(inside(text).with_help(format!("it is of Kiln {writer}: read it with that or a later one")))
        }
        _ => Err(inside(format!("has format {}, this version reads {FORMAT}", description["format"]))),
    }?;
    if description.get(CHECKSUM).is_none() {
        return Err(inside("is damaged: its checksum is missing".into()));
    }
    let run = take_run(&mut file);
    Ok((Saved { file, description }, run))
}

/// Writes a model file, with the tensors of a run if it is a checkpoint.
pub(crate) fn write_model(
    path: &Path,
    model: Vec<(String, Tensor)>,
    run: &[(String, Tensor)],
    description: &Description,
) -> Result<()> {
    let mut description = description.clone();
    description.insert(CHECKSUM.to_owned(), NO_DIGITS.into());
    let text = serde_json::to_string_pretty(&description)
        .map_err(|e| Error::data(format!("the model's settings: {e}"), ""))?;
    // A file that could not be read again is worth nothing.
    serde_json::from_str::<Json>(&text).map_err(|e| {
        let text = format!("the model's settings cannot be read back: {e}");
        Error::data(text, "a file holds models within models up to 40 deep: build inner ones flat, of their layers")
    })?;
    let run: Vec<(String, &Tensor)> = run.iter().map(|(name, tensor)| (format!("{RUN}{name}"), tensor)).collect();
    let all = model.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let all = all.chain(run.iter().map(|(name, tensor)| (name.as_str(), *tensor)));
    write(path, all, ENTRY, text)
}

/// Writes tensors with one entry in the header, the checksum or what has it inside; of several the order would change from
/// process to process.
fn write<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    entry: &str,
    text: String,
) -> Result<()> {
    let metadata = BTreeMap::from([(entry.to_owned(), text)]);
    let mut bytes = to_safetensors(tensors, &metadata).map_err(kiln_nn::Error::from)?;
    if let Some(at) = digits(&bytes) {
        let sum = checksum(&bytes, at);
        bytes[at..at + NO_DIGITS.len()].copy_from_slice(format!("{sum:08x}").as_bytes());
    }
    write_atomic(path, &bytes)
}

/// What stands for the digits of a checksum while it is computed.
const NO_DIGITS: &str = "00000000";

/// Where the digits of the checksum are: in an entry of the header, or in the description that is one. A quotation mark within
/// a name has more backslashes, so that neither is found by mistake.
fn digits(bytes: &[u8]) -> Option<usize> {
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let header = bytes.get(8..8 + usize::try_from(length).ok().filter(|length| *length < bytes.len())?)?;
    let after = |before: String| {
        let at = header.windows(before.len()).position(|part| part == before.as_bytes());
        at.map(|at| 8 + at + before.len())
    };
    let in_text = || after(format!(r#"\"{CHECKSUM}\": \""#));
    let at = after(format!(r#""{CHECKSUM}":""#)).or_else(in_text)?;
    matches!(bytes.get(at + NO_DIGITS.len())?, b'"' | b'\\').then_some(at)
}

/// The CRC-32 of a file whose checksum stands at `at`.
fn checksum(bytes: &[u8], at: usize) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    for part in [&bytes[..at], NO_DIGITS.as_bytes(), &bytes[at + NO_DIGITS.len()..]] {
        hash.update(part);
    }
    hash.finalize()
}

/// The tensors of a file, whose checksum is looked at if it has one.
fn read_all(path: &Path) -> Result<TensorFile> {
    let bytes = fs::read(path).map_err(|source| Error::io("read", path, source))?;
    if let Some(at) = digits(&bytes) {
        let (want, found) = (&bytes[at..at + NO_DIGITS.len()], format!("{:08x}", checksum(&bytes, at)));
        if want != found.as_bytes() {
            let text =
                format!("is damaged: its checksum is {}, its content has {found}", String::from_utf8_lossy(want));
            return Err(Error::file(path, text));
        }
    }
    parse_safetensors(&bytes, path).map_err(|e| kiln_nn::Error::from(e).into())
}

/// The tensors of a file that are a model's.
fn read(path: &Path) -> Result<TensorFile> {
    let mut file = read_all(path)?;
    // Of a checkpoint the model alone; files of others may name their tensors as they like.
    if file.metadata.contains_key(ENTRY) {
        take_run(&mut file);
    }
    Ok(file)
}

/// Takes the tensors of a run out of a checkpoint.
fn take_run(file: &mut TensorFile) -> BTreeMap<String, Tensor> {
    let (run, model) =
        std::mem::take(&mut file.tensors).into_iter().partition::<Vec<_>, _>(|(name, _)| name.starts_with(RUN));
    file.tensors = model.into_iter().collect();
    run.into_iter().map(|(name, tensor)| (name[RUN.len()..].to_owned(), tensor)).collect()
}
