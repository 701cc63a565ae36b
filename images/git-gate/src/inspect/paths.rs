//! The second scan of files, for rules and exceptions that name paths.
//!
//! A file's content arrives before its name, so the first scan knows no path. Once every tree is read, each file that a
//! rule names by path is scanned again under each kind of path that it has. A finding is dropped if the operator's
//! exceptions cover every path of its file.

use std::collections::{HashMap, HashSet};

use bottle_scan::{Finding, PathKind, Scanner};
use gix_hash::ObjectId;

use super::{At, Hit, MAX_FINDINGS, lines};
use crate::history::History;
use crate::pack::entries::Entries;
use crate::pack::inflate::Inflater;
use crate::pack::source::{Reader, Source};
use crate::pack::{Bounds, Kind, ObjectVisitor, Place, Unsound, resolve};

/// Hits that exceptions can excuse. A pack with more is refused.
pub(super) const MAX_EXCUSED: usize = 10_000;

/// A path, and the first commit that contains it.
pub(super) type Path = (Option<ObjectId>, Vec<u8>);

/// Scans files of a pack again.
pub(super) struct SecondScan<'a, S: Source + ?Sized> {
    pub(super) source: &'a S,
    pub(super) pack: &'a Entries,
    pub(super) bounds: &'a Bounds,
    pub(super) scanner: &'a Scanner,
}

/// A file to scan again: its place, and one path of each kind that it has.
struct Wanted {
    place: Place,
    paths: Vec<(PathKind, Path)>,
}

impl<S: Source + ?Sized> SecondScan<'_, S> {
    /// Corrects the hits of the first scan by the files' paths. `files` are all files of the pack.
    pub(super) fn judge(&self, history: &History, files: &HashMap<ObjectId, Place>, hits: Vec<Hit>) -> Result<Vec<Hit>, Unsound> {
        let wanted = self.wanted(history, files, &hits)?;
        if wanted.is_empty() {
            return Ok(hits);
        }
        let mut found = self.scan(&wanted)?;
        let mut judged = Vec::with_capacity(hits.len());
        for hit in hits {
            match (wanted.contains_key(&hit.id), found.remove(&hit.id)) {
                (false, _) => judged.push(hit),
                (true, rescanned) => judged.extend(rescanned),
            }
        }
        judged.extend(found.into_values().take(MAX_FINDINGS));
        Ok(judged)
    }

    /// The files whose verdict the paths can change.
    fn wanted(&self, history: &History, files: &HashMap<ObjectId, Place>, hits: &[Hit]) -> Result<HashMap<ObjectId, Wanted>, Unsound> {
        let excusable = |hit: &&Hit| hit.kind == Kind::Blob && hits.len() < MAX_EXCUSED && self.scanner.has_path_exceptions();
        // By file: whether some path confirms its finding.
        let mut hit_stands: HashMap<ObjectId, bool> = hits.iter().filter(excusable).map(|hit| (hit.id, false)).collect();
        let mut wanted: HashMap<ObjectId, Wanted> = HashMap::new();
        history.paths(|named| {
            let Some(place) = files.get(&named.id) else { return Ok(()) };
            let kind = self.scanner.path_kind(&String::from_utf8_lossy(named.path));
            match hit_stands.get_mut(&named.id) {
                Some(stands) if kind.is_plain() => {
                    *stands = true;
                    return Ok(());
                }
                None if !kind.has_rules() => return Ok(()),
                _ => {}
            }
            let paths = &mut wanted.entry(named.id).or_insert_with(|| Wanted { place: *place, paths: Vec::new() }).paths;
            if paths.iter().all(|(known, _)| *known != kind) {
                paths.push((kind, (named.commit, named.path.to_vec())));
            }
            Ok(())
        })?;
        // A file that is refused anyway needs no second scan.
        let refused: HashSet<ObjectId> = hits.iter().map(|hit| hit.id).filter(|id| hit_stands.get(id) != Some(&false)).collect();
        wanted.retain(|id, _| !refused.contains(id));
        Ok(wanted)
    }

    /// Scans each file under its paths: the first finding of each.
    fn scan(&self, wanted: &HashMap<ObjectId, Wanted>) -> Result<HashMap<ObjectId, Hit>, Unsound> {
        let mut scan = DeltaScan { scanner: self.scanner, wanted, hits: HashMap::new() };
        let mut inflater = Inflater::default();
        let mut read = 0;
        for (id, Wanted { place, paths }) in wanted {
            let Some(data) = place.data else { continue };
            let size = self.pack.entries[place.entry as usize].size;
            for (_, path) in paths {
                read += size;
                if read > self.bounds.inflated {
                    return Err(Unsound::TooLarge("bytes of files at paths that rules name", self.bounds.inflated));
                }
                let mut stream = self.scanner.file(&String::from_utf8_lossy(&path.1));
                inflater.run(&mut Reader::at(self.source, data), size, |chunk| {
                    stream.push(chunk);
                    Ok(())
                })?;
                if let Some(found) = stream.finish() {
                    scan.hit(*id, *place, At::Offset, path, found);
                    break;
                }
            }
        }
        if wanted.values().any(|file| file.place.data.is_none()) {
            resolve::run(self.source, self.pack, self.bounds, &mut scan, |_, _| {})?;
        }
        Ok(scan.hits)
    }
}

/// Scans the wanted files that are deltas, while these are applied again.
struct DeltaScan<'a> {
    scanner: &'a Scanner,
    wanted: &'a HashMap<ObjectId, Wanted>,
    hits: HashMap<ObjectId, Hit>,
}

impl DeltaScan<'_> {
    fn hit(&mut self, id: ObjectId, place: Place, at: At, path: &Path, found: Finding) {
        let hit = Hit { id, kind: Kind::Blob, place, path: Some(path.clone()), at, found };
        self.hits.entry(id).or_insert(hit);
    }
}

impl ObjectVisitor for DeltaScan<'_> {
    fn begin(&mut self, _: Kind, _: u64) -> Result<(), Unsound> {
        Ok(())
    }

    fn chunk(&mut self, _: &[u8]) -> Result<(), Unsound> {
        Ok(())
    }

    fn end(&mut self, id: ObjectId, place: Place, whole: Option<&[u8]>) -> Result<(), Unsound> {
        let (Some(file), Some(whole)) = (self.wanted.get(&id), whole) else { return Ok(()) };
        let scan = |path: &Path| self.scanner.scan_file(&String::from_utf8_lossy(&path.1), whole);
        if file.place.data.is_none()
            && let Some((path, found)) = file.paths.iter().find_map(|(_, path)| Some((path, scan(path)?)))
        {
            self.hit(id, place, At::Line(lines(whole, found.offset, 0) + 1), path, found);
        }
        Ok(())
    }
}
