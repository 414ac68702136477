//! tests/testbed
