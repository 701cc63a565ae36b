//! Image archives: unpacked inside their tree, whatever their author wrote.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use bottle_base::digest::sha256_hex;
use bottle_test_support::tools::names;

/// An entry of a layer, by its raw bytes: the archive's author need not be polite.
enum Entry<'a> {
    Directory(&'a str),
    File(&'a str, &'a str, u32),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str),
    Device(&'a str),
}

fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        let (path, content, mode, kind, target) = match entry {
            Entry::Directory(path) => (path, "", 0o755, tar::EntryType::Directory, None),
            Entry::File(path, content, mode) => (path, *content, *mode, tar::EntryType::Regular, None),
            Entry::Link(path, target) => (path, "", 0o777, tar::EntryType::Symlink, Some(target)),
            Entry::Hard(path, target) => (path, "", 0o644, tar::EntryType::Link, Some(target)),
            Entry::Device(path) => (path, "", 0o666, tar::EntryType::Char, None),
        };
        // `set_path` refuses `..`; a hostile author does not use it.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        if let Some(target) = target {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        out.append(&header, content.as_bytes()).unwrap();
    }
    out.into_inner().unwrap()
}

struct Lab {
    directory: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn images(&self) -> PathBuf {
        self.directory.path().join("images")
    }

    /// An archive as `docker save` writes it; `lie` is what the configuration says of the first layer's digest.
    fn docker(&self, layers: &[Vec<u8>], lie: Option<&str>) -> PathBuf {
        let mut out = tar::Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            out.append_data(&mut header, name, bytes).unwrap();
        };
        let mut ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha256_hex(layer))).collect();
        if let Some(lie) = lie {
            ids[0] = lie.to_owned();
        }
        let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
        add("config.json", serde_json::json!({"rootfs": {"type": "layers", "diff_ids": ids}}).to_string().as_bytes());
        for (name, layer) in names.iter().zip(layers) {
            add(name, layer);
        }
        add("manifest.json", serde_json::json!([{"Config": "config.json", "Layers": names}]).to_string().as_bytes());
        let path = self.directory.path().join("image.tar");
        fs::write(&path, out.into_inner().unwrap()).unwrap();
        path
    }

    fn unpack(&self, layers: &[Vec<u8>]) -> Result<PathBuf, bottle_base::error::Error> {
        bottle_builder::unpacked(&self.docker(layers, None), &self.images(), &|| false)
    }
}

#[test]
fn layers_lie_on_each_other_and_whiteouts_delete() {
    let lab = Lab::new();
    let tree = lab
        .unpack(&[
            layer(&[
                Entry::Directory("bin/"),
                Entry::File("bin/sh", "old", 0o4755),
                Entry::File("gone", "x", 0o644),
                Entry::File("dir/a", "a", 0o644),
                Entry::File("dir/b", "b", 0o644),
                Entry::Directory("usr/"),
                Entry::Directory("usr/lib/"),
                Entry::Link("lib", "usr/lib"),
                Entry::Device("dev-null"),
            ]),
            layer(&[
                Entry::File("bin/sh", "new", 0o755),
                Entry::File(".wh.gone", "", 0o644),
                Entry::File("dir/.wh..wh..opq", "", 0o644),
                Entry::File("dir/c", "c", 0o644),
                Entry::File("lib/x", "through the link", 0o644),
                Entry::Hard("bin/bash", "bin/sh"),
            ]),
        ])
        .unwrap();
    assert_eq!(names(&tree), ["bin", "dir", "lib", "usr"]);
    assert_eq!(names(&tree.join("dir")), ["c"]);
    assert_eq!(fs::read_to_string(tree.join("bin/bash")).unwrap(), "new");
    assert_eq!(fs::read_to_string(tree.join("usr/lib/x")).unwrap(), "through the link");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(tree.join("bin/sh")).unwrap().permissions()) & 0o7777, 0o755);
}

// A kernel that sees a rename anywhere while it walks over `..` says "try again".
#[test]
fn renames_elsewhere_do_not_stop_an_image() {
    let lab = Lab::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let (here, there) = (elsewhere.path().join("here"), elsewhere.path().join("there"));
    fs::write(&here, "").unwrap();
    let names: Vec<String> = (0..2000).map(|n| format!("up/up/up/dir/{n}")).collect();
    let files = names.iter().map(|name| Entry::File(name, "x", 0o644));
    let entries: Vec<_> = [Entry::Link("up", "../../../..")].into_iter().chain(files).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    let tree = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                fs::rename(&here, &there).and_then(|()| fs::rename(&there, &here)).unwrap();
            }
        });
        let tree = lab.unpack(&[layer(&entries)]);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        tree.unwrap()
    });
    assert_eq!(fs::read_dir(tree.join("dir")).unwrap().count(), 2000);
}

// covers: C12
#[test]
fn an_image_cannot_write_outside_its_tree() {
    let lab = Lab::new();
    let victim = lab.directory.path().join("victim");
    fs::create_dir(&victim).unwrap();
    let absolute = victim.to_str().unwrap();
    let tree = lab
        .unpack(&[layer(&[
            Entry::Link("out", absolute),
            Entry::File("out/planted", "x", 0o644),
            Entry::Link("up", "../../../../../../../../.."),
            Entry::File(&format!("up{absolute}/planted"), "x", 0o644),
            Entry::File("/rooted", "x", 0o644),
        ])])
        .unwrap();
    assert_eq!(names(&victim), Vec::<String>::new());
    assert!(tree.join("rooted").exists() && tree.join(absolute.trim_start_matches('/')).join("planted").exists());

    let refused = Lab::new();
    let error = refused.unpack(&[layer(&[Entry::File("../planted", "x", 0o644)])]).unwrap_err();
    assert_eq!(error.cause, "../planted: a path with `..`");
    assert_eq!(names(&refused.images()), Vec::<String>::new());
}

// covers: C11
#[test]
fn a_layer_that_is_not_what_its_configuration_says_is_refused() {
    let lab = Lab::new();
    let bytes = layer(&[Entry::File("a", "a", 0o644)]);
    let path = lab.docker(std::slice::from_ref(&bytes), Some("sha256:00"));
    let error = bottle_builder::unpacked(&path, &lab.images(), &|| false).unwrap_err();
    assert_eq!(error.cause, format!("a layer is sha256:{}, and its configuration says sha256:00", sha256_hex(&bytes)));
}

#[test]
fn an_archive_is_unpacked_once_whatever_its_compression() {
    let lab = Lab::new();
    let plain = layer(&[Entry::File("a", "a", 0o644)]);
    let tree = lab.unpack(std::slice::from_ref(&plain)).unwrap();
    fs::write(tree.join("mark"), "kept").unwrap();
    assert_eq!(lab.unpack(std::slice::from_ref(&plain)).unwrap(), tree);
    assert!(tree.join("mark").exists());

    let other = Lab::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let path = other.docker(&[gzip.finish().unwrap()], Some(&format!("sha256:{}", sha256_hex(&plain))));
    let tree = bottle_builder::unpacked(&path, &other.images(), &|| false).unwrap();
    assert_eq!(names(&tree), ["a"]);
}
