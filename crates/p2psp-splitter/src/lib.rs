//! The P2PSP splitter runtime: ingest to team
