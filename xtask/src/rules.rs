//! Rule numbers: whatever code cites must stand in `docs/protocol.md`, whatever stands there must be cited somewhere in code
//! or tests, and no number is given twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

/// The normative text, whose rules begin a paragraph in bold: `**R-DGRAM-2.**`.
const TEXT: &str = "docs/protocol.md";

/// Where code and schemas are.
const FOLDERS: [&str; 6] = ["bench", "crates", "fuzz", "proto", "sim", "tests"];

/// A rule's family and number: `DGRAM`, 2.
type Rule = (String, u32);

pub(crate) fn check(root: &Path) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(root.join(TEXT))?;
    let mut faults = Vec::new();
    let mut defined = BTreeSet::new();
    for rule in definitions(&text) {
        if !defined.insert(rule.clone()) {
            faults.push(format!("{TEXT}: {} stands there twice", name(&rule)));
        }
    }
    let mut cited: BTreeMap<Rule, String> = BTreeMap::new();
    for folder in FOLDERS {
        for file in sources(&root.join(folder))? {
            for rule in citations(&fs::read_to_string(&file)?) {
                cited
                    .entry(rule)
                    .or_insert_with(|| file.strip_prefix(root).unwrap_or(&file).display().to_string());
            }
        }
    }
    for rule in citations(&text).into_iter().filter(|rule| !defined.contains(rule)) {
        faults.push(format!("{TEXT}: {} is referred to and not there", name(&rule)));
    }
    for (rule, file) in cited.iter().filter(|(rule, _)| !defined.contains(*rule)) {
        faults.push(format!("{file}: {} is not in {TEXT}", name(rule)));
    }
    for rule in defined.iter().filter(|rule| !cited.contains_key(*rule)) {
        faults.push(format!("{TEXT}: no code and no test cites {}", name(rule)));
    }
    faults.sort();
    faults.dedup();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n       ").into()) }
}

/// Rust and protobuf files below `folder`, sorted. Generated code is left out: it repeats the comments of its source.
fn sources(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let named =
            |names: &[&str]| path.file_name().is_some_and(|name| names.iter().any(|other| name == *other));
        if path.is_dir() && !named(&["generated", "target", "corpus"]) {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn name((family, number): &Rule) -> String {
    format!("R-{family}-{number}")
}

/// The rules that `text` states.
fn definitions(text: &str) -> Vec<Rule> {
    text.lines()
        .filter_map(|line| line.strip_prefix("**")?.split_once(".**"))
        .filter_map(|(head, _)| rule_at(head).map(|(rule, _)| rule))
        .collect()
}

/// The rules that `text` mentions; "R-A-1 to R-A-3" mentions three.
fn citations(text: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("R-") {
        let (before, found) = rest.split_at(start);
        let inside_a_word =
            before.ends_with(|character: char| character.is_alphanumeric() || character == '-');
        let Some((rule, after)) = rule_at(found).filter(|_| !inside_a_word) else {
            rest = found.strip_prefix("R-").unwrap_or_default();
            continue;
        };
        let range = after.strip_prefix(" to ").and_then(rule_at).filter(|((family, _), _)| *family == rule.0);
        let (last, after) = range.map_or((rule.1, after), |((_, last), after)| (last, after));
        rules.extend((rule.1..=last).map(|number| (rule.0.clone(), number)));
        rest = after;
    }
    rules
}

/// The rule that `text` begins with, and what follows it.
fn rule_at(text: &str) -> Option<(Rule, &str)> {
    let (family, rest) = text.strip_prefix("R-")?.split_once('-')?;
    let family_fits = !family.is_empty() && family.bytes().all(|byte| byte.is_ascii_uppercase());
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(digits);
    let number = number.parse().ok().filter(|_| family_fits)?;
    Some(((family.to_owned(), number), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(list: &[(&str, u32)]) -> Vec<Rule> {
        list.iter().map(|(family, number)| ((*family).to_owned(), *number)).collect()
    }

    #[test]
    fn mentions_are_found_wherever_they_stand() {
        let text =
            "(R-ID-1), see R-ROSTER-12; R-A-1 to R-A-3, R-B-1 to R-C-2. Not PR-X-1, R-x-1, R--1, R-Y-, R-";
        let expected = [("ID", 1), ("ROSTER", 12), ("A", 1), ("A", 2), ("A", 3), ("B", 1), ("C", 2)];
        assert_eq!(citations(text), rules(&expected));
    }

    #[test]
    fn only_a_bold_beginning_states_a_rule() {
        let text = "**R-ID-1.** A node is its key (R-ID-2).\n**bold.** R-ID-3.\n**R-ID-4** no stop\n";
        assert_eq!(definitions(text), rules(&[("ID", 1)]));
    }

    #[test]
    fn the_normative_text_and_the_code_agree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        check(&root).unwrap_or_else(|faults| panic!("{faults}"));
    }
}
