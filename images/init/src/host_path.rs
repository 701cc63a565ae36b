//! Paths of the host in JSON, for `#[serde(with)]`: text, or the bytes of a path that is not UTF-8, as Linux allows.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Either {
    Text(PathBuf),
    Bytes(Vec<u8>),
}

/// Text, or an array of numbers.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => serializer.serialize_str(text),
        None => serializer.collect_seq(path.as_os_str().as_bytes()),
    }
}

/// Either of these.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(match Either::deserialize(deserializer)? {
        Either::Text(path) => path,
        Either::Bytes(bytes) => OsString::from_vec(bytes).into(),
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct One(#[serde(with = "super")] PathBuf);

    // covers: I27
    #[test]
    fn a_path_comes_back_as_it_was() {
        for (bytes, json) in [(&b"/a b"[..], r#""/a b""#), ("/ä".as_bytes(), r#""/ä""#), (b"/\xff", "[47,255]")] {
            let path = One(Path::new(OsStr::from_bytes(bytes)).to_owned());
            let text = serde_json::to_string(&path).unwrap();
            assert_eq!(text, json);
            assert_eq!(serde_json::from_str::<One>(&text).unwrap(), path);
        }
        for broken in ["null", "[256]", "{}", "[\"a\"]"] {
            assert!(serde_json::from_str::<One>(broken).is_err(), "{broken}");
        }
    }
}
