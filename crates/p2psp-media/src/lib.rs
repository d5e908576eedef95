//! Media at both ends of a team: what comes in ([`ingest`], [`testcard`]), how it is cut ([`container`], [`record`])
//! and how players get it. Knows containers and HTTP; knows nothing of teams, chunk numbers or QUIC.

pub mod container;
pub mod fuzzing;
pub mod ingest;
pub mod playout;
pub mod record;
pub mod testcard;
