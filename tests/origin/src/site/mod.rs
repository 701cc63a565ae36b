//! Virtual hosts: which names are served, and by what.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};

use crate::exchange::{Arrival, Body, failure};
use crate::origin::{Serve, World};

pub(crate) mod echo;
pub(crate) mod files;
pub(crate) mod gemini;
pub(crate) mod git;
pub(crate) mod model;
pub(crate) mod packages;
pub(crate) mod responses;
pub(crate) mod stream;
pub(crate) mod websocket;

/// What serves a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// Says back what arrived, and everything that a test asks for by path.
    Echo,
    /// Anthropic's Messages API.
    Model,
    /// Google's Gemini API.
    Gemini,
    /// OpenAI's Responses API.
    Responses,
    /// A Python index.
    PythonIndex,
    /// The files that the Python index names.
    PythonFiles,
    /// An npm registry.
    Npm,
    /// A cargo registry.
    Crates,
    /// Repositories over smart HTTP, below this directory or the origin's own.
    Git(Option<PathBuf>),
    /// Files below a directory.
    Files(PathBuf),
    /// Nothing: 421.
    Absent,
}

/// Decides by the host; where it is an address, as with `ANTHROPIC_BASE_URL=https://127.0.0.1:PORT`, by the path.
pub(crate) fn choose(serve: &[Serve], host: &str, path: &str) -> Site {
    if let Some(path) = serve.iter().find(|entry| entry.host == host).and_then(|entry| entry.path.clone()) {
        return if host == "git.test" { Site::Git(Some(path)) } else { Site::Files(path) };
    }
    if serve.iter().any(|entry| entry.path.is_none()) && !serve.iter().any(|entry| entry.host == host) {
        return Site::Absent;
    }
    match host {
        "api.anthropic.test" | "api.anthropic.com" | "platform.claude.com" => Site::Model,
        "api.openai.com" => Site::Responses,
        "generativelanguage.googleapis.com" => Site::Gemini,
        "pypi.test" => Site::PythonIndex,
        "files.pythonhosted.test" => Site::PythonFiles,
        "registry.npmjs.test" => Site::Npm,
        "crates.test" => Site::Crates,
        "git.test" => Site::Git(None),
        host if host.parse::<IpAddr>().is_ok() && (path.starts_with("/v1/") || path.starts_with("/api/")) => Site::Model,
        _ => Site::Echo,
    }
}

impl Site {
    pub(crate) async fn answer(self, world: &Arc<World>, arrival: Arrival, upgrade: Option<OnUpgrade>) -> Response<Body> {
        match self {
            Self::Echo => echo::answer(world, arrival, upgrade).await,
            Self::Model => model::answer(world, &arrival),
            Self::Gemini => gemini::answer(world, &arrival),
            Self::Responses => responses::answer(world, arrival, upgrade),
            Self::PythonIndex => world.packages.python_index(&arrival),
            Self::PythonFiles => world.packages.python_file(&arrival),
            Self::Npm => world.packages.npm(&arrival),
            Self::Crates => world.packages.crates(&arrival),
            Self::Git(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "git is answered by its backend"),
            Self::Files(root) => files::answer(&root, &arrival).await,
            Self::Absent => failure(StatusCode::MISDIRECTED_REQUEST, "this origin does not serve that name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(host: &str, path: Option<&str>) -> Serve {
        Serve { host: host.into(), path: path.map(Into::into) }
    }

    #[test]
    fn a_name_has_one_site() {
        for (host, path, site) in [
            ("echo.test", "/v1/messages", Site::Echo),
            ("127.0.0.1", "/v1/messages", Site::Model),
            ("127.0.0.1", "/echo", Site::Echo),
            ("api.anthropic.com", "/", Site::Model),
            ("git.test", "/sample.git/info/refs", Site::Git(None)),
            ("xgit.test", "/", Site::Echo),
        ] {
            assert_eq!(choose(&[], host, path), site, "{host}{path}");
        }
    }

    #[test]
    fn a_list_of_bare_names_closes_the_others() {
        let serve = [entry("pypi.test", None), entry("files.test", Some("/srv"))];
        assert_eq!(choose(&serve, "pypi.test", "/"), Site::PythonIndex);
        assert_eq!(choose(&serve, "files.test", "/"), Site::Files("/srv".into()));
        assert_eq!(choose(&serve, "echo.test", "/"), Site::Absent);
        assert_eq!(choose(&serve[1..], "echo.test", "/"), Site::Echo);
    }
}
