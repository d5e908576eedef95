//! Black-box tests: real processes, real players
