//! Who a component is on the host: the operator, or, when the operator is root, a number that owns nothing else.

use serde::Serialize;

use crate::plan::Plan;

/// The user and group that every component sees itself as. Not 0: some agents refuse to run as root, and nothing inside
/// needs it.
pub const INSIDE: u32 = 1000;

/// The first number for components that root starts: in the range that Linux distributions leave to containers
/// (524288 to 1879048191), away from its start, where `subuid` ranges lie.
const FIRST: u32 = 0x6f00_0000;
/// Numbers for each bottle.
const EACH: u32 = 16;

/// User and group of a component on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The supervisor is root, so that the component is somebody else.
    pub foreign: bool,
}

/// User and group of whoever runs bottle.
pub fn operator() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// The numbers of a component of a plan: the agent's come first, the sidecars' follow.
pub fn in_plan(operator: (u32, u32), plan: &Plan, component: &str) -> Ids {
    let position = plan.sidecars.iter().position(|s| s.component == component);
    for_component(operator, &plan.id, position.map_or(0, |n| 1 + u32::try_from(n).unwrap_or(0)))
}

/// Numbers for the component at `index` of the bottle `id`. Two bottles of root may come to share numbers; they still
/// share no namespace through which one could reach the other.
pub fn for_component(operator: (u32, u32), id: &str, index: u32) -> Ids {
    let (uid, gid) = operator;
    if uid != 0 {
        return Ids { uid, gid, foreign: false };
    }
    // FNV-1a, folded to the room that the range leaves.
    let hash = id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let number = FIRST + (hash & 0xf_ffff) / EACH * EACH + index.min(EACH - 1);
    Ids { uid: number, gid: number, foreign: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_root_starts_is_nobody_on_the_host() {
        let agent = for_component((0, 0), "implementer", 0);
        let egress = for_component((0, 0), "implementer", 1);
        assert!(agent.foreign && (FIRST..1_879_048_192).contains(&agent.uid));
        assert_eq!(egress.uid, agent.uid + 1);
        assert_eq!(for_component((501, 20), "implementer", 3), Ids { uid: 501, gid: 20, foreign: false });
    }
}
