//! The names of `P2PSP_*` variables. Their values are read and checked by the command line's parser.

use super::{SettingsError, suggest::hint};
use clap::Command;

const PREFIX: &str = "P2PSP_";

/// Refuses variables that begin with `P2PSP_` and are not ours: a setting misspelt is a setting ignored.
///
/// # Errors
///
/// [`SettingsError::UnknownVariable`] for the first one, in the order of their names.
pub(crate) fn check(
    command: &Command,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(), SettingsError> {
    let known = names(command);
    let mut unknown: Vec<String> = environment
        .into_iter()
        .filter(|(name, value)| {
            name.starts_with(PREFIX) && !known.contains(name) && !is_kubernetes_service(name, value)
        })
        .map(|(name, _)| name)
        .collect();
    unknown.sort_unstable();
    match unknown.into_iter().next() {
        Some(name) => {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            Err(SettingsError::UnknownVariable { hint: hint(&name, &known), name })
        }
        None => Ok(()),
    }
}

/// Every variable that some command reads, sorted.
pub(super) fn names(command: &Command) -> Vec<String> {
    let mut names: Vec<String> = command
        .get_subcommands()
        .flat_map(Command::get_arguments)
        .chain(command.get_arguments())
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Kubernetes sets `<SERVICE>_SERVICE_HOST`, `<SERVICE>_PORT` and their kin in each container, for services of any name:
/// one that is called `p2psp` must not keep us from starting.
fn is_kubernetes_service(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && value.contains("://"))
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            let (before, _) = name.rsplit_once(protocol).unwrap_or((name, ""));
            before.rsplit_once("_PORT_").is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        })
}
