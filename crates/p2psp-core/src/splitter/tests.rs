//! Splitter tests.
