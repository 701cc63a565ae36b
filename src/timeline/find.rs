//! What a timeline tells about one request.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use bottle_contract::event::Event;
use serde::{Deserialize, Serialize};

use crate::error::{OrFail, Result};
use crate::files::Dir;

/// The longest line that is read, as of whoever verifies.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Records of one request at most: each sidecar writes one or two, a WebSocket one more.
const MAX_RECORDS: usize = 64;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// Who wrote it. Older records call it `piece`.
    #[serde(alias = "piece")]
    pub component: String,
    /// What it says.
    #[serde(flatten)]
    pub event: Event,
}

/// The records that name the request `id`, in their order; none where there is no timeline. Whether the chain holds is
/// [`super::verify`]'s affair: a line that is no record is passed over.
pub fn find(state: &Path, id: &str) -> Result<Vec<Record>> {
    let dir = Dir::open(state)?;
    if dir.stat(super::FILE)?.is_none() {
        return Ok(Vec::new());
    }
    let mut lines = BufReader::with_capacity(64 * 1024, dir.open_file(super::FILE)?);
    let named = format!("\"request_id\":\"{id}\"").into_bytes();
    let (mut line, mut found) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        let read = (&mut lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        let read = read.or_fail("cannot read the timeline", "see what is wrong with the disk")?;
        if read == 0 || found.len() == MAX_RECORDS {
            return Ok(found);
        }
        if !line.windows(named.len()).any(|window| window == named) {
            continue;
        }
        // A text of somebody else's may hold the same characters.
        found.extend(serde_json::from_slice::<Record>(&line).ok().filter(|record| record.event.request_id.as_deref() == Some(id)));
    }
}
