//! Discrete-event simulator over the P2PSP core
