//! Which recipes there are: those in the program, and those of the operator's configuration.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;

use crate::recipe::Recipe;
use bottle_base::error::{Error, Result};
use bottle_base::key;
use bottle_base::yaml::Problem;

/// The recipes in the program: name and text. Add an image: add its folder in `images/` and a row.
const BUILT_IN: [(&str, &str); 5] = [
    ("egress", include_str!("../../egress/image.yaml")),
    ("pipelock", include_str!("../../pipelock/image.yaml")),
    ("git-gate", include_str!("../../git-gate/image.yaml")),
    ("supervise", include_str!("../../supervise/image.yaml")),
    ("agent-host", include_str!("../../agents/host/image.yaml")),
];

/// The file of a recipe.
const FILE: &str = "image.yaml";
/// Bytes of a recipe at most.
const MAX_RECIPE_BYTES: u64 = 256 * 1024;

/// The names of all recipes, the program's own first.
pub fn names(config: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect();
    let directory = own(config);
    let mut theirs = Vec::new();
    match fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(&directory, error)),
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(|error| unreadable(&directory, error))?;
                let name = entry.file_name();
                if let Some(name) = name.to_str().filter(|name| key::is_valid(name) && directory.join(name).join(FILE).exists()) {
                    theirs.push(name.to_owned());
                }
            }
        }
    }
    theirs.sort();
    names.extend(theirs);
    Ok(names)
}

/// The recipe of that name.
pub fn find(name: &str, config: &Path) -> Result<Recipe> {
    let file = own(config).join(name).join(FILE);
    if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        if file.exists() {
            return Err(Error::usage(
                format!("two recipes are called `{name}`"),
                format!("{} has the name of a built-in one", shown(&file)),
                "rename its directory",
            ));
        }
        return Recipe::read(name, text, None).map_err(|problem| unusable(name, "built-in", &problem));
    }
    if !key::is_valid(name) || !file.exists() {
        return Err(Error::usage(
            format!("there is no recipe `{}`", Untrusted::new(name)),
            format!("neither built-in nor {}", Untrusted::new(file.as_os_str().as_encoded_bytes())),
            "`bottle images list` shows what there is",
        ));
    }
    let text = read(&file).map_err(|error| unreadable(&file, error))?;
    Recipe::read(name, &text, file.parent()).map_err(|problem| unusable(name, &shown(&file), &problem))
}

fn own(config: &Path) -> PathBuf {
    config.join("images")
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_RECIPE_BYTES + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_RECIPE_BYTES {
        true => Err(io::Error::other("larger than 256 KiB")),
        false => Ok(text),
    }
}

fn shown(path: &Path) -> String {
    Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string()
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::usage(
        format!("cannot read {}", shown(path)),
        error,
        "a recipe is a file `image.yaml` that you can read, in a directory of its name",
    )
}

fn unusable(name: &str, place: &str, problem: &Problem) -> Error {
    let cause = format!("{place}:{}:{}: {}", problem.line, problem.column, problem.what);
    Error::usage(format!("recipe `{name}` cannot be used"), cause, problem.hint.clone())
}
