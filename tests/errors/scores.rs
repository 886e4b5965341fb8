//! Mistakes in what scores and pictures are of.

use super::{Mistake, mistakes};
use kiln::prelude::*;
use kiln::scores::{
    AccuracyOptions, MultiClass, RocAucOptions, accuracy_score, f1_score, log_loss, mean_poisson_deviance,
    mean_squared_error, r2_score, roc_auc_score, roc_curve,
};
use kiln::train::Report;
use kiln::train::plot::{ComparePlot, CurvePlot, Gallery};

pub(super) fn all() -> Vec<Mistake> {
    mistakes! {
        "an F1 score of three classes" => { f1_score(&[0, 1, 2], &[0, 1, 1], ())? }
        "an F1 score of labels without 1" => { f1_score(&[3, 4], &[3, 4], ())? }
        "probabilities where labels belong" => { accuracy_score(&[0, 1], &[[0.2, 0.8], [0.5, 0.5]], ())? }
        "a sigmoid's output where labels belong" => { accuracy_score(&[0, 1], &Tensor::new([[0.25], [0.75]]), ())? }
        "targets and predictions of different length" => { accuracy_score(&[0, 1], &[0, 1, 1], ())? }
        "a negative weight" => { accuracy_score(&[0, 1], &[0, 1], AccuracyOptions::new().sample_weight(&[1.0, -2.0]))? }
        "an area of one class" => { roc_auc_score(&[1, 1], &[0.5, 0.6], ())? }
        "an area of NaN" => { roc_auc_score(&[0, 1], &[0.5, f64::NAN], ())? }
        "an area of three classes" => { roc_auc_score(&[0, 1, 2], &[[0.2, 0.3, 0.5]; 3], ())? }
        "an area of scores that are no probabilities" => {
            roc_auc_score(&[0, 1, 2], &[[2.0, 0.3, 0.5]; 3], RocAucOptions::new().multi_class(MultiClass::Ovr))?
        }
        "a curve of labels 2 and 3" => { roc_curve(&[2, 3], &[0.5, 0.6], ())? }
        "the log loss of logits" => { log_loss(&[0, 1], &[-3.0, 1.5], ())? }
        "the log loss of a class that does not occur" => { log_loss(&[0, 1], &[[0.5, 0.25, 0.25]; 2], ())? }
        "an error of an infinity" => { mean_squared_error(&[1.0, f64::INFINITY], &[1.0, 2.0], ())? }
        "R² of one sample" => { r2_score(&[1.0], &[1.0], ())? }
        "a Poisson deviance of a prediction of 0" => { mean_poisson_deviance(&[1.0], &[0.0], ())? }
        "a comparison of a metric that no run has" => {
            let mut history = History::new();
            history.push(0, &Logs::from([("loss", 0.5)]), 0.1);
            ComparePlot::new().run("a", &history).metrics(["los"]).save("never.svg")?
        }
        "a curve for each class with a label too high" => { CurvePlot::roc().classes(&[0, 2], &[[0.5, 0.5]; 2], ["a", "b"])? }
        "a gallery of vectors" => { Gallery::new().draw(&Tensor::ones([2, 9])?, &[0, 1], &[[0.1, 0.9]; 2])? }
        "a report of a run that has not begun" => { Report::new("run").history(&History::new()).write("never.html")? }
    }
}
