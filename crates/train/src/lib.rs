//! Data, compile and fit, history, callbacks and model files.
