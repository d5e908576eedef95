//! The program from outside, with nothing but the program: real processes over real sockets on the loopback. Tests that need
//! other people's players and senders are in `tests/real`.

#[cfg(test)]
mod demo;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod leaving;
#[cfg(test)]
mod playing;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod steering;
#[cfg(test)]
mod stranger;
#[cfg(test)]
mod strangers;
