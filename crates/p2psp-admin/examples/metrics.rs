//! Prints `docs/metrics.md`; `cargo xtask metrics` writes it.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().write_all(p2psp_admin::metrics::document().as_bytes())
}
