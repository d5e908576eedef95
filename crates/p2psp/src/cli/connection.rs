//! Flags of every command that speaks to a running process: where it answers, and what is shown to it.

use crate::units::Span;
use clap::{Args, ValueHint};
use p2psp_admin::client::{Address, Credentials};
use std::path::PathBuf;

/// Where a process answers, and how it is spoken to.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectionArgs {
    /// The address that the process was given with --admin; a host by name or address is spoken to over TLS
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "P2PSP_CTL_ADMIN",
        default_value = "127.0.0.1:4490",
        global = true,
        help_heading = "Connection"
    )]
    pub(crate) admin: Address,
    /// Root of the process's certificate, PEM [default: the public ones]
    #[arg(long, value_name = "FILE", env = "P2PSP_CTL_CA", value_hint = ValueHint::FilePath, global = true,
          help_heading = "Connection")]
    pub(crate) ca: Option<PathBuf>,
    /// Certificate to show, PEM
    #[arg(long, value_name = "FILE", env = "P2PSP_CTL_CERT", value_hint = ValueHint::FilePath, requires = "cert_key",
          global = true, help_heading = "Connection")]
    pub(crate) cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", env = "P2PSP_CTL_CERT_KEY", value_hint = ValueHint::FilePath, requires = "cert",
          global = true, help_heading = "Connection")]
    pub(crate) cert_key: Option<PathBuf>,
    /// Bearer token to show; better set in the environment, where other users of this machine cannot read it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "P2PSP_CTL_TOKEN",
        hide_env_values = true,
        global = true,
        help_heading = "Connection"
    )]
    pub(crate) token: Option<String>,
    /// Longest wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "5s", global = true, help_heading = "Connection")]
    pub(crate) timeout: Span,
}

impl ConnectionArgs {
    /// What is shown to the process.
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            roots: self.ca.clone(),
            certificate: self.cert.clone().zip(self.cert_key.clone()),
            token: self.token.clone(),
        }
    }
}
