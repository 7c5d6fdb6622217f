//! End-to-end tests of Twinlock
