//! From a plan and the host to the file of a project: which networks are free, what the agent sees, and what every container finds.

use std::fs;

use super::engine::Engine;
use super::objects;
use super::subnets::{self, Range};
use super::view;
use crate::backend::ids::{self, Ids};
use crate::backend::{Start, host_tree, provision};
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE, PUBLIC};
use crate::plan::Plan;
use crate::plan::agent::AGENT;
use crate::render::compose::{self as render, Bind, Facts, Workplace};

/// All components, the agent first.
pub(super) fn components(plan: &Plan) -> impl Iterator<Item = &str> {
    std::iter::once(AGENT).chain(plan.sidecars.iter().map(|s| s.component.as_str()))
}

/// The project and its owner.
pub(super) struct Label<'a> {
    pub(super) project: &'a str,
    pub(super) owner: &'a str,
}

/// Writes the project's file, and what its containers are to find.
pub(super) fn write(
    engine: &Engine,
    label: &Label<'_>,
    (workplace, git): (&Workplace, Option<&Workplace>),
    operator: (u32, u32),
    start: &Start<'_>,
) -> Result<Facts> {
    let ids = |component: &str| ids::in_plan(operator, start.plan, component);
    let mut facts = facts(engine, label, (workplace, git), &ids, start)?;
    let etc = start.claim.runtime()?.subdir(AGENT)?.subdir("etc")?;
    let address = |name: &str| render::address(start.plan, name, &facts);
    let own = view::etc(start.plan, &start.products.agent_ca, ids(AGENT), &etc, address)?;
    facts.agent.extend(own);
    start.claim.state().replace_unsynced(render::FILE, render::render(start.plan, &facts).as_bytes(), PRIVATE)?;
    Ok(facts)
}

fn facts(
    engine: &Engine,
    label: &Label<'_>,
    (workplace, git): (&Workplace, Option<&Workplace>),
    ids: &dyn Fn(&str) -> Ids,
    start: &Start<'_>,
) -> Result<Facts> {
    let runtime = start.claim.runtime()?;
    let mut taken = Range::routes(&fs::read_to_string("/proc/net/route").unwrap_or_default());
    taken.extend(objects::networks(engine)?.iter().filter_map(|subnet| Range::parse(subnet)));
    // Others of ours may be about to make what they wrote down.
    taken.extend(start.claim.others(render::FILE)?.iter().flat_map(|text| planned(text)));
    let subnets = subnets::choose(label.project, &taken).ok_or_else(|| {
        Error::failed("there is no free network for the bottle", "10.208.0.0/12 is taken", "`bottle cleanup` removes what is left")
    })?;
    let directory = runtime.subdir("resolution")?;
    let mut resolution = Vec::new();
    // The engine has a name server for its containers; the host's own names it does not know.
    if let Some((path, text)) = provision::resolution().into_iter().find(|(path, _)| path.ends_with("hosts")) {
        directory.write_new("hosts", text.as_bytes(), PUBLIC)?;
        resolution.push(Bind::read_only(directory.path().join("hosts"), path));
    }
    let tools = view::tools(start.plan, &host_tree::read())?;
    let user = |component: &str| (component.to_owned(), (ids(component).uid, ids(component).gid));
    Ok(Facts {
        project: label.project.to_owned(),
        owner: label.owner.to_owned(),
        runtime: runtime.path().to_owned(),
        users: components(start.plan).map(user).collect(),
        images: start.input.images.archives.iter().map(|(component, archive)| (component.clone(), archive.id.clone())).collect(),
        closed: engine.closed,
        subnets,
        trees: tools.trees,
        empty: runtime.subdir("empty")?.path().to_owned(),
        agent: tools.files,
        resolution,
        workplace: workplace.clone(),
        git: git.cloned(),
    })
}

/// The subnets in another bottle's project.
fn planned(text: &[u8]) -> Vec<Range> {
    let project: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let networks = project["networks"].as_object().into_iter().flatten();
    networks.filter_map(|(_, network)| Range::parse(network["ipam"]["config"][0]["subnet"].as_str()?)).collect()
}

/// Puts bottle's own program where every container finds its first process.
pub(super) fn first_process(runtime: &Dir) -> Result<()> {
    let directory = runtime.subdir("init")?;
    let failed =
        |e: std::io::Error| Error::failed("cannot put bottle's own program into the containers", e, "free memory, then start it again");
    let mut own = fs::File::open("/proc/self/exe").map_err(failed)?;
    directory.copy_in(bottle_init::ARGV0, &mut own, 0o755)?;
    // Other users execute it; its parent stays closed to them.
    rustix::fs::fchmod(directory.fd(), rustix::fs::Mode::from_raw_mode(0o755)).map_err(|e| failed(e.into()))
}
