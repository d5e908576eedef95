//! The P2PSP peer runtime: team to players
