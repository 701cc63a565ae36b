//! What the operator asks the agent's program for, from the command line: its arguments, its task, and in which way it runs. Pure.

use bottle_contract::Untrusted;

use super::start::Args;
use crate::error::{Error, Result};
use crate::manifest::model::{Agent, AgentProgram};
use crate::plan::agent::Invocation;
use crate::plan::command_line::takes_prompt;

/// What follows `--` are arguments for the agent's own program if the first begins with a dash, as no program's name does; else another
/// program. What would be dropped silently, or end in an error of the program's own, is refused.
pub fn invocation(args: &Args, agent: &Agent) -> Result<Invocation> {
    let is_option = args.command.first().is_some_and(|first| first.starts_with('-'));
    let (arguments, command) = match (is_option, args.command.is_empty()) {
        (true, _) => (args.command.clone(), None),
        (false, false) => (Vec::new(), Some(args.command.clone())),
        (false, true) => (Vec::new(), None),
    };
    let invocation = Invocation {
        command,
        arguments,
        prompt: args.prompt.clone(),
        model: args.model.clone(),
        resume: false,
        headless: args.headless,
        stream: args.stream,
    };
    refuse(&invocation, agent)?;
    Ok(invocation)
}

fn refuse(invocation: &Invocation, agent: &Agent) -> Result<()> {
    let name = &agent.name;
    if let (Some(command), Some(_)) = (&invocation.command, &invocation.prompt) {
        let program = Untrusted::new(command.first().map_or("", String::as_str));
        return Err(Error::usage(
            format!("`{program}` cannot be given a task"),
            "`--prompt` is for the agent's own program, and `--` names another",
            format!("write the task behind `--`, or leave the program out: `bottle start {name} --prompt TEXT`"),
        ));
    }
    let provider = match (&agent.program, &invocation.command) {
        (AgentProgram::Provider(provider), None) => provider,
        // Any other program knows for itself what it needs.
        (_, Some(_)) | (AgentProgram::Command(_), None) => return refuse_options(invocation, "another program"),
    };
    let title = Untrusted::new(&provider.title);
    if invocation.headless && provider.headless.is_none() {
        return Err(Error::usage(
            format!("{title} cannot run headless"),
            format!("its provider `{}` has no `headless` arguments", provider.name),
            "start it at a terminal, without --headless",
        ));
    }
    if invocation.headless && invocation.prompt.is_none() && invocation.arguments.is_empty() {
        return Err(Error::usage(
            format!("{title} has nothing to do"),
            "a headless start has nobody who types a task",
            format!("bottle start {name} --headless --prompt TEXT"),
        ));
    }
    if invocation.prompt.is_some() && !takes_prompt(&agent.program, invocation.headless) {
        let way = if invocation.headless { "without a person" } else { "at a terminal" };
        return Err(Error::usage(
            format!("{title} takes no task {way}"),
            format!("the arguments of its provider `{}` have no `{{prompt}}`", provider.name),
            format!("bottle start {name} --headless --prompt TEXT"),
        ));
    }
    if invocation.stream && (!invocation.headless || provider.stream.is_empty()) {
        let cause = if invocation.headless { "its provider has no `stream` arguments" } else { "it is for a headless start" };
        return Err(Error::usage(format!("{title} cannot print events"), cause, "leave --stream out"));
    }
    if invocation.model.is_some() && provider.model.is_empty() {
        return Err(Error::usage(
            format!("{title} cannot be given a model"),
            format!("its provider `{}` has no `model` arguments", provider.name),
            "leave --model out",
        ));
    }
    Ok(())
}

fn refuse_options(invocation: &Invocation, what: &str) -> Result<()> {
    let option = if invocation.model.is_some() { "--model" } else { "--stream" };
    if invocation.model.is_none() && !invocation.stream {
        return Ok(());
    }
    Err(Error::usage(
        format!("`{option}` means nothing to {what}"),
        "only a provider says how its program takes it",
        "write the program's own arguments",
    ))
}
