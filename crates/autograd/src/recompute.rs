//! Checkpointing: a region whose inner values are not kept but computed again on the way back.

use crate::backward::gradients;
use crate::tape::Rule;
use crate::var::common_tape;
use crate::{Error, ErrorKind, Keep, Result, Tape, Var};
use std::panic::Location;
use std::sync::Arc;

type Region = dyn Fn(&[Var]) -> Result<Vec<Var>>;

struct Recompute {
    region: Box<Region>,
}

/// Runs `region` on `inputs` and keeps only these: its inner values are computed a second time when gradients are
/// taken. Trades time for memory (Chen et al. 2016, "Training deep nets with sublinear memory cost").
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
    let tensors = outputs.into_iter().map(Var::into_tensor).collect();
    #[expect(clippy::arc_with_non_send_sync, reason = "a tape stays on its thread; its rules share one pointer type")]
    let rule = Arc::new(Recompute { region: Box::new(region) });
    Ok(tape.record(rule, inputs, tensors).into_iter().collect())
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
        let x: Vec<Var> = x.iter().map(|x| if create_graph { x.clone() } else { own.watch(x.tensor()) }).collect();
        let y = (self.region)(&x)?;
        let outputs: Vec<(&Var, &Var)> = y.iter().zip(dy).filter_map(|(y, dy)| Some((y, dy.as_ref()?))).collect();
        let wanted: Vec<&Var> = x.iter().zip(need).filter(|(_, need)| **need).map(|(x, _)| x).collect();
        let mut dx = gradients(&outputs, &wanted, create_graph)?.into_iter();
        Ok(need.iter().map(|need| if *need { dx.next().flatten() } else { None }).collect())
    }
}
