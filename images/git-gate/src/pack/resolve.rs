//! The second pass over a pack: applies its deltas.
//!
//! It visits each base once, its children from the smallest subtree to the largest, and drops the base before it visits
//! the last of them. So it retains at most a logarithmic number of bases, however the deltas branch; two in a chain.

use std::collections::HashMap;

use gix_hash::ObjectId;

use super::entries::{Entries, Entry, EntryKind};
use super::inflate::Inflater;
use super::source::{Reader, Source};
use super::{Bounds, Hashing, Kind, ObjectVisitor, Place, Unsound, delta};

/// The deltas by their bases.
struct DeltaTree {
    /// By the base's entry: its deltas by offset, the smallest subtree first.
    children: HashMap<u32, Vec<u32>>,
    /// By the base's id: its deltas by id.
    by_id: HashMap<ObjectId, Vec<u32>>,
    deltas: u64,
}

impl DeltaTree {
    fn of(entries: &[Entry]) -> Result<Self, Unsound> {
        let mut sizes = vec![1_u32; entries.len()];
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut by_id: HashMap<ObjectId, Vec<u32>> = HashMap::new();
        let mut deltas = 0;
        // Backwards: a base precedes its deltas, so its subtree is complete when it is added to its own base.
        for (index, entry) in entries.iter().enumerate().rev() {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            match entry.kind {
                EntryKind::Object(..) => continue,
                EntryKind::DeltaOn(at) => {
                    let no_entry = |_| Unsound::Entry(entry.at, "its base is no entry");
                    let base = entries.binary_search_by_key(&at, |e| e.at).map_err(no_entry)?;
                    sizes[base] = sizes[base].saturating_add(sizes[index]);
                    children.entry(u32::try_from(base).unwrap_or(u32::MAX)).or_default().push(number);
                }
                EntryKind::DeltaOnId(id) => by_id.entry(id).or_default().push(number),
            }
            deltas += 1;
        }
        for list in children.values_mut() {
            list.sort_by_key(|child| sizes[*child as usize]);
        }
        Ok(Self { children, by_id, deltas })
    }

    /// Removes and returns the deltas of an object.
    fn of_base(&mut self, entry: u32, id: ObjectId) -> Vec<u32> {
        let mut all = self.by_id.remove(&id).unwrap_or_default();
        all.extend(self.children.remove(&entry).unwrap_or_default());
        all
    }
}

/// A base whose children are being visited.
struct Base {
    object: Vec<u8>,
    kind: Kind,
    children: std::vec::IntoIter<u32>,
    depth: u32,
}

/// Visits the object of every delta. Calls `progress` with the number of deltas done and in total.
pub fn run<S: Source + ?Sized>(
    source: &S,
    pack: &Entries,
    bounds: &Bounds,
    visitor: &mut impl ObjectVisitor,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), Unsound> {
    let mut tree = DeltaTree::of(&pack.entries)?;
    let (all, mut done) = (tree.deltas, 0);
    let mut inflated = pack.inflated;
    let mut inflater = Inflater::default();
    let mut reader = Reader::at(source, 0);
    let mut unpack = |entry: &Entry| {
        if entry.size > bounds.delta {
            return Err(Unsound::TooLarge("bytes of a delta's base", bounds.delta));
        }
        reader.seek(entry.data);
        let mut bytes = Vec::new();
        inflater.run(&mut reader, entry.size, |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(bytes)
    };
    for (index, entry) in pack.entries.iter().enumerate() {
        let EntryKind::Object(kind, id) = entry.kind else { continue };
        let children = tree.of_base(u32::try_from(index).unwrap_or(u32::MAX), id);
        if children.is_empty() {
            continue;
        }
        let object = unpack(entry)?;
        let mut retained = object.len() as u64;
        let mut stack = vec![Base { object, kind, children: children.into_iter(), depth: 1 }];
        while let Some(top) = stack.last_mut() {
            let Some(child) = top.children.next() else {
                retained -= top.object.len() as u64;
                stack.pop();
                continue;
            };
            if top.depth > bounds.depth {
                return Err(Unsound::TooLarge("deltas in a chain", u64::from(bounds.depth)));
            }
            let (kind, depth) = (top.kind, top.depth);
            let entry = &pack.entries[child as usize];
            let instructions = unpack(entry)?;
            let object = delta::apply(&top.object, &instructions, bounds.delta).map_err(|why| Unsound::Delta(entry.at, why))?;
            drop(instructions);
            if top.children.len() == 0 {
                retained -= top.object.len() as u64;
                stack.pop();
            }
            inflated += object.len() as u64;
            if inflated > bounds.inflated {
                return Err(Unsound::TooLarge("bytes of all objects together", bounds.inflated));
            }
            let id = visit(kind, &object, child, visitor)?;
            done += 1;
            progress(done, all);
            let children = tree.of_base(child, id);
            if !children.is_empty() {
                retained += object.len() as u64;
                if retained > bounds.retained {
                    return Err(Unsound::TooLarge("bytes of deltas' bases", bounds.retained));
                }
                stack.push(Base { object, kind, children: children.into_iter(), depth: depth + 1 });
            }
        }
    }
    if done == all { Ok(()) } else { Err(Unsound::NoBase(all - done)) }
}

fn visit(kind: Kind, object: &[u8], entry: u32, visitor: &mut impl ObjectVisitor) -> Result<ObjectId, Unsound> {
    let size = object.len() as u64;
    let mut hashing = Hashing::new(kind, size);
    hashing.update(object);
    visitor.begin(kind, size)?;
    visitor.chunk(object)?;
    let id = hashing.finish()?;
    visitor.end(id, Place { entry, data: None }, Some(object))?;
    Ok(id)
}
