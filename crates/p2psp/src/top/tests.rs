//! What the view shows, letter by letter: made-up news and keys in, frames out, at the smallest usual size of a terminal and at a large one.
