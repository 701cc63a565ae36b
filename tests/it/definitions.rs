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
    for name in ["bottle.1", "bottle-audit-verify.1", "bottle-images-build.1"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let start = String::from_utf8(pages.iter().find(|(name, _)| name == "bottle-start.1").unwrap().1.clone()).unwrap();
    assert!(start.contains(".TH bottle-start 1") && start.contains("dry\\-run"), "{start}");
    assert_eq!(pages, man::pages(cli::definition()));
}

#[test]
fn each_shell_completes_each_command() {
    for shell in ["bash", "zsh", "fish"] {
        let args = completions::Args { shell: shell.parse().unwrap() };
        let mut text = Vec::new();
        assert_eq!(completions::run(&args, cli::definition(), &mut text).unwrap(), 0);
        let text = String::from_utf8(text).unwrap();
        for command in cli::definition().get_subcommands() {
            assert!(text.contains(command.get_name()), "{shell}: {}", command.get_name());
        }
    }
}
