//! What the agent's program is instructed with: the manifest's text, and one paragraph on what there is not in a bottle, as a program that
//! finds out by itself tries three ways first.

use super::sidecars::SidecarInput;

/// What no bottle has.
const ABSENT: &str = "You run in a bottle, a closed sandbox. There is no root and no package manager of the system (`sudo`, `apt`), no \
                      container engine (`docker`, `podman`), no login, no SSH agent, no desktop and no browser: do not look for them.";
/// How the network is reached.
const PROXY: &str = "Only HTTP and HTTPS reach the network, through the proxy in HTTPS_PROXY; `curl http://egress:9099/_bottle/routes` lists what \
                     may be reached, and a refusal says why.";
/// How more is asked for.
const SUPERVISE: &str = "What is refused and needed for the task may be asked for: the tool `bottle_propose` of the MCP server `bottle` proposes a \
                         route to a person, and `bottle_wait` waits for the answer. A no is final.";
/// That there is none.
const OFFLINE: &str = "There is no network.";

/// The whole text.
pub(super) fn text(prompt: &str, input: &SidecarInput<'_>) -> String {
    let network = if input.has_egress() { PROXY } else { OFFLINE };
    let supervise = if input.bottle.supervise.is_some() { format!(" {SUPERVISE}") } else { String::new() };
    let surroundings = format!("{ABSENT} {network}{supervise}");
    if prompt.is_empty() { surroundings } else { format!("{prompt}\n\n{surroundings}") }
}
