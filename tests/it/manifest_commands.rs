//! x
use bottle::commands::{info, schema};
use bottle::manifest::Library;
#[test]
fn show_info() {
    let lib = Library::new(None, vec![], vec![]);
    let mut out = Vec::new();
    info::run(&info::Args { agent: None, format: info::Format::Text }, &mut out, &lib, &|_| false).unwrap();
    for a in ["implementer", "demo", "shell"] {
        info::run(&info::Args { agent: Some(a.into()), format: info::Format::Text }, &mut out, &lib, &|_| false).unwrap();
    }
    info::run(&info::Args { agent: Some("demo".into()), format: info::Format::Json }, &mut out, &lib, &|_| false).unwrap();
    schema::run(&schema::Args { kind: schema::Kind::Bottle }, &mut out).unwrap();
    println!("{}", String::from_utf8(out).unwrap());
}
