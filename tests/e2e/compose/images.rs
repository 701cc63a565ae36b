//! Each image alone: written, loaded from its archive, started by its own entry point, probed over the network and stopped.

use std::fs;
use std::process::Command;

use bottle_test_support::bottle::Bottle;
use bottle_test_support::deadline::wait_until;
use bottle_test_support::engine::engines;
use bottle_test_support::warden::Ending;

use crate::life::support::{TIMEOUT, program};
use crate::net::world::{is_gone, under};

/// What a sidecar says to a request when it is alone: no bottle has told it a route.
fn asked(network: &str, address: &str) -> Option<String> {
    let script = format!(
        "exec 3<>/dev/tcp/{} && printf 'GET http://unlisted.test/ HTTP/1.1\\r\\nHost: unlisted.test\\r\\n\\r\\n' >&3 && head -c 12 <&3",
        address.replace(':', "/")
    );
    let output = Command::new("nsenter").arg(format!("--net={network}")).args(["timeout", "10", "bash", "-c", &script]).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned()).filter(|said| !said.is_empty())
}

/// Starts an image with what a bottle would give it, asks it from its own network, and ends it by a signal.
fn alone(component: &str, port: u16, config: &str) {
    for engine in engines() {
        let bottle = under(Some(engine), Bottle::new(program()));
        let archive = bottle.path().join("image.tar");
        let exported = bottle.run(["images", "export", component, "--output", archive.to_str().unwrap()]);
        assert_eq!(exported.ending, Ending::Code(0), "{}", exported.stderr);
        let listed = bottle.run(["images", "list", "--format", "json"]).stdout;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let row = listed.as_array().unwrap().iter().find(|row| row["name"] == component).unwrap();
        let digest = row["config_digest"].as_str().unwrap();
        engine.said(["load", "--quiet", "--input", archive.to_str().unwrap()]);
        assert_eq!(
            engine.said(["image", "inspect", "--format", "{{.Id}}", digest]),
            digest,
            "the engine's id is the digest of the configuration"
        );

        // A configuration and an authority, as a plan of a bottle without routes has them.
        let run = fs::canonicalize(bottle.path()).unwrap().join("run");
        for (directory, files) in [("config", vec![config_file(component, config)]), ("ca", authority(&bottle)), ("secrets", vec![])] {
            fs::create_dir_all(run.join(directory)).unwrap();
            for (name, bytes) in files {
                fs::write(run.join(directory).join(name), bytes).unwrap();
            }
        }
        let mount = |directory: &str| format!("{}:/run/bottle/{directory}:ro", run.join(directory).display());
        let listen = format!("BOTTLE_LISTEN=agent=0.0.0.0:{port}");
        let name = format!("alone-{component}-{}", std::process::id());
        let mut arguments = vec![
            "run",
            "--detach",
            "--name",
            &name,
            "--user",
            "0:0",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--log-driver",
            "json-file",
            "--env",
            &listen,
        ];
        let mounts = ["config", "ca", "secrets"].map(mount);
        mounts.iter().for_each(|mount| arguments.extend(["--volume", mount]));
        arguments.push(digest);
        engine.said(arguments);
        let address = engine.said(["inspect", "--format", "{{.NetworkSettings.IPAddress}}", &name]);
        let host = engine.host().display().to_string();
        let said = wait_until(TIMEOUT, || asked(&host, &format!("{address}:{port}")));
        let logs = String::from_utf8_lossy(&engine.docker(["logs", &name]).output().unwrap().stderr).into_owned();
        assert_eq!(said.as_deref(), Some("HTTP/1.1 403"), "{}: {component}: {logs}", engine.name);
        assert!(logs.lines().next().is_some_and(|line| line.contains(r#""event":"ready""#)), "{logs}");
        engine.said(["stop", "--time", "5", &name]);
        assert_eq!(
            engine.said(["inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", &name]),
            "0 false",
            "{component} ends when it is asked to"
        );
        engine.said(["rm", "--force", &name]);
    }
}

fn config_file(component: &str, config: &str) -> (String, Vec<u8>) {
    let name = if component == "egress" { bottle_contract::egress::FILE } else { bottle_contract::pipelock::FILE };
    (name.to_owned(), config.as_bytes().to_vec())
}

fn authority(bottle: &Bottle) -> Vec<(String, Vec<u8>)> {
    let authority = bottle::ca::Authority::generate(&format!("alone {}", bottle.path().display()), std::time::SystemTime::now()).unwrap();
    vec![
        (bottle_contract::names::CA_CERT.to_owned(), authority.cert_pem.as_bytes().to_vec()),
        (bottle_contract::names::CA_KEY.to_owned(), authority.key_pem.as_bytes().to_vec()),
    ]
}

/// The configuration of a sidecar of a bottle with these routes.
fn configuration(component: &str, egress: &str) -> String {
    let bottle = Bottle::new(program()).bottle("alone", egress).agent("alone", "bottle: alone\nprovider: shell", "");
    let said = bottle.run(["start", "alone", "--dry-run", "--format", "json"]).stdout;
    let plan: serde_json::Value = serde_json::from_str(&said).unwrap();
    let sidecar = plan["sidecars"].as_array().unwrap().iter().find(|sidecar| sidecar["component"] == component).unwrap();
    sidecar["config"][component].to_string()
}

// covers: C11
#[test]
fn the_image_of_egress_serves_alone() {
    alone("egress", 9099, &configuration("egress", "egress:\n  routes:\n    - host: a.test"));
}

#[test]
fn the_image_of_pipelock_serves_alone() {
    alone("pipelock", 8888, &configuration("pipelock", "egress:\n  routes: []"));
}

// covers: C11
#[test]
fn an_image_that_is_not_there_or_is_broken_is_an_error_before_anything_is_made() {
    let Some(engine) = engines().first() else { return };
    let garbage = tempfile::NamedTempFile::new().unwrap();
    fs::write(garbage.path(), b"not an archive").unwrap();
    for (path, cause) in [("/nowhere/image.tar", "No such file"), (garbage.path().to_str().unwrap(), "")] {
        let bottle = under(Some(engine), Bottle::new(program())).env("BOTTLE_IMAGE_AGENT", path);
        let ended = bottle.run(["start", "shell", "--yes", "--", "true"]);
        assert_eq!(ended.ending, Ending::Code(125), "{}", ended.stderr);
        assert!(
            ended.stderr.starts_with(&format!("error: cannot use the image `{path}`")) && ended.stderr.contains(cause),
            "{}",
            ended.stderr
        );
        assert!(!bottle.path().join("state/bottle/shell").exists());
        is_gone(Some(engine), &bottle);
    }
}

// covers: C12
#[test]
fn an_image_decides_nothing_about_its_container() {
    for engine in engines() {
        let directory = tempfile::tempdir().unwrap();
        let (root, archive) = (directory.path().join("root.tar"), directory.path().join("image.tar"));
        // One static program, and nothing else.
        let status = Command::new("tar").arg("-C").arg(program().parent().unwrap()).arg("-cf").arg(&root).arg("bottle").status().unwrap();
        assert!(status.success());
        let name = format!("hostile-{}", std::process::id());
        let mut import = vec!["import"];
        for change in [
            r#"ENTRYPOINT ["/bottle", "doctor"]"#,
            "USER 0",
            "WORKDIR /proc/self/fd/7",
            "VOLUME /volume",
            "HEALTHCHECK --interval=1s CMD /bottle",
            "ENV LD_PRELOAD=/x PATH=/nowhere",
        ] {
            import.extend(["--change", change]);
        }
        let root = root.to_str().unwrap();
        import.extend([root, &name]);
        engine.said(import);
        engine.said(["save", "--output", archive.to_str().unwrap(), &name]);
        engine.said(["rmi", "--force", &name]);
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::set_permissions(&archive, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let before = engine.everything();
        for place in [None, Some(engine)] {
            let bottle = under(place, Bottle::new(program()))
                .bottle("image", &format!("workspace: none\nrootfs: {{ image: {} }}", archive.display()))
                .agent("image", "bottle: image\nprovider: shell", "")
                .as_user(54_321);
            let ended = bottle.run(["start", "image", "--yes", "--", "/bottle", "--version"]);
            assert_eq!((ended.ending, ended.stdout.starts_with("bottle ")), (Ending::Code(0), true), "{}: {}", engine.name, ended.stderr);
            is_gone(place, &bottle);
        }
        // Volumes with the name of a bottle are those of tests beside this one.
        let is_new = |object: &String| object.starts_with("volume") && !object.starts_with("volume bottle-") && !before.contains(object);
        let left: Vec<_> = engine.everything().into_iter().filter(is_new).collect();
        assert_eq!(left, Vec::<String>::new(), "{}", engine.name);
    }
}
