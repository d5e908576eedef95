//! Container knowledge, ingest doors, play-out server and the built-in test card
