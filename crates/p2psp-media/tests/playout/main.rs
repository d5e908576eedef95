//! Play-out as a black box: the ring against a model, the server over real loopback sockets.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod players;
#[cfg(test)]
mod spool;
