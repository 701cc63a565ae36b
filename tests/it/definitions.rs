//! What is made from the definition of the command line: manual pages and completions.

use bottle::cli;
use bottle::commands::{completions, man};

#[test]
fn each_command_has_a_manual_page_that_is_the_same_on_every_day() {
    let pages = man::pages(cli::definition());
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    for command in cli::definition().get_subcommands() {
        assert!(names.contains(&format!("bottle-{}.1", command.get_name()).as_str()), "{names:?}");
    }
    for name in ["bottle.1", "bottle-audit-verify.1", "bottle-images-build.1", "bottle-manifest.5", "bottle-git.7", "bottle-images.7"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let start = String::from_utf8(pages.iter().find(|(name, _)| name == "bottle-start.1").unwrap().1.clone()).unwrap();
    assert!(start.contains(".TH bottle-start 1") && start.contains("dry\\-run"), "{start}");
    for section in ["SYNOPSIS", "OPTIONS", "EXAMPLES", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES"] {
        assert!(start.contains(&format!(".SH {section}\n")), "{section} is not in {start}");
    }
    let manifest = String::from_utf8(pages.iter().find(|(name, _)| name == "bottle-manifest.5").unwrap().1.clone()).unwrap();
    for text in [
        ".TH bottle-manifest 5 ",
        "bottle\\-manifest \\- the keys of bottles and agents",
        ".SS git.repos[].push\n",
        "\\fBother_committers\\fR",
    ] {
        assert!(manifest.contains(text), "{text} is not in {manifest}");
    }
    assert_eq!(pages, man::pages(cli::definition()));
}

#[test]
fn each_shell_has_a_script_that_asks_bottle() {
    for shell in ["bash", "zsh", "fish"] {
        let args = completions::Args { shell: shell.parse().unwrap() };
        let mut text = Vec::new();
        assert_eq!(completions::run(&args, &mut text).unwrap(), 0);
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(completions::VARIABLE) && text.contains("bottle"), "{text}");
    }
}
