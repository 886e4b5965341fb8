//! The tests of the whole: one binary, a room for each subject.

mod refs;
