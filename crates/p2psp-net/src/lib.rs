//! tokio, quinn and rustls host that drives any P2PSP core machine
