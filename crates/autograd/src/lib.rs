//! The tape: reverse-mode derivatives of any order.
