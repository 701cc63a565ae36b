//! The APIs of models, by host: where programs send conversations.

use std::sync::LazyLock;

use bottle_contract::HostPattern;
use bottle_contract::route::PathRule;
use serde::Deserialize;

use super::route;
use crate::yaml::{self, At, Problem};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    host: At<String>,
    paths: Vec<At<String>>,
}

/// All of them. That the text can be read is for a test.
static APIS: LazyLock<Vec<(HostPattern, Vec<PathRule>)>> = LazyLock::new(|| read().unwrap_or_default());

fn read() -> Result<Vec<(HostPattern, Vec<PathRule>)>, Problem> {
    let rows: Vec<Raw> = yaml::parse(include_str!("model_apis.yaml"))?;
    let one = |row: Raw| {
        let host = row.host.value.parse().map_err(|error: bottle_contract::host::HostError| row.host.problem(error.to_string(), ""))?;
        Ok::<_, Problem>((host, row.paths.iter().map(route::path_rule).collect::<Result<_, _>>()?))
    };
    rows.into_iter().map(one).collect()
}

/// The paths of conversations at exactly this host, if it is a model's API.
pub fn conversations(host: &HostPattern) -> Option<&'static [PathRule]> {
    APIS.iter().find(|(api, _)| api == host).map(|(_, paths)| paths.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: V04
    #[test]
    fn each_api_reads_once_and_conversations_are_told_from_files() {
        let apis = read().unwrap();
        for (number, (host, paths)) in apis.iter().enumerate() {
            assert!(matches!(host, HostPattern::Exact(_)) && !paths.is_empty(), "{host}");
            assert!(apis[..number].iter().all(|(other, _)| other != host), "{host} twice");
        }
        let fits =
            |host: &str, path: &str| conversations(&host.parse().unwrap()).is_some_and(|rules| rules.iter().any(|rule| rule.fits(path)));
        assert!(fits("api.anthropic.com", "/v1/messages") && fits("api.openai.com", "/v1/responses"));
        assert!(fits("generativelanguage.googleapis.com", "/v1beta/models/gemini-pro:streamGenerateContent"));
        assert!(
            !fits("api.anthropic.com", "/v1/files") && !fits("api.openai.com", "/v1/files") && !fits("*.anthropic.com", "/v1/messages")
        );
    }
}
