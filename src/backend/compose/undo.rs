//! Removing what carries a project's label: the logs are kept first. Nothing is concluded from an exit code; the end is that a look finds
//! nothing.
//!
//! `compose down` is not asked: it needs the file and the compose that wrote it, finds containers by names of its own, and its exit code
//! does not tell. A label is enough, and is what every object carries.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::emptier;
use super::engine::Engine;
use crate::backend::Logs;
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE};
use crate::render::compose::{COMPONENT_LABEL, PROJECT_LABEL, STATE_LABEL};
use crate::store::Claim;

/// The name of the merged log in the state directory.
pub const LOG: &str = "compose.log";
/// How long an engine may take to give out the logs of one container: a gigabyte of them takes a tenth of it.
const LOGS_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take to remove what there is.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(15);
/// For this long after a start that was cut short, the engine may still make what it was asked for.
const LATE_OBJECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is looked at in that time.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The kinds of objects, in the order in which they can be removed, with how they are listed and removed.
const KINDS: [(&str, &[&str], &[&str]); 3] = [
    ("container", &["ps", "--all", "--quiet", "--no-trunc"], &["rm", "--force", "--volumes"]),
    ("network", &["network", "ls", "--quiet", "--no-trunc"], &["network", "rm"]),
    ("volume", &["volume", "ls", "--quiet"], &["volume", "rm", "--force"]),
];

/// Removes a project, once its logs are kept where they are to stay. What was `cut_short` an engine may still be making.
pub(super) fn project(project: &str, host: Option<&str>, claim: &Claim, cut_short: bool, logs: Logs) -> Result<()> {
    let engine = Engine::of(host);
    let failed = |e: std::io::Error| unreachable(project, e);
    let label = format!("label={PROJECT_LABEL}={project}");
    if logs == Logs::Kept {
        keep_logs(&engine, &label, claim.state())?;
    }
    let deadline = Instant::now() + LATE_OBJECT_TIMEOUT;
    loop {
        let found = remove(&engine, &label).map_err(failed)?;
        if !cut_short || Instant::now() > deadline {
            if found == 0 {
                break;
            }
            continue;
        }
        // There is no event to wait for: what an engine still has in hand, it tells nobody.
        std::thread::sleep(POLL_INTERVAL);
    }
    // Its container carries the label, too. One that was killed is left for the next attempt: the project is still recorded.
    let emptied = emptier::work_directory(&engine, project, claim);
    while remove(&engine, &label).map_err(failed)? > 0 {}
    emptied
}

/// Projects of this state directory that no bottle accounts for: `known` are those that do.
pub fn strays(owner: &str, known: &[String]) -> Result<Vec<String>> {
    let engine = Engine::of(std::env::var("DOCKER_HOST").ok().as_deref());
    let label = format!("label={STATE_LABEL}={owner}");
    let mut found = std::collections::BTreeSet::new();
    for kind in ["container", "network", "volume"] {
        let format = format!("{{{{.Label \"{PROJECT_LABEL}\"}}}}");
        let list = match kind {
            "container" => vec!["ps", "--all", "--filter", &label, "--format", &format],
            kind => vec![kind, "ls", "--filter", &label, "--format", &format],
        };
        let said = engine.ask(&list).map_err(|e| unreachable("*", e))?;
        found.extend(said.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    Ok(found.into_iter().filter(|project| !known.contains(project)).collect())
}

/// Removes a project that no bottle accounts for.
pub fn stray(project: &str) -> Result<()> {
    let engine = Engine::of(std::env::var("DOCKER_HOST").ok().as_deref());
    while remove(&engine, &format!("label={PROJECT_LABEL}={project}")).map_err(|e| unreachable(project, e))? > 0 {}
    Ok(())
}

fn unreachable(project: &str, error: std::io::Error) -> Error {
    let hint = "`bottle cleanup` removes the rest once the engine answers";
    Error::failed(format!("cannot remove the containers and networks of `{project}`"), error, hint)
}

/// One round: how many objects there were. An object that cannot be removed is an error.
fn remove(engine: &Engine, label: &str) -> std::io::Result<usize> {
    let mut found = 0;
    for (kind, list, remove) in KINDS {
        let ids = listed(engine, list, label)?;
        found += ids.len();
        if ids.is_empty() {
            continue;
        }
        if kind == "network" {
            for id in &ids {
                disconnect_strangers(engine, id)?;
            }
        }
        let arguments: Vec<&str> = remove.iter().copied().chain(ids.iter().map(String::as_str)).collect();
        if let Err(error) = engine.ask_for(&arguments, REMOVAL_TIMEOUT) {
            // What is gone meanwhile was to go.
            let left = listed(engine, list, label)?;
            if ids.iter().any(|id| left.contains(id)) {
                return Err(error);
            }
        }
    }
    Ok(found)
}

fn listed(engine: &Engine, list: &[&str], label: &str) -> std::io::Result<Vec<String>> {
    let arguments: Vec<&str> = list.iter().copied().chain(["--filter", label]).collect();
    Ok(engine.ask(&arguments)?.lines().map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect())
}

/// Containers of others on a network of ours would keep it: they lose it, and nothing else.
fn disconnect_strangers(engine: &Engine, network: &str) -> std::io::Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Network {
        containers: Option<BTreeMap<String, serde_json::Value>>,
    }
    // It may be gone meanwhile.
    let Ok(said) = engine.ask(&["network", "inspect", network]) else { return Ok(()) };
    let networks: Vec<Network> = serde_json::from_str(&said)?;
    for id in networks.iter().flat_map(|network| network.containers.iter().flatten()).map(|(id, _)| id) {
        engine.ask(&["network", "disconnect", "--force", network, id.trim_start_matches("ep-")])?;
    }
    Ok(())
}

/// Writes what the engine kept of the containers' output to `compose.log`, by time, each line with its service. What an earlier attempt
/// wrote is not replaced by less.
fn keep_logs(engine: &Engine, label: &str, state: &Dir) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::failed("cannot keep the containers' logs", e, "free space, see that the engine answers, then `bottle cleanup` tries again")
    };
    let format = format!("{{{{.ID}}}} {{{{.Label \"{COMPONENT_LABEL}\"}}}}");
    let said = engine.ask(&["ps", "--all", "--no-trunc", "--filter", label, "--format", &format]).map_err(failed)?;
    let mut logs = Vec::new();
    for (id, component) in said.lines().filter_map(|line| line.trim().split_once(' ')) {
        let file = unnamed(state).map_err(failed)?;
        let finished = engine.start_into(&["logs", "--timestamps", id], &file).and_then(|running| running.finish(LOGS_TIMEOUT));
        // A container that was never started has no log, and says so.
        if finished.map_err(failed)?.status.success() {
            logs.push((component.to_owned(), file));
        }
    }
    if logs.is_empty() {
        return Ok(());
    }
    // A crash may have left it.
    let temporary = ".compose.log";
    state.remove_tree(temporary)?;
    merge(logs, state.create_log(temporary)?).map_err(failed)?;
    rustix::fs::renameat(state.fd(), temporary, state.fd(), LOG).map_err(|e| failed(e.into()))
}

/// A file without a name: it ends with its descriptor.
fn unnamed(state: &Dir) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::openat(state.fd(), ".", flags, rustix::fs::Mode::from_raw_mode(PRIVATE))?.into())
}

/// Merges logs whose lines begin with their time. A line without one belongs to the line before it.
fn merge(logs: Vec<(String, File)>, merged: File) -> std::io::Result<()> {
    let width = logs.iter().map(|(component, _)| component.len()).max().unwrap_or(0);
    let mut out = BufWriter::new(merged);
    let mut readers = Vec::new();
    for (component, mut file) in logs {
        file.rewind()?;
        let mut reader = BufReader::new(file);
        if let Some(line) = next(&mut reader)? {
            readers.push((component, reader, line));
        }
    }
    while let Some(index) = (0..readers.len()).min_by(|a, b| readers[*a].2.cmp(&readers[*b].2)) {
        let (component, reader, line) = &mut readers[index];
        write!(out, "{component:<width$} | ")?;
        out.write_all(line)?;
        if line.last() != Some(&b'\n') {
            out.write_all(b"\n")?;
        }
        match next(reader)? {
            Some(following) => *line = following,
            None => drop(readers.remove(index)),
        }
    }
    out.flush()
}

fn next(reader: &mut BufReader<File>) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    Ok((reader.read_until(b'\n', &mut line)? > 0).then_some(line))
}
