//! What `compile` takes for its loss: one, or one for each output of a model.

use super::{IntoLoss, Loss};
use crate::{Error, Result};

/// The losses of a model.
#[derive(Debug)]
pub enum Losses {
    /// The same for every output.
    One(Box<dyn Loss>),
    /// One for each output, in order.
    Each(Vec<Box<dyn Loss>>),
    /// By the name of the output.
    Named(Vec<(String, Box<dyn Loss>)>),
}

/// One loss, or one for each output of a model, in order or by name.
///
/// ```
/// use kiln_nn::losses::{IntoLosses, Losses};
/// assert!(matches!("mse".into_losses()?, Losses::One(_)));
/// assert!(matches!(["mse", "mae"].into_losses()?, Losses::Each(all) if all.len() == 2));
/// let named = [("priority", "binary_crossentropy"), ("department", "categorical_crossentropy")];
/// assert!(matches!(named.into_losses()?, Losses::Named(_)));
/// # Ok::<(), kiln_nn::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no loss, and no list of losses",
    note = "give a name such as \"mse\" or a loss such as `losses::Huber::new()`, or one for each output; one of your own implements `Loss`, or is made of a closure by `losses::LossFn::new`"
)]
pub trait IntoLosses {
    /// Converts.
    ///
    /// # Errors
    /// A name that is none; a setting out of its range.
    fn into_losses(self) -> Result<Losses>;
}

impl<L: IntoLoss> IntoLosses for L {
    fn into_losses(self) -> Result<Losses> {
        Ok(Losses::One(self.into_loss()?))
    }
}

impl<L: IntoLoss, const N: usize> IntoLosses for [L; N] {
    fn into_losses(self) -> Result<Losses> {
        Ok(Losses::Each(self.into_iter().map(IntoLoss::into_loss).collect::<Result<_>>()?))
    }
}

impl<L: IntoLoss> IntoLosses for Vec<L> {
    fn into_losses(self) -> Result<Losses> {
        Ok(Losses::Each(self.into_iter().map(IntoLoss::into_loss).collect::<Result<_>>()?))
    }
}

impl<S: Into<String>, L: IntoLoss, const N: usize> IntoLosses for [(S, L); N] {
    fn into_losses(self) -> Result<Losses> {
        let named = self.into_iter().map(|(name, loss)| Ok((name.into(), loss.into_loss()?)));
        Ok(Losses::Named(named.collect::<Result<_>>()?))
    }
}

impl IntoLosses for Losses {
    fn into_losses(self) -> Result<Losses> {
        Ok(self)
    }
}

impl Losses {
    /// One for each of these outputs, in their order.
    ///
    /// # Errors
    /// More or fewer than there are, a name that no output has.
    pub fn for_outputs(self, outputs: &[String]) -> Result<Vec<Box<dyn Loss>>> {
        let many = |found: usize| {
            let losses = if found == 1 { "1 loss".to_owned() } else { format!("{found} losses") };
            let list = outputs.join("`, `");
            match outputs.len() {
                1 => Error::config(format!("compile: {losses} for one output"), "give one"),
                n => Error::config(
                    format!("compile: {losses} for {n} outputs"),
                    format!("give one for each of `{list}`"),
                ),
            }
        };
        match self {
            Losses::One(loss) => Ok(outputs.iter().map(|_| loss.boxed()).collect()),
            Losses::Each(all) if all.len() == outputs.len() => Ok(all),
            Losses::Each(all) => Err(many(all.len())),
            Losses::Named(named) => {
                let known: Vec<&str> = outputs.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
                if let Some((name, _)) = named.iter().find(|(name, _)| !outputs.contains(name)) {
                    return Err(Error::unknown("output", name, &known));
                }
                let is_second = |i: &usize| named[..*i].iter().any(|(name, _)| *name == named[*i].0);
                if let Some(i) = (0..named.len()).find(is_second) {
                    let text = format!("compile: two losses for the output `{}`", named[i].0);
                    return Err(Error::config(text, "give one; their sum is a loss of your own"));
                }
                let of = |output: &String| named.iter().find(|(name, _)| name == output).map(|(_, loss)| loss.boxed());
                let all: Option<Vec<_>> = outputs.iter().map(of).collect();
                all.filter(|all| all.len() == named.len()).ok_or_else(|| many(named.len()))
            }
        }
    }
}
