//! The real server and real clients, over a Unix socket, loopback and TLS, in front of a team that is a table.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod buffer;
mod commands;
mod guarded;
mod hostile;
mod lines;
mod peer;
mod plain;
mod renewal;
mod services;
mod steer;
mod strict;
mod strict_tls;
mod team;
mod unread;
