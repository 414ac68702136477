//! Empty: this package has only integration tests, one binary per lane in `tests/`.
