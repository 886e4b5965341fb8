//! Recorded numbers of PyTorch, Keras and scikit-learn: what the library has must agree with them.

use std::path::Path;
use xtask_refs::{Category, run};

#[test]
fn agrees_with_recorded_numbers() {
    let report = run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/refs")).expect("the records can be read");
    assert!(!report.failed(), "{report}");
    // Fewer would mean that something became unsupported.
    for (category, least) in [(Category::Ops, 512), (Category::Train, 576), (Category::EndToEnd, 5)] {
        assert!(report.passed(category) >= least, "{report}");
    }
}
