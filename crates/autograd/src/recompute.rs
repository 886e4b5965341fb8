//! Checkpointing: a region whose inner values are not kept but computed again on the way back.

use crate::backward::gradients;
use crate::ops::{Function, Kind, Value};
use crate::tape::Rule;
use crate::var::common_tape;
use crate::{Error, ErrorKind, Keep, Outputs, Result, Scalar, Tape, Var};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Region = dyn Fn(&[Var]) -> Result<Vec<Var>>;

struct Recompute {
    region: Box<Region>,
    /// Which inputs are computed again from copies.
    copied: Vec<bool>,
}

/// The identity under a number that no other has. A plan computes once what is computed twice of the same values; what is
/// computed of this is something else.
#[derive(Debug, Clone, PartialEq)]
struct Again(u64);

impl Again {
    fn of(x: &Var) -> Result<Var> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if !Value::dtype(x).is_float() {
            return Ok(x.clone());
        }
        let [y] = Var::elementwise(Again(NEXT.fetch_add(1, Ordering::Relaxed)), [x])?;
        Ok(y)
    }
}

impl Function<1> for Again {
    const NAME: &'static str = "again";
    const KIND: Kind = Kind::Arithmetic;
    #[inline(always)]
    fn call<S: Scalar>(&self, x: [S; 1]) -> [S; 1] {
        x
    }
    fn constant_partials(&self) -> Option<[f64; 1]> {
        Some([1.0])
    }
}

/// Runs `region` on `inputs` and keeps only these: its inner values are computed a second time when gradients are
/// taken. Trades time for memory (Chen et al. 2016, "Training deep nets with sublinear memory cost").
///
/// What it computes of watched values alone, such as parameters that are cast, and its random numbers are kept in a plan.
///
/// # Errors
/// Those of the region, and a region that uses a tracked value which is not among `inputs`.
#[track_caller]
pub fn checkpoint(region: impl Fn(&[Var]) -> Result<Vec<Var>> + 'static, inputs: &[&Var]) -> Result<Vec<Var>> {
    let tape = common_tape("checkpoint", inputs)?;
    let constants: Vec<Var> = inputs.iter().map(|x| Var::new(x.tensor().clone())).collect();
    let outputs = region(&constants)?;
    if outputs.iter().any(Var::is_tracked) {
        let text = "the region uses a tracked value from outside, whose gradient would be lost";
        return Err(Error::new(ErrorKind::Tape, "checkpoint", text)
            .help("pass every tracked value, the parameters too, through `inputs`")
            .at(Location::caller()));
    }
    let Some(tape) = tape else { return Ok(outputs) };
    // What was watched, as a rule parameters, is not copied where something else is.
    let is_watched = |x: &&Var| x.place().is_some_and(|place| place.tape.is_leaf(place.id));
    let all_watched = inputs.iter().all(is_watched);
    let copied = inputs.iter().map(|x| all_watched || !is_watched(x)).collect();
    let (mut results, mut y) = (outputs.into_iter().map(Var::into_tensor).collect(), Outputs::default());
    #[expect(clippy::arc_with_non_send_sync, reason = "a tape stays on its thread; its rules share one pointer type")]
    let rule = Arc::new(Recompute { region: Box::new(region), copied });
    tape.record(rule, inputs, &mut results, &mut y);
    Ok(y.drain().collect())
}

impl Rule for Recompute {
    fn name(&self) -> &str {
        "checkpoint"
    }

    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let create_graph = x.iter().any(Var::is_tracked);
        let own = Tape::new();
        // One input may be computed from another: what its gradient is here ends at the region, whose inputs are values of
        // their own.
        let input = |(x, copied): (&Var, &bool)| match (create_graph, copied) {
            (true, _) => Again::of(x),
            (false, true) => Ok(own.watch(Again::of(x)?.tensor())),
            (false, false) => Ok(own.watch(x.tensor())),
        };
        let x: Vec<Var> = x.iter().zip(&self.copied).map(input).collect::<Result<_>>()?;
        let y = (self.region)(&x)?;
        let fits = |(y, dy): (&Var, &Option<Var>)| dy.as_ref().is_none_or(|dy| dy.tensor().spec() == y.tensor().spec());
        if y.len() != dy.len() || !y.iter().zip(dy).all(fits) {
            let text = format!(
                "the region gave {} values the first time and {} the second, or others: their gradients would be lost",
                dy.len(),
                y.len()
            );
            return Err(Error::new(ErrorKind::Tape, "checkpoint", text).help(
                "it is run twice: it must compute the same of the same inputs, and take nothing out of what it holds",
            ));
        }
        let outputs: Vec<(&Var, &Var)> = y.iter().zip(dy).filter_map(|(y, dy)| Some((y, dy.as_ref()?))).collect();
        let wanted: Vec<&Var> = x.iter().zip(need).filter(|(_, need)| **need).map(|(x, _)| x).collect();
        let mut dx = gradients(&outputs, &wanted, create_graph)?.into_iter();
        Ok(need.iter().map(|need| if *need { dx.next().flatten() } else { None }).collect())
    }
}
