//! Warnings for the operator before a bottle starts.

use bottle_contract::HostPattern;

use super::env;
use super::model::{EnvValue, Origin, Resolved, TemplatePart, WorkspaceMode};
use super::source::describe;

impl Resolved {
    /// Warnings for the preflight, the most important first. They contain names, never values.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let egress = &self.bottle.egress;
        if egress.routes.is_empty() {
            let what = if self.bottle.git.is_empty() { "nothing" } else { "nothing but its git remotes" };
            notes.push(format!("this bottle has no routes: the agent reaches {what}"));
        }
        if self.bottle.supervise.is_none() && (egress.ask || egress.routes.iter().any(|route| route.ask)) {
            notes.push("nobody is asked about requests: `ask` needs `supervise: true`".to_owned());
        }
        for (child, parent) in &egress.repeated {
            notes.push(format!(
                "`{child}` repeats routes of `{parent}`: routes add to the parent's now, and `egress: {{ replace: true }}` keeps only the child's"
            ));
        }
        if self.workspace() == WorkspaceMode::Mount {
            notes.push("the agent writes to your working directory itself".to_owned());
        }
        if let Origin::Repo(_) = &self.agent.origin {
            notes.push(format!("the agent and its prompt come from this repository: {}", describe(&self.agent.origin)));
        }
        if let Some(route) = egress.routes.iter().find(|route| route.host == HostPattern::Any) {
            let ports: Vec<String> = route.ports.iter().map(u16::to_string).collect();
            notes.push(format!("a route names `*`: the agent may reach every public host on port {}", ports.join(" and ")));
        }
        for route in &egress.routes {
            if let (Some(auth), true) = (&route.auth, route.matches.is_empty() && !route.ask) {
                notes.push(format!(
                    "the agent may do all that the token {} allows at {}: its route has no `matches`",
                    auth.token_ref, route.host
                ));
            }
            if let (Some(auth), HostPattern::Suffix(_)) = (&route.auth, &route.host) {
                notes.push(format!("the token {} goes to every host that {} names", auth.token_ref, route.host));
            }
            if let Some(address) = route.connect {
                notes.push(format!("{} is dialled at {address}, whatever its name resolves to", route.host));
            }
        }
        for (name, value) in &self.bottle.env {
            if gives_a_secret(name, value) {
                notes.push(format!("the agent sees the value of {name}; a route's `token_ref` would keep it out of the bottle"));
            }
        }
        notes
    }

    /// The workspace mode.
    pub fn workspace(&self) -> WorkspaceMode {
        self.agent.workspace.unwrap_or(self.bottle.workspace)
    }
}

fn gives_a_secret(name: &str, value: &EnvValue) -> bool {
    match value {
        EnvValue::Ask(_) => true,
        EnvValue::Template(parts) => parts.iter().any(|part| match part {
            TemplatePart::Text(text) => !text.is_empty() && env::names_a_secret(name),
            TemplatePart::Host(host) => env::names_a_secret(name) || env::names_a_secret(host),
        }),
    }
}
