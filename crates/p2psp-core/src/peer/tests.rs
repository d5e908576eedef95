//! Peers and a splitter together, without a network.

mod claims;
mod fairness;
mod golden;
mod halves;
mod hostile;
mod life;
mod recovery;
mod routes;
mod shares;
mod silence;
