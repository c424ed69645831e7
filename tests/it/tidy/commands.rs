//! Commands in the documents: whoever pastes one into an interactive bash or zsh gets what the page says. Does not depend on what
//! the commands do.

use super::{expect_none, files};

/// Where pages are.
const PAGES: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs",
    "examples",
    "vectors",
    "deploy",
];

/// What zsh would make of a line of a shell block before it runs it, if that is not what bash makes of it. Quotes may span
/// lines; `quote` is the one that is open.
fn trouble(line: &str, quote: &mut Option<char>) -> Option<&'static str> {
    let mut before = ' ';
    for letter in line.chars() {
        match *quote {
            Some(open) if open == letter => *quote = None,
            Some(_) => {}
            None if letter == '\'' || letter == '"' => *quote = Some(letter),
            None if letter == '#' && before.is_whitespace() => {
                return Some("an interactive zsh takes a comment for arguments");
            }
            None if matches!(letter, '?' | '*') && !matches!(before, '\\' | '$') => {
                return Some("zsh looks for files by this name, and refuses the line if there are none");
            }
            None => {}
        }
        before = letter;
    }
    None
}

/// The lines of a page's shell blocks, by their numbers, that do not mean the same in bash and zsh.
fn troubles(page: &str) -> Vec<(usize, &'static str)> {
    let (mut is_shell, mut is_block, mut quote, mut found) = (false, false, None, Vec::new());
    for (number, line) in (1..).zip(page.lines()) {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            (is_block, is_shell, quote) = (!is_block, !is_block && matches!(kind, "sh" | "bash"), None);
        } else if is_shell {
            found.extend(trouble(line, &mut quote).map(|why| (number, why)));
        }
    }
    found
}

#[test]
fn commands_can_be_pasted_into_bash_and_zsh() {
    let mut broken = Vec::new();
    for (place, page) in files(&PAGES, "md") {
        for (number, why) in troubles(&page) {
            broken.push(format!(
                "{place}:{number}: {why}.\n  Remedy: say beside the block what a command does, and put what has ? or * in quotes."
            ));
        }
    }
    expect_none(&broken);
}

#[test]
fn what_bash_and_zsh_read_differently_is_found() {
    let page = "# A page\n```sh\nrun --fast  # soon\nget /a?by=day\nget '/a?by=day' \"#\" a#b\nsend '{\n  # of JSON\n}'\n```\n\
                ```json\n{} # no command\n```\n```sh\nls *.rs\nls \\*\n```\n";
    let found: Vec<usize> = troubles(page).into_iter().map(|(number, _)| number).collect();
    assert_eq!(found, [3, 4, 14]);
}
