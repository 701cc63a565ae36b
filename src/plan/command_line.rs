//! The agent's command line, from what its provider says and what the operator asks for.

use super::agent::Invocation;
use crate::manifest::model::{Agent, AgentProgram};
use crate::manifest::provider::{Argument, Instructions, Provider, Slot};

/// The program, with its arguments.
pub(super) fn argv(agent: &Agent, invocation: &Invocation, instructions: &str) -> Vec<String> {
    if let Some(command) = &invocation.command {
        return command.clone();
    }
    match &agent.program {
        AgentProgram::Command(command) => command.iter().chain(&invocation.arguments).chain(&invocation.prompt).cloned().collect(),
        AgentProgram::Provider(provider) => {
            let filled = template(provider, invocation.headless).iter().flat_map(|argument| match argument {
                Argument::Text(text) => vec![text.clone()],
                Argument::Slot(slot) => fill(*slot, provider, agent, invocation, instructions),
            });
            std::iter::once(provider.program.clone()).chain(filled).collect()
        }
    }
}

/// True when the program takes a task in this way.
pub fn takes_prompt(program: &AgentProgram, headless: bool) -> bool {
    let Some(provider) = program.provider() else { return true };
    template(provider, headless).contains(&Argument::Slot(Slot::Prompt))
}

/// A program without arguments of its own for that runs as at a terminal.
fn template(provider: &Provider, headless: bool) -> &[Argument] {
    provider.headless.as_ref().filter(|_| headless).unwrap_or(&provider.interactive)
}

fn fill(slot: Slot, provider: &Provider, agent: &Agent, invocation: &Invocation, instructions: &str) -> Vec<String> {
    let with = |items: &[String], text: &str| items.iter().map(|item| item.replace("{}", text)).collect();
    let model = invocation.model.as_ref().or(agent.model.as_ref());
    match slot {
        Slot::Model => model.map(|model| with(&provider.model, model)).unwrap_or_default(),
        Slot::Instructions => match &provider.instructions {
            Instructions::Arguments(items) => with(items, instructions),
            Instructions::File(_) | Instructions::Variable => Vec::new(),
        },
        Slot::Resume if invocation.resume => provider.resume.clone(),
        Slot::Stream if invocation.stream => provider.stream.clone(),
        Slot::Resume | Slot::Stream => Vec::new(),
        Slot::Arguments => invocation.arguments.clone(),
        Slot::Prompt => {
            let items = if invocation.headless { &provider.headless_prompt } else { &provider.prompt };
            invocation.prompt.as_ref().map(|prompt| with(items, prompt)).unwrap_or_default()
        }
    }
}
