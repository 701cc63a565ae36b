//! Which of a provider's credentials a start uses: the one that the operator has.

use super::model::Resolved;
use super::preset;

impl Resolved {
    /// Puts credentials into the routes of the preset `agent`: of several for one host the first that is set. A host for which none is set
    /// is left out; if that is so for all, those of the first credential stay, so that its absence is an error with a name.
    #[must_use]
    pub fn with_credentials(mut self, is_set: &dyn Fn(&str) -> bool) -> Self {
        let Some(provider) = self.agent.program.provider() else { return self };
        let credentials = &provider.credentials;
        let has_any = credentials.iter().any(|credential| is_set(credential.variable()));
        self.bottle.egress.routes.retain_mut(|route| {
            if route.from.preset.as_deref() != Some(preset::AGENT) {
                return true;
            }
            let mut candidates = credentials.iter().filter(|credential| credential.hosts.contains(&route.host)).peekable();
            if candidates.peek().is_none() {
                return true;
            }
            let chosen = match has_any {
                true => candidates.find(|credential| is_set(credential.variable())),
                false => candidates.find(|credential| credentials.first() == Some(*credential)),
            };
            route.auth = chosen.map(|credential| credential.auth.clone());
            route.auth.is_some()
        });
        self
    }
}
