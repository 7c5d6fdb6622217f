//! A typed client of the Twinlock API
