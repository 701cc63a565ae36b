//! Providers: how each program is started, what it is given, and which credential counts.

use std::collections::{BTreeMap, BTreeSet};

use bottle::manifest::model::{EnvValue, Resolved, TemplatePart};
use bottle::manifest::{Kind, Library};
use bottle::plan::agent::Invocation;
use bottle::plan::build::Facts;
use bottle::plan::workspace::Place;
use bottle::plan::{Plan, plan};

use crate::manifest::library;

pub(crate) fn planned(resolved: &Resolved, run: &Invocation) -> Plan {
    let facts = Facts {
        place: Place::plain("/work"),
        terminal: false,
        term: None,
        programs: Vec::new(),
        toolchains: Default::default(),
        rules: Vec::new(),
        home: BTreeMap::new(),
        has_local_names: true,
    };
    plan(resolved, "a", run, &facts)
}

fn resolved(library: &Library, agent: &str, set: &[&str]) -> Resolved {
    library.resolve(agent).unwrap().with_credentials(&|name| set.contains(&name))
}

/// The command line, with what instructs the program left out.
fn line(agent: &str, run: &Invocation) -> String {
    let plan = planned(&resolved(&library(&[]), agent, &[]), run);
    let shown = |argument: &String| if argument.starts_with("You ") { "TEXT".to_owned() } else { argument.clone() };
    plan.agent.argv.iter().map(shown).collect::<Vec<_>>().join(" ")
}

// covers: W24 W25
#[test]
fn each_program_is_asked_in_its_own_way_and_no_task_is_taken_for_an_option() {
    let headless = Invocation { prompt: Some("- do it".into()), headless: true, ..Invocation::default() };
    let everything =
        Invocation { model: Some("M".into()), arguments: vec!["--own".into()], resume: true, stream: true, ..headless.clone() };
    let terminal = Invocation { headless: false, ..headless.clone() };
    for (agent, plain, full, at_terminal) in [
        (
            "claude",
            "claude --dangerously-skip-permissions --print --append-system-prompt TEXT -- - do it",
            "claude --dangerously-skip-permissions --print --output-format stream-json --verbose --model M --append-system-prompt TEXT \
             --continue --own -- - do it",
            "claude --dangerously-skip-permissions --append-system-prompt TEXT -- - do it",
        ),
        (
            "codex",
            "codex exec --skip-git-repo-check -- - do it",
            "codex exec resume --last --skip-git-repo-check --json --model M --own -- - do it",
            "codex -- - do it",
        ),
        (
            "gemini",
            "gemini --yolo --prompt=- do it",
            "gemini --yolo --output-format stream-json --model M --resume latest --own --prompt=- do it",
            "gemini --yolo --prompt-interactive=- do it",
        ),
        (
            "opencode",
            "opencode run -- - do it",
            "opencode run --format json --model M --continue --own -- - do it",
            "opencode --prompt=- do it",
        ),
        (
            "aider",
            "aider --yes-always --no-pretty --message=- do it",
            "aider --yes-always --no-pretty --model M --restore-chat-history --own --message=- do it",
            "aider --yes-always",
        ),
        (
            "copilot",
            "copilot --allow-all --no-auto-update --no-ask-user --prompt=- do it",
            "copilot --allow-all --no-auto-update --no-ask-user --output-format=json --model=M --continue --own --prompt=- do it",
            "copilot --allow-all --no-auto-update --interactive=- do it",
        ),
        ("shell", "/bin/bash -c - do it", "/bin/bash --own -c - do it", "/bin/bash -l -c - do it"),
    ] {
        assert_eq!(line(agent, &headless), plain);
        assert_eq!(line(agent, &everything), full);
        assert_eq!(line(agent, &terminal), at_terminal);
    }
}

// covers: W24
#[test]
fn what_the_manifest_says_reaches_every_program_and_so_does_what_there_is_not() {
    for (provider, place) in [
        ("provider: claude", None),
        ("provider: codex", Some(".codex/AGENTS.md")),
        ("provider: gemini", Some(".gemini/GEMINI.md")),
        ("provider: opencode", Some(".config/opencode/AGENTS.md")),
        ("provider: aider", Some(".config/aider/instructions.md")),
        ("provider: copilot", Some(".copilot/copilot-instructions.md")),
        ("provider: shell", Some(".config/bottle/instructions.md")),
        ("command: [own]", Some(".config/bottle/instructions.md")),
    ] {
        let agent = format!("---\nbottle: b\n{provider}\n---\nBe brief.\n");
        let library = library(&[("bottles/b", "---\n---\n"), ("agents/a", &agent)]);
        let plan = planned(&library.resolve("a").unwrap(), &Invocation::default());
        let text = match place {
            Some(place) => plan.agent.files[&std::path::Path::new("/home/agent").join(place)].clone(),
            None => plan.agent.argv.join("\n"),
        };
        assert!(text.contains("Be brief.\n\nYou run in a bottle") && text.contains("`docker`"), "{provider}: {text}");
        let named = plan.agent.env.contains_key("BOTTLE_INSTRUCTIONS");
        assert_eq!(named, place == Some(".config/bottle/instructions.md"), "{provider}");
    }
}

fn held(plan: &Plan) -> BTreeMap<&str, &str> {
    fn text(value: &EnvValue) -> &str {
        match value {
            EnvValue::Template(parts) => match parts.as_slice() {
                [TemplatePart::Text(text)] => text.as_str(),
                _ => "",
            },
            EnvValue::Ask(_) => "",
        }
    }
    plan.agent
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)))
        .filter(|(_, text)| text.contains("xxxxxxxxxxxxxxxxxxxx"))
        .collect()
}

/// What a start with these variables set would put in, and what the agent holds in their place.
fn credentials(agent: &str, set: &[&str]) -> (Vec<String>, Vec<String>) {
    let resolved = resolved(&library(&[]), agent, set);
    let row = |route: &bottle::manifest::model::Route| {
        Some(format!("{} {} {}", route.host, route.auth.as_ref()?.header, route.auth.as_ref()?.token_ref))
    };
    let put_in = resolved.bottle.egress.routes.iter().filter_map(row).collect();
    let plan = planned(&resolved, &Invocation::default());
    let names = held(&plan).into_keys().map(str::to_owned).collect();
    (put_in, names)
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

// covers: W24 W27
#[test]
fn of_a_programs_credentials_those_that_are_set_count_and_the_first_is_asked_for() {
    let subscription = "api.anthropic.com authorization CLAUDE_CODE_OAUTH_TOKEN";
    let key = "api.anthropic.com x-api-key ANTHROPIC_API_KEY";
    for (agent, set, put_in, names) in [
        ("claude", &[][..], texts([subscription]), texts(["CLAUDE_CODE_OAUTH_TOKEN"])),
        ("claude", &["ANTHROPIC_API_KEY"], texts([key]), texts(["ANTHROPIC_API_KEY"])),
        ("claude", &["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"], texts([subscription]), texts(["CLAUDE_CODE_OAUTH_TOKEN"])),
        ("codex", &[], texts(["api.openai.com authorization OPENAI_API_KEY"]), texts(["CODEX_API_KEY", "OPENAI_API_KEY"])),
        ("opencode", &[], texts([key]), texts(["ANTHROPIC_API_KEY"])),
        (
            "opencode",
            &["GEMINI_API_KEY", "OPENROUTER_API_KEY"],
            texts(["generativelanguage.googleapis.com x-goog-api-key GEMINI_API_KEY", "openrouter.ai authorization OPENROUTER_API_KEY"]),
            texts(["GEMINI_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY", "OPENROUTER_API_KEY"]),
        ),
    ] {
        assert_eq!(credentials(agent, set), (put_in, names), "{agent} {set:?}");
    }
}

#[test]
fn a_placeholder_is_no_secret_to_the_scanner_and_no_variable_of_a_provider_is_bottles_own() {
    let library = library(&[]);
    let scanner = bottle_scan::Scanner::new(bottle_scan::Fingerprints::of([0; 32], &[])).unwrap();
    for agent in library.names(Kind::Agent) {
        let resolved = library.resolve(agent).unwrap();
        let credentials = resolved.agent.program.provider().map_or(&[][..], |provider| &provider.credentials);
        let variables: BTreeSet<&str> = credentials.iter().map(|credential| credential.variable()).collect();
        assert_eq!(variables.len(), credentials.len(), "{agent}");
        for credential in credentials {
            let text = format!("{}={}", credential.variable(), credential.placeholder);
            assert!(scanner.scan(text.as_bytes()).is_none(), "{agent}: {text}");
        }
    }
}

// covers: W24
#[test]
fn a_provider_of_ones_own_is_a_file_like_the_built_in_ones_and_hides_one_of_the_same_name() {
    let mine = "---\ntitle: Mine\nprogram: mine\nheadless: [run, \"{prompt}\"]\nroutes: [{ host: mine.test }]\n\
                credentials: [{ variable: MINE, hosts: [mine.test], header: x-key, placeholder: p }]\n---\n";
    let library = library(&[
        ("providers/mine", mine),
        ("providers/claude", mine),
        ("bottles/b", "---\negress: { presets: [agent] }\n---\n"),
        ("agents/a", "---\nbottle: b\nprovider: mine\n---\n"),
    ]);
    let resolved = library.resolve("a").unwrap().with_credentials(&|_| true);
    let plan = planned(&resolved, &Invocation { prompt: Some("x".into()), headless: true, ..Invocation::default() });
    assert_eq!(plan.agent.argv, ["mine", "run", "x"]);
    assert_eq!(plan.sidecars.iter().flat_map(|s| &s.secrets).map(|s| s.token_ref.as_str()).collect::<Vec<_>>(), ["MINE"]);
    let hidden = library.resolve("implementer").unwrap();
    assert_eq!(hidden.agent.program.provider().map(|provider| provider.title.as_str()), Some("Mine"));
}

// covers: W24
#[test]
fn what_is_wrong_in_a_provider_is_named_with_its_place() {
    for (yaml, cause, hint) in [
        ("headless: [\"{promt}\"]", "4:12: `{promt}` stands for nothing", "did you mean `prompt`?"),
        ("files: { ../x: y }", "4:16: not a path below a home directory", "write it as in .config/tool/settings.json, without `..`"),
        ("files: { /etc/x: y }", "4:18: not a path below a home directory", "write it as in .config/tool/settings.json, without `..`"),
        (
            "env: { HTTPS_PROXY: x }",
            "4:21: the variable `HTTPS_PROXY` is bottle's own",
            "remove it: bottle sets what the agent needs to reach its proxy and to trust it",
        ),
        ("routes: [{ host: a.test, auth: { token_ref: A } }]", "4:18: a credential in a provider's route", "list it under `credentials`"),
        (
            "credentials: [{ variable: A, hosts: [a.test], placeholder: p }]",
            "4:38: none of this provider's `routes`",
            "add a route for this host",
        ),
        ("instructions: { arguments: [--x] }", "4:15: the arguments have no place for the text", "write `{}` where it goes"),
    ] {
        let text = format!("---\ntitle: T\nprogram: p\n{yaml}\n---\n");
        let library = library(&[("providers/p", &text), ("agents/a", "---\nbottle: offline\nprovider: p\n---\n")]);
        let error = library.resolve("a").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("error: provider `p` cannot be used\ncause: /cfg/providers/p.md:{cause}\nhint:  {hint}"),
            "{yaml}"
        );
    }
}
