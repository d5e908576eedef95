//! What packages ship beside the program: completions that shells read, and man pages that man shows without a warning.

use crate::tools::{artefact, run, tool};
use p2psp_tests::cli;
use std::{fs, time::Duration};

const PATIENCE: Duration = Duration::from_secs(30);

/// bash reads its script, and completes a command and a flag by it.
#[test]
fn bash_completes() {
    let script = run(&mut cli::command(&["completions", "bash"]), PATIENCE);
    let file = artefact("p2psp.bash");
    fs::write(&file, &script).unwrap();
    run(tool("bash").arg("-n").arg(&file), PATIENCE);
    for (words, at, completed) in [("p2psp spl", 1, "splitter"), ("p2psp ctl get --outp", 3, "--output")] {
        let asked = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={at}; _p2psp p2psp \"${{COMP_WORDS[{at}]}}\"; \
             echo \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let said = run(tool("bash").args(["-c", &asked]), PATIENCE);
        assert_eq!(said.trim(), completed, "{words}");
    }
}

/// Every page is shown without a warning, with what a reader looks for in it.
#[test]
fn man_shows_every_page() {
    let folder = artefact("man");
    run(&mut cli::command(&["man", folder.to_str().unwrap()]), PATIENCE);
    let mut pages = 0;
    for page in fs::read_dir(&folder).unwrap() {
        let page = page.unwrap().path();
        let mut man = tool("groff");
        man.args(["-man", "-Tutf8", "-ww", "-z", "-K", "utf-8"]).arg(&page);
        let warnings = run(&mut man, PATIENCE);
        assert!(warnings.trim().is_empty(), "{}: {warnings}", page.display());
        pages += 1;
    }
    assert!(pages >= 20, "{pages}");
    let mut shown = tool("groff");
    shown.args(["-man", "-Tascii", "-P-c", "-P-b", "-P-u"]).arg(folder.join("p2psp-ctl-get.1"));
    let shown = run(&mut shown, PATIENCE);
    for part in ["NAME", "SYNOPSIS", "EXIT STATUS", "ENVIRONMENT", "P2PSP_CTL_TOKEN", "p2psp-ctl(1)"] {
        assert!(shown.contains(part), "no {part} in:\n{shown}");
    }
}
