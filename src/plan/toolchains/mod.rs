//! Programs and toolchains of the operator's home: found by the operator's own `PATH`, and shown to the agent read-only, with the variables
//! that they need. Pure, over what can be asked of a file system.

mod managers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use managers::{MANAGERS, Manager, Root};

use super::agent::{HOME, PATH};
use super::program::TREES;

/// What is asked of a file system.
pub trait Files {
    /// The file or directory behind all links; none if there is none, or if it cannot be looked at.
    fn canonical(&self, path: &Path) -> Option<PathBuf>;
    /// The names in a directory, in order; none of what is no directory.
    fn names(&self, directory: &Path) -> Vec<String>;
    /// True for a file that can be executed.
    fn is_program(&self, path: &Path) -> bool;
    /// True for a directory.
    fn is_directory(&self, path: &Path) -> bool;
    /// The program that a script names in its first line, if it is a script.
    fn interpreter(&self, path: &Path) -> Option<PathBuf>;
}

/// What the operator has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operator {
    /// The home directory.
    pub home: Option<PathBuf>,
    /// The directories of `PATH`.
    pub path: Vec<PathBuf>,
    /// Variables by which managers were moved.
    pub variables: BTreeMap<String, PathBuf>,
    /// Further directories that the bottle's manifest shows.
    pub tools: Vec<PathBuf>,
}

impl Operator {
    /// The variables that are asked for.
    pub fn asked() -> impl Iterator<Item = &'static str> {
        MANAGERS.iter().filter_map(|manager| match manager.root {
            Root::Home(_, variable) => variable,
            Root::At(_) | Root::Beside(_) => None,
        })
    }
}

/// What is shown of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolchains {
    /// The managers, by name.
    pub managers: BTreeSet<&'static str>,
    /// Directories and files, read-only, at the same path.
    pub trees: Vec<PathBuf>,
    /// Directories of the agent's `PATH`, in the operator's order.
    pub path: Vec<PathBuf>,
    /// Links in the agent's own directory of programs, to what they lead to.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Variables that lead to them.
    pub env: BTreeMap<String, PathBuf>,
    /// Directories of the operator's `PATH` that are not shown, with the number of their programs.
    pub absent: Vec<(PathBuf, usize)>,
}

/// A directory of links has no more programs than this, or is not looked through.
const MAX_PROGRAMS: usize = 2048;

/// Finds what the operator's `PATH` leads to.
pub fn find(operator: &Operator, files: &dyn Files) -> Toolchains {
    let mut search = Search { operator, files, found: Toolchains::default() };
    for directory in operator.path.iter().filter(|directory| directory.is_absolute()) {
        search.directory(directory);
    }
    search.found
}

struct Search<'a> {
    operator: &'a Operator,
    files: &'a dyn Files,
    found: Toolchains,
}

impl Search<'_> {
    fn directory(&mut self, directory: &Path) {
        let Some(real) = self.files.canonical(directory).filter(|real| self.files.is_directory(real)) else { return };
        if is_shown(&real) || self.operator.tools.iter().any(|tool| real.starts_with(tool)) {
            return self.on_path(real);
        }
        if let Some((manager, root)) = self.manager_of(&real) {
            self.show(manager, &root);
            if self.is_visible(&real) {
                return self.on_path(real);
            }
        }
        self.links(directory, &real);
    }

    fn on_path(&mut self, directory: PathBuf) {
        if !self.found.path.contains(&directory) {
            self.found.path.push(directory);
        }
    }

    /// A directory that merely holds links into what managers installed: each is repeated. What lies in it itself may be anybody's, and is
    /// counted as not shown.
    fn links(&mut self, directory: &Path, real: &Path) {
        let names = self.files.names(real);
        let in_home = self.operator.home.as_ref().is_some_and(|home| directory.starts_with(home));
        let mut absent = 0;
        for name in names.iter().take(MAX_PROGRAMS) {
            let path = real.join(name);
            if !self.files.is_program(&path) {
                continue;
            }
            match self.files.canonical(&path).filter(|file| !file.starts_with(real)) {
                Some(file) if self.program(&file) => {
                    let link = Path::new(HOME).join(".local/bin").join(name);
                    self.found.links.entry(link).or_insert(file);
                }
                _ => absent += 1,
            }
        }
        if absent > 0 && in_home {
            self.found.absent.push((directory.to_owned(), absent));
        }
    }

    /// Shows what a program needs to run, if a manager installed it.
    fn program(&mut self, file: &Path) -> bool {
        if is_shown(file) {
            return true;
        }
        let Some((manager, root)) = self.manager_of(file) else { return false };
        self.show(manager, &root);
        if let Some(real) = self.files.interpreter(file).and_then(|interpreter| self.files.canonical(&interpreter)) {
            self.program(&real);
        }
        self.is_visible(file)
    }

    fn manager_of(&self, path: &Path) -> Option<(&'static Manager, PathBuf)> {
        MANAGERS.iter().find_map(|manager| {
            let root = match manager.root {
                Root::Home(below, variable) => {
                    let moved = variable.and_then(|variable| self.operator.variables.get(variable)).cloned();
                    let root = moved.or_else(|| Some(self.operator.home.as_ref()?.join(below)))?;
                    self.files.canonical(&root)?
                }
                Root::At(root) => PathBuf::from(root),
                Root::Beside(mark) => {
                    let directory = if self.files.is_directory(path) { path } else { path.parent()? };
                    let root = directory.parent().filter(|_| directory.ends_with("bin"))?;
                    self.files.canonical(&root.join(mark))?;
                    // Never the home directory itself, whose `bin` has many neighbours.
                    let is_home = self.operator.home.as_ref().is_some_and(|home| home.starts_with(root));
                    (!is_home).then(|| root.to_owned())?
                }
            };
            path.starts_with(&root).then_some((manager, root))
        })
    }

    fn show(&mut self, manager: &'static Manager, root: &Path) {
        if !self.found.managers.insert(manager.name) && self.is_listed(manager, root) {
            return;
        }
        for below in manager.shows {
            match *below {
                "." => self.tree(root.to_owned()),
                "*" => {
                    let files: Vec<PathBuf> = self.files.names(root).iter().map(|name| root.join(name)).collect();
                    for file in files.into_iter().filter(|file| self.files.is_program(file)) {
                        self.tree(file);
                    }
                }
                below => self.tree(root.join(below)),
            }
        }
        for (name, below) in manager.variables {
            let place = if *below == "." { root.to_owned() } else { root.join(below) };
            self.found.env.entry((*name).to_owned()).or_insert(place);
        }
        // A virtual environment's interpreter is a link to the one that it was made with.
        if let Some(python) = self.files.canonical(&root.join("bin/python")) {
            self.program(&python);
        }
        let needed = MANAGERS.iter().find(|other| Some(other.name) == manager.needs);
        if let Some((needed, Root::Home(below, variable))) = needed.map(|needed| (needed, needed.root)) {
            let moved = variable.and_then(|variable| self.operator.variables.get(variable)).cloned();
            let root = moved.or_else(|| Some(self.operator.home.as_ref()?.join(below)));
            if let Some(root) = root.and_then(|root| self.files.canonical(&root)) {
                self.show(needed, &root);
            }
        }
    }

    fn is_listed(&self, manager: &Manager, root: &Path) -> bool {
        manager.shows.iter().any(|below| *below != "*" && self.found.trees.contains(&clean(root, below)))
    }

    fn tree(&mut self, path: PathBuf) {
        let Some(real) = self.files.canonical(&path) else { return };
        // A link may lead elsewhere, but never to all that the operator has.
        let is_home = self.operator.home.as_ref().is_some_and(|home| home.starts_with(&real));
        if !is_home && !self.is_visible(&path) {
            self.found.trees.push(path);
        }
    }

    fn is_visible(&self, path: &Path) -> bool {
        is_shown(path) || self.found.trees.iter().any(|tree| path.starts_with(tree))
    }
}

fn clean(root: &Path, below: &str) -> PathBuf {
    if below == "." { root.to_owned() } else { root.join(below) }
}

/// True for what every bottle shows.
fn is_shown(path: &Path) -> bool {
    TREES.iter().any(|tree| path.starts_with(tree))
}

impl Toolchains {
    /// The agent's `PATH`: its own programs, the operator's directories as far as they are shown, and what every bottle has.
    pub fn path(&self, own_links: bool) -> String {
        let own = Path::new(HOME).join(".local/bin");
        let mut path: Vec<String> = Vec::new();
        let first = (own_links || !self.links.is_empty()).then_some(&own);
        let mut push = |directory: &str| {
            if !path.iter().any(|other| other == directory) {
                path.push(directory.to_owned());
            }
        };
        // A directory whose name holds a colon cannot be written.
        let shown = first.into_iter().chain(&self.path).filter_map(|directory| directory.to_str()).filter(|text| !text.contains(':'));
        shown.chain(PATH.split(':')).for_each(&mut push);
        path.join(":")
    }

    /// Sentences on what the operator's `PATH` has and the agent does not see, with the lines that would change it.
    pub fn notes(&self) -> Vec<String> {
        let note = |(directory, programs): &(PathBuf, usize)| {
            let shown = bottle_contract::Untrusted::new(directory.as_os_str().as_encoded_bytes());
            let many = if *programs == 1 { "program" } else { "programs" };
            format!("{programs} {many} of {shown} are not shown to the agent; `tools: [{shown}]` in the bottle shows all of it")
        };
        self.absent.iter().map(note).collect()
    }
}
