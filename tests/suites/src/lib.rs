//! tests/suites
