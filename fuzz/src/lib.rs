//! Fuzz bodies as plain functions; the corpus replays in cargo test
