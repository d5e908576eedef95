//! What packages ship beside the program: completions for shells and man pages, both made from the command line itself, so that
//! neither can tell of a flag that is not there.

use super::Cli;
use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The section of the manual that commands stand in.
const SECTION: &str = "1";

/// Why a man page is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}")]
pub(crate) struct ManualError {
    path: PathBuf,
    source: io::Error,
}

/// A shell's completion script.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "p2psp", &mut script);
    script
}

/// Writes a man page for the program and one for each command, `p2psp-ctl-get.1` and the like, into a folder that is made if need
/// be; says how many there are.
///
/// # Errors
///
/// The folder or a page cannot be written.
pub(crate) fn write(folder: &Path) -> Result<usize, ManualError> {
    let failed = |path: &Path, source| ManualError { path: path.to_owned(), source };
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let pages = pages();
    for (name, text) in &pages {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| failed(&path, source))?;
    }
    Ok(pages.len())
}

/// All pages: a file name and its text.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut root = Cli::command();
    root.build();
    let mut pages = Vec::new();
    add(&root, &[], &[], &mut pages);
    pages
}

/// A command's page and those of its subcommands. `exits` is what the command above says of exit codes, which holds below it, too.
fn add(command: &Command, above: &[&str], exits: &[String], pages: &mut Vec<(String, Vec<u8>)>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let sections = sections(command);
    let own = sections.iter().find(|(title, _)| title == "Exit codes").map(|(_, lines)| lines.as_slice());
    let exits = own.unwrap_or(exits);
    let subcommands: Vec<&Command> =
        command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()).collect();

    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    tagged(&mut roff, exits.iter().filter_map(|line| line.trim().split_once("  ")));
    let variables: Vec<(String, String)> = command.get_arguments().filter_map(variable).collect();
    if !variables.is_empty() {
        roff.control("SH", ["ENVIRONMENT"]);
        tagged(&mut roff, variables.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    }
    for (title, lines) in sections.iter().filter(|(title, _)| title != "Exit codes") {
        roff.control("SH", [title.to_uppercase().as_str()]);
        roff.control("nf", []);
        for line in lines {
            roff.text([roman(line.as_str())]);
        }
        roff.control("fi", []);
    }
    let below = subcommands.iter().filter_map(|subcommand| subcommand.get_display_name());
    let related: Vec<String> =
        above.iter().copied().chain(below).map(|page| format!("{page}({SECTION})")).collect();
    if !related.is_empty() {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([roman(related.join(", "))]);
    }

    let version = format!("p2psp {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(unfilled(command.clone())).section(SECTION).source(version).manual("P2PSP");
    let mut text = Vec::new();
    let written = (|| {
        man.render_title(&mut text)?;
        man.render_name_section(&mut text)?;
        man.render_synopsis_section(&mut text)?;
        man.render_description_section(&mut text)?;
        man.render_options_section(&mut text)?;
        if !subcommands.is_empty() {
            man.render_subcommands_section(&mut text)?;
        }
        roff.to_writer(&mut text)
    })();
    written.expect("memory takes what is written");
    pages.push((man.get_filename(), text));

    let above: Vec<&str> = above.iter().copied().chain([name]).collect();
    for subcommand in subcommands {
        add(subcommand, &above, exits, pages);
    }
}

/// What stands behind the options in the help: titles, and the lines below each.
fn sections(command: &Command) -> Vec<(String, Vec<String>)> {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_suffix(':'), sections.last_mut()) {
            (Some(title), _) if !line.starts_with(' ') => sections.push((title.to_owned(), Vec::new())),
            (_, Some((_, lines))) if !line.trim().is_empty() => lines.push(line.to_owned()),
            _ => {}
        }
    }
    sections
}

/// The variable that stands for a flag.
fn variable(argument: &Arg) -> Option<(String, String)> {
    let name = argument.get_env()?.to_str()?;
    let flag = argument
        .get_long()
        .map_or_else(|| argument.get_id().as_str().to_uppercase(), |long| format!("--{long}"));
    Some((name.to_owned(), format!("Stands for {flag}, which goes before it.")))
}

fn tagged<'a>(roff: &mut Roff, entries: impl Iterator<Item = (&'a str, &'a str)>) {
    for (tag, text) in entries {
        roff.control("TP", []);
        roff.text([bold(tag)]);
        roff.text([roman(text.trim())]);
    }
}

/// Help that is laid out in lines keeps them: a line that begins with a blank is not filled up with the next.
fn unfilled(command: Command) -> Command {
    command.mut_args(|argument| {
        let laid_out = argument.get_long_help().map(ToString::to_string).filter(|help| help.contains("\n\n"));
        match laid_out {
            Some(help) => {
                let lines: Vec<String> = help.lines().map(|line| format!(" {line}")).collect();
                argument.long_help(lines.join("\n").trim_start().to_owned())
            }
            None => argument,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    /// Every command has its page, with its exit codes, and with the variables that it heeds.
    #[test]
    fn each_command_has_a_page() {
        let pages = pages();
        let page = |name: &str| {
            let (_, text) =
                pages.iter().find(|(page, _)| page == name).unwrap_or_else(|| panic!("no {name}"));
            String::from_utf8(text.clone()).unwrap()
        };
        for name in [
            "p2psp.1",
            "p2psp-splitter.1",
            "p2psp-ctl.1",
            "p2psp-ctl-get.1",
            "p2psp-ctl-limits.1",
            "p2psp-config-print-peer.1",
        ] {
            let text = page(name);
            for section in ["NAME", "SYNOPSIS", "OPTIONS", "\"EXIT STATUS\"", "ENVIRONMENT", "\"SEE ALSO\""] {
                assert!(text.contains(&format!(".SH {section}\n")), "{name} has no {section}:\n{text}");
            }
            assert!(!text.contains('\u{1b}'), "{name}");
        }
        assert!(page("p2psp-splitter.1").contains("P2PSP_SPLITTER_KEY"));
        for name in ["p2psp-config.1", "p2psp-config-check.1", "p2psp-config-schema.1"] {
            assert!(page(name).contains("standard error names file, line, key"), "{name} has its exit codes");
        }
        assert!(page("p2psp-ctl-get.1").contains("not what this process does"), "its parent's exit codes");
    }

    /// Each shell's script knows the commands.
    #[test]
    fn each_shell_completes_commands() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(completions(*shell)).unwrap();
            let words = ["splitter", "log-level", "schema", "weight-limit"];
            assert!(words.iter().all(|word| script.contains(word)), "{shell}");
        }
    }
}
