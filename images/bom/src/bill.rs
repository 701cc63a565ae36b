//! A bill of materials in CycloneDX 1.5.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use aws_lc_rs::digest::{SHA256, digest};
use cargo_metadata::Package;
use cyclonedx_bom::external_models::uri::Purl;
use cyclonedx_bom::models::bom::{Bom, SpecVersion};
use cyclonedx_bom::models::component::{Classification, Component, Components};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata;
use cyclonedx_bom::models::property::{Properties, Property};
use cyclonedx_bom::validation::Validate;

use crate::packages::{Resolved, reference};

/// The bill of the program that the package `name` builds.
pub(crate) fn bill(resolved: &Resolved, name: &str, program: &[u8], facts: &[(&str, &str)]) -> anyhow::Result<Vec<u8>> {
    let root = resolved.root(name)?;
    let below = resolved.below(root);
    let own = reference(root);
    let mut component = described(Classification::Application, root, Some(&sha256(program)))?;
    component.description = None;
    let others = below.iter().filter(|(name, _)| **name != own);
    let components = others.map(|(_, (package, _))| described(Classification::Library, package, resolved.checksum(package)));
    let mut properties = vec![Property::new("bottle:cargo-lock", &format!("sha256:{}", resolved.lock))];
    properties.extend(facts.iter().map(|(name, value)| Property::new(format!("bottle:{name}"), value)));
    let depends = |(name, (_, needs)): (&String, &(&Package, BTreeSet<String>))| Dependency {
        dependency_ref: name.clone(),
        dependencies: needs.iter().cloned().collect(),
    };
    let bom = Bom {
        serial_number: None,
        metadata: Some(Metadata { component: Some(component), properties: Some(Properties(properties)), ..Metadata::default() }),
        components: Some(Components(components.collect::<anyhow::Result<_>>()?)),
        dependencies: Some(Dependencies(below.iter().map(depends).collect())),
        spec_version: SpecVersion::V1_5,
        ..Bom::default()
    };
    let verdict = bom.validate();
    if !verdict.passed() {
        bail!("the bill of {name} is not valid: {verdict:?}");
    }
    let mut text = Vec::new();
    bom.output_as_json_v1_5(&mut text).with_context(|| format!("the bill of {name}"))?;
    text.push(b'\n');
    Ok(text)
}

fn described(kind: Classification, package: &Package, sha256: Option<&str>) -> anyhow::Result<Component> {
    let mut component = Component::new(kind, &package.name, &package.version.to_string(), Some(reference(package)));
    let hash = |content: &str| Hash { alg: HashAlgorithm::SHA_256, content: HashValue(content.to_owned()) };
    component.hashes = sha256.map(|content| Hashes(vec![hash(content)]));
    if package.source.is_some() {
        component.purl = Some(Purl::new("cargo", &package.name, &package.version.to_string())?);
    }
    // Before 2020 cargo let people write `MIT/Apache-2.0`.
    let license = package.license.as_ref().map(|license| license.replace('/', " OR "));
    component.licenses = license.map(|license| Licenses(vec![LicenseChoice::expression(&license)]));
    Ok(component)
}

/// SHA-256, hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
