//! Numbers of scikit-learn 1.9.1, and what is refused.

use super::*;
use kiln_nn::Tensor;

fn near(got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-12 * want.abs().max(1.0), "{got}, not {want}");
}

fn all_near(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{got:?}");
    got.iter().zip(want).for_each(|(&got, &want)| near(got, want));
}

const TRUE: [i64; 10] = [0, 1, 2, 2, 1, 0, 0, 2, 1, 2];
const PREDICTED: [i64; 10] = [0, 2, 2, 2, 1, 1, 0, 0, 1, 2];
const WEIGHTS: [f64; 10] = [0.5, 1.0, 2.0, 1.0, 0.25, 3.0, 1.0, 1.5, 1.0, 0.75];

#[test]
fn labels_as_in_scikit_learn() {
    let (t, p) = (Tensor::new(TRUE), Tensor::new(PREDICTED));
    near(accuracy_score(&t, &p, AccuracyOptions::new().sample_weight(&WEIGHTS)).unwrap(), 0.5416666666666666);
    near(balanced_accuracy_score(&t, &p, BalancedOptions::new().adjusted(true)).unwrap(), 0.5416666666666664);
    let kappa = |weights| KappaOptions::new().weights(weights).sample_weight(&WEIGHTS);
    near(cohen_kappa_score(&t, &p, kappa(KappaWeights::Linear)).unwrap(), 0.3690140845070422);
    near(cohen_kappa_score(&t, &p, kappa(KappaWeights::Quadratic)).unwrap(), 0.4213381555153707);
    near(matthews_corrcoef(&t, &p, WeightOptions::new().sample_weight(&WEIGHTS)).unwrap(), 0.3234997889985951);
    let options = ClassOptions::new().average(Averaging::Weighted).sample_weight(&WEIGHTS);
    near(fbeta_score(&t, &p, 0.5, options).unwrap(), 0.5696043647074575);
    let options = ClassOptions::new().average(Each).labels(&[2, 7]).zero_division(f64::NAN);
    let scores = precision_recall_fscore_support(&t, &p, 1.0, options).unwrap();
    near(scores.precision[0], 0.75);
    assert!(scores.precision[1].is_nan() && scores.recall[1].is_nan());
    near(jaccard_score(&t, &p, Averaging::Macro).unwrap(), 0.5333333333333333);
}

#[test]
fn curves_and_areas_as_in_scikit_learn() {
    let (t, s) = ([0, 1, 1, 0, 1, 0, 0, 1], [0.1, 0.6, 0.35, 0.4, 0.8, 0.4, 0.7, 0.4]);
    let curve = roc_curve(&t, &s, ()).unwrap();
    assert_eq!(curve.fpr, [0.0, 0.0, 0.25, 0.25, 0.75, 0.75, 1.0]);
    assert_eq!(curve.tpr, [0.0, 0.25, 0.25, 0.5, 0.75, 1.0, 1.0]);
    near(roc_auc_score(&t, &s, RocAucOptions::new().max_fpr(0.3)).unwrap(), 0.5845588235294118);
    near(average_precision_score(&t, &s, ()).unwrap(), 0.6845238095238095);
    near(auc(&curve.fpr, &curve.tpr).unwrap(), roc_auc_score(&t, &s, ()).unwrap());
    let p = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25], [0.3, 0.3, 0.4]];
    let t = [0, 1, 2, 2, 1, 0];
    let options = |kind| RocAucOptions::new().multi_class(kind).average(Averaging::Weighted);
    near(roc_auc_score(&t, &p, options(MultiClass::Ovr)).unwrap(), 0.8333333333333334);
    near(roc_auc_score(&t, &p, options(MultiClass::Ovo)).unwrap(), 0.8333333333333333);
    near(log_loss(&t, &p, ()).unwrap(), 0.8364025802358697);
    near(brier_score_loss(&t, &p, ()).unwrap(), 0.4841666666666667);
    near(hinge_loss(&t, &p, ()).unwrap(), 0.875);
    near(top_k_accuracy_score(&t, &p, TopKOptions::new().k(1)).unwrap(), 0.5);
}

#[test]
fn numbers_as_in_scikit_learn() {
    let (t, p) = ([3.0, 0.5, 2.0, 7.0], [2.5, 0.25, 2.0, 8.0]);
    let weighted = || RegressionOptions::new().sample_weight(&[1.0, 2.0, 0.5, 1.0]);
    near(r2_score(&t, &p, weighted()).unwrap(), 0.9517543859649122);
    near(explained_variance_score(&t, &p, weighted()).unwrap(), 0.9517543859649122);
    near(median_absolute_error(&t, &p, weighted()).unwrap(), 0.25);
    near(d2_pinball_score(&t, &p, 0.9, weighted()).unwrap(), 0.4871794871794871);
    near(mean_tweedie_deviance(&t, &p, 1.5, ()).unwrap(), 0.11198848544429296);
    let (t, p) = ([[1.0, 2.0], [2.0, 2.0], [4.0, 2.0]], [[1.0, 2.0], [3.0, 2.0], [4.0, 2.5]]);
    all_near(&r2_score(&t, &p, Each).unwrap(), &[1.0 - 3.0 / 14.0, 0.0]);
    let infinite = RegressionOptions::from(Each).force_finite(false);
    assert_eq!(r2_score(&t, &p, infinite).unwrap()[1], f64::NEG_INFINITY);
    near(r2_score(&t, &p, Multioutput::VarianceWeighted).unwrap(), 1.0 - 3.0 / 14.0);
    near(mean_squared_error(&t, &p, Multioutput::Weights(vec![3.0, 1.0])).unwrap(), (1.0 + 0.25 / 3.0) / 4.0);
}

#[test]
fn reports_are_printed_as_by_scikit_learn() {
    let report = classification_report(&TRUE, &PREDICTED, ReportOptions::new().labels(&[2, 1]).digits(3)).unwrap();
    let report = report.with_names(["ship", "aeroplane"]).unwrap().to_string();
    let expected = "              precision    recall  f1-score   support

        ship      0.750     0.750     0.750         4
   aeroplane      0.667     0.667     0.667         3

   micro avg      0.714     0.714     0.714         7
   macro avg      0.708     0.708     0.708         7
weighted avg      0.714     0.714     0.714         7
";
    assert_eq!(report, expected);
    let rows = classification_report(&[[1, 0], [1, 1]], &[[1, 0], [0, 1]], ()).unwrap();
    assert_eq!(rows.samples_average.unwrap().recall, 0.75);
    assert!(rows.to_string().ends_with("samples avg       1.00      0.75      0.83         3\n"), "{rows}");
}

/// What an error says, on one line.
fn refused<T: std::fmt::Debug>(result: crate::Result<T>, words: &[&str]) {
    let text = result.unwrap_err().to_string();
    assert!(words.iter().all(|word| text.contains(word)) && text.contains("help: "), "{text}");
}

#[test]
fn what_is_no_label_is_refused() {
    refused(f1_score(&[0, 1], &[0, 1, 1], ()), &["f1_score", "y_true has 2 rows, but y_pred has 3"]);
    refused(f1_score(&[0, 1, 2], &[0, 1, 1], ()), &["there are 3: 0, 1, 2", "Averaging::Macro"]);
    refused(f1_score(&[3, 4], &[3, 4], ()), &["the positive class 1 does not occur, only 3, 4", "pos_label"]);
    refused(f1_score(&[0, 1], &[0, 1], Averaging::Samples), &["several labels a sample"]);
    refused(accuracy_score(&[0, 1], &[0.25, 0.75], ()), &["y_pred is 0.25 in row 0", "argmax(-1)"]);
    refused(accuracy_score(&[0.0, f64::NAN], &[0, 1], ()), &["y_true is NaN in row 1"]);
    refused(
        accuracy_score(&[0, 1], &[[0.2, 0.8], [0.5, 0.5]], ()),
        &["y_true is of shape [2], and y_pred of [2, 2]", "argmax"],
    );
    refused(accuracy_score(&Vec::<i64>::new(), &Vec::<i64>::new(), ()), &["y_true is empty"]);
    refused(accuracy_score(&Tensor::zeros([2, 2, 2]).unwrap(), &[0, 1], ()), &["the shape [2, 2, 2]"]);
    refused(confusion_matrix(&[0, 1], &[0, 1], LabelOptions::new().labels(&[5])), &["none of the labels 5"]);
    refused(confusion_matrix(&[0, 1], &[0, 1], LabelOptions::new().labels(&[1, 1])), &["each once"]);
    refused(confusion_matrix(&[[0, 1]], &[[0, 1]], ()), &["several labels a sample"]);
    refused(recall_score(&[[0, 1]], &[[0, 1]], ClassOptions::new().average(Each).labels(&[2])), &["no column 2"]);
    refused(fbeta_score(&[0, 1], &[0, 1], -1.0, ()), &["beta is -1"]);
    for (weights, words) in [
        (vec![1.0], "1 sample weights for 2 samples"),
        (vec![1.0, -2.0], "the sample weight in row 1 is -2"),
        (vec![1.0, f64::NAN], "is NaN"),
        (vec![0.0, 0.0], "all sample weights are 0"),
    ] {
        refused(accuracy_score(&[0, 1], &[0, 1], AccuracyOptions::new().sample_weight(&weights)), &[words]);
    }
}

#[test]
fn what_has_no_area_or_no_probability_is_refused() {
    refused(roc_auc_score(&[1, 1], &[0.5, 0.6], ()), &["y_true is 1 everywhere", "both classes"]);
    refused(roc_curve(&[0, 0], &[0.5, 0.6], ()), &["no positives"]);
    refused(roc_curve(&[2, 3], &[0.5, 0.6], ()), &["the labels are 2, 3", "pos_label"]);
    refused(roc_auc_score(&[0, 1], &[0.5, f64::NAN], ()), &["y_score is NaN in row 1"]);
    refused(roc_auc_score(&[0, 1], &[[0.5, 0.5], [0.1, 0.9]], ()), &["shape [2, 2]", "one column"]);
    refused(roc_auc_score(&[0, 1, 2], &[[0.2, 0.3, 0.5]; 3], ()), &["no word how", "MultiClass::Ovr"]);
    let ovr = || RocAucOptions::new().multi_class(MultiClass::Ovr);
    refused(roc_auc_score(&[0, 1, 2], &[[2.0, 0.3, 0.5]; 3], ovr()), &["row 0 sum to 2.8", "softmax"]);
    refused(roc_auc_score(&[0, 1, 1], &[[0.2, 0.3, 0.5]; 3], ovr()), &["2 classes", "3 columns", "`labels`"]);
    let all = ovr().labels(&[0, 1, 2]);
    refused(roc_auc_score(&[0, 1, 1], &[[0.2, 0.3, 0.5]; 3], all.clone()), &["column 2", "Each"]);
    assert!(roc_auc_score(&[0, 1, 1], &[[0.2, 0.3, 0.5]; 3], all.average(Each)).unwrap()[2].is_nan());
    refused(roc_auc_score(&[0, 1], &[0.1, 0.2], RocAucOptions::new().max_fpr(2.0)), &["max_fpr is 2"]);
    refused(log_loss(&[0, 1], &[0.5, 1.5], ()), &["y_proba is 1.5 in row 1", "sigmoid"]);
    refused(log_loss(&[1, 1], &[0.5, 0.5], ()), &["there are 1 classes", "`labels`"]);
    refused(log_loss(&[0, 1], &[[0.5, 0.1], [0.5, 0.5]], ()), &["row 0 sum to 0.6"]);
    refused(log_loss(&[0, 5], &[0.5, 0.5], LogLossOptions::new().labels(&[0, 1])), &["y_true is 5 in row 1"]);
    refused(log_loss(&[0, 1], &[0.5, 0.5], LogLossOptions::new().labels(&[1, 0])), &["ascending"]);
    refused(top_k_accuracy_score(&[0, 1], &[0.1, 0.2], TopKOptions::new().k(0)), &["k is 0"]);
    refused(auc(&[0.0, 2.0, 1.0], &[0.0; 3]), &["up and down"]);
}

#[test]
fn what_is_no_number_to_compare_is_refused() {
    refused(
        mean_squared_error(&[1.0, 2.0], &[[1.0, 2.0], [1.0, 2.0]], ()),
        &["y_true is of shape [2], and y_pred of [2, 2]"],
    );
    refused(mean_squared_error(&[1.0, f64::INFINITY], &[1.0, 2.0], ()), &["y_true is inf in row 1"]);
    refused(mean_squared_error(&[1.0], &[1.0], Multioutput::VarianceWeighted), &["not for errors"]);
    refused(mean_squared_error(&[1.0], &[1.0], Multioutput::Weights(vec![1.0, 2.0])), &["for 1 outputs"]);
    refused(mean_squared_log_error(&[-1.0], &[1.0], ()), &["a -1 in row 0"]);
    refused(r2_score(&[1.0], &[1.0], ()), &["one sample"]);
    refused(max_error(&[[1.0, 2.0]], &[[1.0, 2.0]]), &["one column"]);
    refused(mean_pinball_loss(&[1.0], &[1.0], 2.0, ()), &["alpha is 2"]);
    refused(mean_poisson_deviance(&[1.0], &[0.0], ()), &["y_pred is 0 in row 0", "softplus"]);
    refused(mean_gamma_deviance(&[0.0], &[1.0], ()), &["y_true is 0 in row 0"]);
    refused(mean_tweedie_deviance(&[1.0], &[1.0], 0.5, ()), &["the power is 0.5"]);
}
