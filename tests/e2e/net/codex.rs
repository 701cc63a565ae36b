//! Codex itself, as its vendor ships it, with a model at the far end.

use std::fs;

use bottle_test_support::warden::Ending;

use crate::net::tools::CODEX;
use crate::net::world::{TOKEN, World, users};

const REPLY: &str = "The bottle is closed and the model is here.";
const PROGRAM: &str = "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex";
/// By default it talks over a WebSocket; to a provider that has none, over HTTP. The bottle has a sandbox around it already.
const SCRIPT: &str = r#"
export CODEX_API_KEY=none-is-needed
ask='/workspace/codex exec --skip-git-repo-check --sandbox danger-full-access'
provider='{ name = "far", base_url = "https://api.openai.com/v1", wire_api = "responses", supports_websockets = false }'
$ask 'say hello' </dev/null && $ask -c model_provider=far -c "model_providers.far=$provider" 'say hello' </dev/null
"#;

// covers: S10 Y08
#[test]
fn codex_answers_over_both_protocols_with_a_token_that_only_the_far_end_sees() {
    let Some(directory) = CODEX.installed() else { return };
    for user in users() {
        let world = World::new(user)
            .route("api.openai.com", &format!(", matches: [{{ methods: [GET, POST], paths: [/v1/] }}], auth: {{ token_ref: {TOKEN} }}"))
            .tree("codex", &directory.join(PROGRAM))
            .ready("provider: shell");
        fs::write(world.origin.directory().join("reply.txt"), REPLY).expect("the far end's directory is ours");
        fs::write(world.origin.directory().join("expected-token"), world.token.value()).expect("the far end's directory is ours");
        let ended = world.sh(SCRIPT);
        assert_eq!((ended.ending, &*ended.stdout), (Ending::Code(0), &*format!("{REPLY}\n{REPLY}\n")), "{}", ended.stderr);
        let asked: Vec<_> = world.since(0).into_iter().filter(|request| request.target.contains("/v1/responses")).collect();
        // An upgrade, what it sends ahead of a conversation, a question; and the other question.
        assert_eq!(asked.iter().map(|request| &*request.method).collect::<Vec<_>>(), ["GET", "MESSAGE", "MESSAGE", "POST"]);
        let token = format!("Bearer {}", world.token.value());
        let is_real: Vec<_> = [&asked[0], &asked[3]].map(|request| request.header("authorization") == Some(&token)).into();
        assert_eq!(is_real, [true, true]);
    }
}
