//! What `compile` takes for its metrics: none, one, several of one kind of argument, or a tuple of different ones.

use super::{IntoMetric, Metric};
use crate::Result;

/// One metric or several, by name or by value.
///
/// ```
/// use kiln_nn::metrics::{AUC, IntoMetrics};
/// assert_eq!(["accuracy", "precision"].into_metrics()?.len(), 2);
/// assert_eq!(("accuracy", AUC::new()).into_metrics()?.len(), 2);
/// assert_eq!("mae".into_metrics()?.len(), 1);
/// assert_eq!(().into_metrics()?.len(), 0);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no metric, and no list of metrics",
    note = "give `()` for none, a name such as \"mae\", names as in [\"accuracy\", \"auc\"], a metric such as `AUC::new()`, or a tuple of different ones; one of your own implements `Metric` or is made by `MetricFn::new`"
)]
pub trait IntoMetrics {
    /// Converts.
    ///
    /// # Errors
    /// A name that is none.
    fn into_metrics(self) -> Result<Vec<Box<dyn Metric>>>;
}

impl<M: IntoMetric> IntoMetrics for M {
    fn into_metrics(self) -> Result<Vec<Box<dyn Metric>>> {
        Ok(vec![self.into_metric()?])
    }
}

impl<T: IntoMetric, const N: usize> IntoMetrics for [T; N] {
    fn into_metrics(self) -> Result<Vec<Box<dyn Metric>>> {
        self.into_iter().map(IntoMetric::into_metric).collect()
    }
}

impl<T: IntoMetric> IntoMetrics for Vec<T> {
    fn into_metrics(self) -> Result<Vec<Box<dyn Metric>>> {
        self.into_iter().map(IntoMetric::into_metric).collect()
    }
}

impl IntoMetrics for () {
    fn into_metrics(self) -> Result<Vec<Box<dyn Metric>>> {
        Ok(Vec::new())
    }
}

macro_rules! tuples {
    ($(($($metric:ident)+))+) => {$(
        impl<$($metric: IntoMetric),+> IntoMetrics for ($($metric,)+) {
            #[expect(non_snake_case, reason = "a type parameter names its value")]
            fn into_metrics(self) -> Result<Vec<Box<dyn Metric>>> {
                let ($($metric,)+) = self;
                Ok(vec![$($metric.into_metric()?),+])
            }
        }
    )+};
}
tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }
