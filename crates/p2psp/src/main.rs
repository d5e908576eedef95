//! The one binary: `p2psp splitter | peer | demo`.
fn main() {}
