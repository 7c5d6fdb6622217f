//! The Twinlock API, version 1
