//! What can be meant and seldom is: said before the first step, and no error.

use crate::model::Model;
use kiln_nn::{Activation, Module};

/// Layers whose output is that of their kernel where they have no activation.
const BARE: [&str; 5] = ["Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D"];
/// Activations whose values are not between 0 and 1.
const UNLIKE_PROBABILITIES: [&str; 9] =
    ["relu", "tanh", "elu", "selu", "gelu", "silu", "softplus", "leaky_relu", "relu6"];
/// Losses of numbers, and not of classes.
const OF_NUMBERS: [&str; 5] =
    ["MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "Huber", "LogCosh"];

impl<M: Module> Model<M> {
    /// What is odd about the model and what it was compiled with, each with what was probably meant.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let mut is_trained = false;
        self.module.parameters(&mut |_, parameter| is_trained |= parameter.is_trained());
        if !is_trained {
            doubts.push("No parameter of the model is trained: all are frozen, or it has none.".to_owned());
        }
        let layers = self.module.output_layers();
        for (i, (objective, (class, shape))) in self.objectives.iter().zip(&layers).enumerate() {
            let of = if objective.output.is_empty() { String::new() } else { format!(" `{}`", objective.output) };
            let is_linear = objective.activation == Activation::Linear && BARE.contains(&class.as_str());
            let loss = objective.loss.name();
            if let Some(link) = objective.loss.link().filter(|_| is_linear && !objective.loss.takes_logits()) {
                doubts.push(format!(
                    "{loss} takes probabilities, and the output{of} is linear: give its layer .activation(\"{link}\"), \
                     or the loss .from_logits(true)."
                ));
            }
            let ends_in = |name: &str| objective.activation == Activation::from(name);
            if let Some(link) = objective.loss.link().filter(|link| objective.loss.takes_logits() && ends_in(link)) {
                doubts.push(format!(
                    "{loss} was told .from_logits(true), and the output{of} ends in \"{link}\", which it would apply once more: \
                     leave one of them out."
                ));
            }
            let unlike = UNLIKE_PROBABILITIES.into_iter().find(|name| ends_in(name));
            if let (Some(link), Some(own)) = (objective.loss.link().filter(|_| !objective.loss.takes_logits()), unlike)
            {
                doubts.push(format!(
                    "{loss} takes probabilities, and the output{of} ends in \"{own}\", which gives none: take \"{link}\"."
                ));
            }
            if ends_in("softmax") && shape.last() == Some(&1) {
                doubts.push(format!(
                    "The output{of} is the softmax of one unit, which is always 1: take \"sigmoid\", or a unit for each class."
                ));
            }
            let judged = self.metrics.iter().chain(&self.weighted_metrics).filter(|tracked| tracked.output == i);
            let has_accuracy = judged.into_iter().any(|tracked| tracked.metric.type_name() == "Accuracy");
            if has_accuracy && is_linear && OF_NUMBERS.contains(&loss) {
                doubts.push(format!(
                    "Accuracy counts equal numbers, and the output{of} is trained with {loss}, which makes them near: \
                     \"mae\" tells how near."
                ));
            }
        }
        doubts
    }
}

#[cfg(test)]
mod tests {
    use crate::Compile;
    use kiln_nn::losses::BinaryCrossentropy;
    use kiln_nn::{IntoLoss, Sequential, layers::Dense};

    fn doubts(
        units: usize,
        activation: &str,
        loss: impl IntoLoss + kiln_nn::losses::IntoLosses,
        metric: &str,
    ) -> Vec<String> {
        let net = Sequential::new([3]).add(Dense::new(units).activation(activation));
        net.compile("sgd", loss, [metric]).unwrap().doubts()
    }

    #[test]
    fn what_is_odd_is_said_and_what_is_usual_is_not() {
        for (said, part) in [
            (doubts(3, "linear", "sparse_categorical_crossentropy", "accuracy"), ".activation(\"softmax\")"),
            (doubts(1, "linear", "binary_crossentropy", "accuracy"), ".activation(\"sigmoid\")"),
            (doubts(1, "softmax", "categorical_crossentropy", "accuracy"), "always 1"),
            (doubts(1, "linear", "mse", "accuracy"), "\"mae\""),
            (doubts(1, "sigmoid", BinaryCrossentropy::new().from_logits(true), "accuracy"), "leave one of them out"),
            (doubts(3, "relu", "sparse_categorical_crossentropy", "accuracy"), "take \"softmax\""),
        ] {
            assert!(said.len() == 1 && said[0].contains(part), "{part}: {said:?}");
        }
        let quiet: Vec<String> = [
            doubts(3, "softmax", "sparse_categorical_crossentropy", "accuracy"),
            doubts(1, "sigmoid", "binary_crossentropy", "accuracy"),
            doubts(1, "linear", BinaryCrossentropy::new().from_logits(true), "accuracy"),
            doubts(1, "linear", "mse", "mae"),
        ]
        .concat();
        assert!(quiet.is_empty(), "{quiet:?}");
        let mut frozen = Sequential::new([3]).add(Dense::new(1)).compile("sgd", "mse", ()).unwrap();
        frozen.set_trainable("*", false).unwrap();
        assert!(frozen.doubts()[0].contains("No parameter"));
    }
}
