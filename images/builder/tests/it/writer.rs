//! The rules of the image writer, each one a test: what is written, and what is not.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};

use bottle_base::digest::sha256_hex;
use bottle_builder::Epoch;
use bottle_builder::path::EntryPath;
use bottle_builder::ustar::{Common, Kind, Writer, header};

use crate::lab::{HEAD, Lab, blob, blobs, document, layers, taken_apart};
use bottle_test_support::child::said;
use bottle_test_support::tools::tool;

const TOOL: &str = "  - made:\n      directories: [run/bottle/config, etc]\n      programs: { bin/tool: tool }\n";

fn path(text: &str) -> EntryPath {
    EntryPath::new(text).unwrap()
}

fn mode(file: &std::path::Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn headers_are_plain_ustar_and_what_they_cannot_hold_is_an_error() {
    let lab = Lab::new();
    let archive = lab.build(&lab.recipe(TOOL)).unwrap();
    let outside = taken_apart(&fs::read(&archive.path).unwrap()).0;
    for entry in layers(&archive).concat().iter().chain(&outside) {
        assert_eq!((entry.magic.as_slice(), matches!(entry.kind, '0' | '2' | '5')), (b"ustar\x0000".as_slice(), true));
    }
    let file = Kind::File { size: 0, executable: false, setuid: false };
    let common = Common::default();
    let longest = format!("{}/{}", "p".repeat(155), "n".repeat(100));
    let block = header(&path(&longest), file, common).unwrap();
    assert_eq!(tar::Header::from_byte_slice(&block).path_bytes().as_ref(), longest.as_bytes());
    for long in [format!("{}/{}", "p".repeat(156), "n".repeat(100)), format!("{}/{}", "p".repeat(155), "n".repeat(101)), "n".repeat(101)] {
        assert!(header(&path(&long), file, common).unwrap_err().contains("longer than a tar header can hold"), "{long}");
    }
    assert!(header(&path("l"), Kind::Link(&[b't'; 100]), common).is_ok());
    assert!(header(&path("l"), Kind::Link(&[b't'; 101]), common).is_err());
    assert!(header(&path("f"), Kind::File { size: 1 << 33, executable: false, setuid: false }, common).is_err());
    assert!(header(&path("f"), file, Common { owner: 1 << 21, mtime: 0 }).is_err());
    assert!(header(&path("f"), file, Common { owner: 0, mtime: 1 << 33 }).is_err());
}

#[test]
fn the_order_of_a_directory_on_disk_does_not_count() {
    let build = |names: &[&str]| {
        let lab = Lab::new();
        let root = lab.files().join("root");
        for name in names {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), name).unwrap();
        }
        lab.build_directory("root", "").unwrap().digest
    };
    let names = ["a/1", "a-b", "a/2", "z", "a.c", "m/n/o"];
    let reversed: Vec<&str> = names.iter().rev().copied().collect();
    assert_eq!(build(&names), build(&reversed));
}

#[test]
fn entries_are_sorted_by_bytes_and_each_parent_comes_once_before_what_is_in_it() {
    let lab = Lab::new();
    let text = "  - made:\n      directories: [a/b, zz]\n      texts: { a-b: x, a/b/c: x, Z0: x, é: x }\n      links: { a/l: b }\n";
    let archive = lab.build(&lab.recipe(text)).unwrap();
    let names: Vec<String> = layers(&archive).concat().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["Z0", "a-b", "a/", "a/b/", "a/b/c", "a/l", "zz/", "é"]);
    let outside: Vec<String> = taken_apart(&fs::read(&archive.path).unwrap()).0.into_iter().map(|entry| entry.name).collect();
    assert_eq!(outside[..2], ["blobs/", "blobs/sha256/"]);
    assert_eq!(outside[outside.len() - 3..], ["index.json", "manifest.json", "oci-layout"]);
    assert!(outside.is_sorted() && !outside.iter().any(|name| name.starts_with('/') || name.contains("./")), "{outside:?}");
}

#[test]
fn time_and_owner_are_those_of_the_recipe_and_names_are_empty() {
    let lab = Lab::new();
    fs::create_dir_all(lab.files().join("root")).unwrap();
    fs::write(lab.files().join("root/f"), "x").unwrap();
    let archive = lab.build_directory("root", "      owner: 1000\n").unwrap();
    let entry = &layers(&archive)[0][0];
    assert_eq!((entry.uid.as_str(), entry.gid.as_str(), entry.mtime.as_str()), ("0001750", "0001750", "00000000000"));
    assert_eq!(entry.names, [0; 64]);
    let epoch = Epoch::parse(Some("1700000000".as_ref())).unwrap();
    let archive = lab.build_at(&lab.recipe(TOOL), epoch).unwrap();
    let outside = taken_apart(&fs::read(&archive.path).unwrap()).0;
    for entry in layers(&archive).concat().iter().chain(&outside) {
        assert_eq!((entry.uid.as_str(), entry.gid.as_str(), entry.mtime.as_str()), ("0000000", "0000000", "14524770400"));
    }
}

#[test]
fn modes_are_the_five_that_the_writer_knows() {
    let lab = Lab::new();
    let root = lab.files().join("root");
    fs::create_dir_all(root.join("d")).unwrap();
    for (name, bits) in [("plain", 0o600), ("world", 0o666), ("tool", 0o700), ("group", 0o674), ("su", 0o4755), ("sudo", 0o4755)] {
        fs::write(root.join(name), name).unwrap();
        mode(&root.join(name), bits);
    }
    symlink("tool", root.join("link")).unwrap();
    mode(&root.join("d"), 0o1700);
    let archive = lab.build_directory("root", "      setuid: [sudo]\n").unwrap();
    let modes: Vec<String> = layers(&archive)[0].iter().map(|entry| format!("{} {}", entry.name, &entry.mode[3..])).collect();
    assert_eq!(modes, ["d/ 0755", "group 0644", "link 0777", "plain 0644", "su 0755", "sudo 4755", "tool 0755", "world 0644"]);
    assert!(lab.build_directory("root", "      setuid: [missing]\n").unwrap_err().cause.contains("is not a file of this layer"));
}

#[test]
fn only_directories_files_and_links_are_written() {
    let lab = Lab::new();
    let root = lab.files().join("root");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("one"), "same").unwrap();
    fs::hard_link(root.join("one"), root.join("two")).unwrap();
    fs::File::create(root.join("sparse")).unwrap().set_len(1 << 20).unwrap();
    symlink(std::ffi::OsStr::new("./../x//y"), root.join("link")).unwrap();
    let _ = rustix::fs::setxattr(root.join("one"), "user.bottle", b"x", rustix::fs::XattrFlags::empty());
    let archive = lab.build_directory("root", "").unwrap();
    let kinds: Vec<(String, char, usize, String)> =
        layers(&archive).concat().into_iter().map(|e| (e.name, e.kind, e.content.len(), e.target)).collect();
    let entry = |name: &str, kind, size, target: &str| (name.to_owned(), kind, size, target.to_owned());
    assert_eq!(
        kinds,
        [entry("link", '2', 0, "./../x//y"), entry("one", '0', 4, ""), entry("sparse", '0', 1 << 20, ""), entry("two", '0', 4, "")]
    );
    for (name, what) in [("fifo", "a fifo"), ("socket", "a socket")] {
        let place = root.join(name);
        match name {
            "fifo" => nix::unistd::mkfifo(&place, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            _ => drop(std::os::unix::net::UnixListener::bind(&place).unwrap()),
        }
        let cause = lab.build_directory("root", "").unwrap_err().cause;
        assert!(cause.ends_with(&format!("`{name}`: {what} cannot be in an image")), "{cause}");
        fs::remove_file(place).unwrap();
    }
}

#[test]
fn an_archive_ends_with_two_zero_blocks_and_content_is_read_once_and_measured() {
    /// Counts how often it is read to its end.
    struct Counted<'a>(&'a [u8], usize);
    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(buffer)?;
            self.1 += count;
            Ok(count)
        }
    }
    let file = |size| Kind::File { size, executable: false, setuid: false };
    let mut writer = Writer::new(Vec::new(), Common::default());
    let mut content = Counted(b"hello", 0);
    writer.put(&path("f"), file(5), &mut content).unwrap();
    assert_eq!(content.1, 5);
    let bytes = writer.finish().unwrap();
    assert_eq!((bytes.len(), taken_apart(&bytes).1.len()), (512 + 512 + 1024, 1024));
    for (size, why) in [(4, "`f` became longer while it was read"), (6, "`f` became shorter while it was read")] {
        let error = Writer::new(Vec::new(), Common::default()).put(&path("f"), file(size), &mut b"hello".as_slice()).unwrap_err();
        assert_eq!(error.to_string(), why);
    }
    let lab = Lab::new();
    let archive = lab.build(&lab.recipe(TOOL)).unwrap();
    assert_eq!(taken_apart(&fs::read(&archive.path).unwrap()).1, [0; 1024]);
}

#[test]
fn names_that_differ_in_case_or_normalisation_only_are_refused() {
    for (one, other) in [("README", "readme"), ("stra\u{df}e", "STRASSE"), ("caf\u{e9}", "cafe\u{301}"), ("\u{17f}", "s"), ("A/x", "a/y")] {
        let lab = Lab::new();
        let text = format!("{HEAD}layers:\n  - made:\n      texts: {{ \"{one}\": x, \"{other}\": x }}\n");
        // A collision of directories above is found when the tree is complete, at the latest.
        let error = lab.try_recipe(&text).and_then(|recipe| lab.build(&recipe)).unwrap_err();
        assert!(error.cause.contains("are one name where case or normalisation does not count"), "{one} {other}: {error}");
        let root = lab.files().join("root");
        for name in [one, other] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "x").unwrap();
        }
        let error = lab.build_directory("root", "").unwrap_err();
        assert!(error.cause.contains("are one name where case or normalisation does not count"), "{one} {other}: {error}");
    }
}

#[test]
fn layers_are_not_compressed() {
    let lab = Lab::new();
    let archive = lab.build(&lab.recipe(TOOL)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&blob(&archive, &archive.digest)).unwrap();
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar");
    assert_eq!(&blob(&archive, layer["digest"].as_str().unwrap())[257..262], b"ustar");
}

#[test]
fn documents_are_compact_and_ordered_and_know_nothing_of_the_machine() {
    let lab = Lab::new();
    let text = format!(
        "version: 1\ntitle: A tool\narchitectures: [amd64, arm64]\nuser: 65532\nworkdir: /work\nentrypoint: [/bin/tool, --serve]\n\
         env: [B=2, A=1]\nlabels: {{ z: last, a: first }}\nlayers:\n{TOOL}"
    );
    let recipe = lab.try_recipe(&text).unwrap();
    let archive = lab.build_at(&recipe, Epoch::parse(Some("951782400".as_ref())).unwrap()).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&blob(&archive, &archive.digest)).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let source = sha256_hex(format!(r#"{{"program tool":"{}"}}"#, sha256_hex(&lab.program)).as_bytes());
    let expected = format!(
        r#"{{"created":"2000-02-29T00:00:00Z","architecture":"amd64","os":"linux","config":{{"User":"65532:65532","Env":["B=2","A=1"],"Entrypoint":["/bin/tool","--serve"],"WorkingDir":"/work","Labels":{{"a":"first","bottle.recipe":"sha256:{}","bottle.source":"sha256:{source}","org.opencontainers.image.title":"A tool","z":"last"}}}},"rootfs":{{"type":"layers","diff_ids":["{layer}"]}},"history":[{{"created":"2000-02-29T00:00:00Z","created_by":"bottle","comment":"program tool"}}]}}"#,
        sha256_hex(text.as_bytes())
    );
    assert_eq!(String::from_utf8(blob(&archive, &archive.config_digest)).unwrap(), expected);
    let error = lab.try_recipe(&text.replace("B=2", "A=2")).unwrap_err();
    assert!(error.cause.ends_with(":7:12: a variable that is there twice"), "{error}");
}

#[test]
fn sizes_and_digests_are_exact_and_the_tag_is_in_the_index_only() {
    let lab = Lab::new();
    let archive = lab.build(&lab.recipe(&format!("{TOOL}{TOOL}"))).unwrap();
    assert_eq!(fs::metadata(&archive.path).unwrap().len(), archive.size);
    let index = document(&archive, "index.json");
    let manifest: serde_json::Value = serde_json::from_slice(&blob(&archive, &archive.digest)).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&blob(&archive, &archive.config_digest)).unwrap();
    assert_eq!(index["manifests"][0]["digest"], archive.digest);
    assert_eq!(manifest["config"]["digest"], archive.config_digest);
    let layers = manifest["layers"].as_array().unwrap();
    let digests: Vec<_> = layers.iter().map(|layer| &layer["digest"]).collect();
    assert_eq!(digests, config["rootfs"]["diff_ids"].as_array().unwrap().iter().collect::<Vec<_>>());
    for named in layers.iter().chain([&manifest["config"], &index["manifests"][0]]) {
        let digest = named["digest"].as_str().unwrap();
        let bytes = blob(&archive, digest);
        assert_eq!((format!("sha256:{}", sha256_hex(&bytes)), bytes.len() as u64), (digest.to_owned(), named["size"].as_u64().unwrap()));
    }
    let tag = archive.reference.rsplit(':').next().unwrap();
    let holders: Vec<String> = blobs(&archive)
        .into_iter()
        .filter(|(_, bytes)| {
            String::from_utf8_lossy(bytes).contains(&format!("\"{tag}\"")) || String::from_utf8_lossy(bytes).contains(&archive.reference)
        })
        .map(|(name, _)| name)
        .collect();
    assert_eq!(holders, ["index.json", "manifest.json"]);
}

#[test]
fn one_archive_is_an_oci_layout_and_what_docker_loads() {
    let lab = Lab::new();
    let archive = lab.build(&lab.recipe(TOOL)).unwrap();
    assert_eq!(document(&archive, "oci-layout"), serde_json::json!({"imageLayoutVersion": "1.0.0"}));
    let docker = document(&archive, "manifest.json");
    let config = docker[0]["Config"].as_str().unwrap();
    assert_eq!(format!("sha256:{}", sha256_hex(&blobs(&archive)[config])), archive.config_digest);
    assert_eq!(docker[0]["RepoTags"], serde_json::json!([archive.reference]));
    assert!(docker[0]["Layers"].as_array().unwrap().iter().all(|layer| blobs(&archive).contains_key(layer.as_str().unwrap())));
}

#[test]
fn skopeo_and_umoci_read_the_archive() {
    if tool("skopeo").is_none() || tool("umoci").is_none() {
        return;
    }
    let lab = Lab::new();
    let archive = lab.build(&lab.recipe(TOOL)).unwrap();
    let run = |program: &str, args: &[&str]| {
        let output = std::process::Command::new(program).args(args).env("HOME", lab.directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        output.stdout
    };
    let file = archive.path.to_str().unwrap();
    let inspected: serde_json::Value = serde_json::from_slice(&run("skopeo", &["inspect", &format!("oci-archive:{file}")])).unwrap();
    assert_eq!(inspected["Digest"], archive.digest);
    let config = run("skopeo", &["inspect", "--config", "--raw", &format!("docker-archive:{file}")]);
    assert_eq!(format!("sha256:{}", sha256_hex(&config)), archive.config_digest);
    let place = |name: &str| lab.directory.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(place("layout")).unwrap();
    run("tar", &["-xf", file, "-C", &place("layout")]);
    let tag = archive.reference.rsplit(':').next().unwrap();
    run("umoci", &["unpack", "--rootless", "--image", &format!("{}:{tag}", place("layout")), &place("bundle")]);
    assert_eq!(fs::read(place("bundle/rootfs/bin/tool")).unwrap(), lab.program);
}

#[test]
fn only_a_whole_number_of_seconds_is_an_epoch() {
    assert_eq!(Epoch::parse(None).unwrap().seconds(), 0);
    assert_eq!(Epoch::parse(Some("8589934591".as_ref())).unwrap().seconds(), 8_589_934_591);
    for text in ["", "-1", "+1", " 1", "1 ", "1.5", "1e9", "0x10", "now", "8589934592", "99999999999999999999999", "１"] {
        let error = Epoch::parse(Some(text.as_ref())).unwrap_err();
        assert_eq!((error.code, &*error.cause), (2, "it is not a whole number of seconds from 0 to 8589934591"), "{text:?}");
    }
    let bytes = std::os::unix::ffi::OsStrExt::from_bytes(b"1\xff");
    assert!(Epoch::parse(Some(bytes)).is_err());
}

#[test]
fn what_is_written_is_what_is_read() {
    let lab = Lab::new();
    let root = lab.files().join("root");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("usr/bin/tool"), "#!/bin/sh\n").unwrap();
    mode(&root.join("usr/bin/tool"), 0o755);
    fs::write(root.join("empty"), "").unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    let archive = lab.build_directory("root", "").unwrap();
    let tree = bottle_builder::unpacked(&archive.path, &lab.images(), &|| false).unwrap();
    assert_eq!(tree.file_name().unwrap().to_str().unwrap(), archive.config_digest.replace(':', "-"));
    let output = std::process::Command::new("diff").arg("-r").arg("--no-dereference").args([&root, &tree]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::metadata(tree.join("bin/tool")).unwrap().permissions().mode() & 0o777, 0o755);
}
