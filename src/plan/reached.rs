//! What a plan lets its bottle reach, to be compared with another's.

use bottle_contract::egress::EgressConfig;
use bottle_contract::gate::GateConfig;
use bottle_contract::pipelock::PipelockConfig;
use bottle_policy::reach::Reach;

use super::Plan;

impl Plan {
    /// What the bottle reaches; nothing, without a sidecar that could let anything out.
    pub fn reach(&self) -> Reach {
        let token = |slot: &str| {
            let mut secrets = self.sidecars.iter().flat_map(|sidecar| &sidecar.secrets);
            secrets.find(|secret| secret.slot == slot).map_or_else(|| slot.to_owned(), |secret| secret.token_ref.clone())
        };
        let Some((_, pipelock)) = self.sidecar::<PipelockConfig>() else { return Reach::default() };
        let egress = self.sidecar::<EgressConfig>().map(|(_, config)| config);
        let gate = self.sidecar::<GateConfig>().map(|(_, config)| config);
        Reach::of(egress, pipelock, gate, &token)
    }
}
