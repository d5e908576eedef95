//! P2PSP team logic as state machines without sockets, clocks, tasks or entropy
