//! Packs that were made to break their reader.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::raw::*;
use crate::support::*;

fn world(limits: serde_json::Value) -> World {
    World::with(WorldOptions { limits, ..WorldOptions::default() })
}

fn refused(world: &World, pack: &[u8], why: &str) {
    let started = Instant::now();
    let answer = pushed(world, pack);
    assert!(answer.contains(why), "not {why:?}: {answer}");
    assert!(started.elapsed() < Duration::from_secs(20), "{why}: {:?}", started.elapsed());
}

/// A delta upon the entry `back` bytes before.
fn upon(back: usize, delta: &[u8]) -> Vec<u8> {
    [entry_head(6, delta.len() as u64), distance(back as u64), deflated(delta)].concat()
}

// covers: G12
#[test]
fn a_pack_that_is_cut_or_changed_anywhere_is_refused() {
    let world = world(json!({}));
    let whole = pack(&[entry(3, b"one"), entry(3, &[7; 3000]), upon(entry(3, &[7; 3000]).len(), &[184, 23, 3, 0x91, 1, 3])]);
    assert!(pushed(&world, &whole).contains("unpack"), "the whole pack reaches upstream");
    for cut in (0..whole.len()).step_by(whole.len() / 12) {
        let answer = pushed(&world, &whole[..cut]);
        assert!(answer.contains("pack_not_sound"), "{cut}: {answer}");
    }
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        let mut changed = whole.clone();
        changed[at] ^= 0x41;
        let answer = pushed(&world, &changed);
        assert!(answer.contains("pack_not_sound") || answer.contains("too_large"), "{at}: {answer}");
    }
    refused(&world, &[&whole[..], b"x"].concat(), "something follows");
    refused(&world, &[b"PACK\0\0\0\x03", &whole[8..]].concat(), "not a pack of version 2");
}

#[test]
fn what_a_pack_claims_is_not_allocated() {
    let world = world(json!({"inflated_bytes": 64 << 20, "delta_bytes": 16 << 20, "held_bytes": 32 << 20, "delta_depth": 50}));
    refused(&world, &pack_that_claims(u32::MAX, &[]), "objects in the pack");
    refused(&world, &pack_that_claims(1000, &[entry(3, b"x")]), "pack_not_sound");
    // A gigabyte of zeros in a megabyte, honest about it and not.
    let bomb = deflated(&vec![0; 200 << 20]);
    refused(&world, &pack(&[[entry_head(3, 200 << 20), bomb.clone()].concat()]), "bytes of all objects");
    refused(&world, &pack(&[[entry_head(3, 10), bomb.clone()].concat()]), "longer than it claims");
    refused(&world, &pack(&[[entry_head(3, 1 << 50), deflated(b"x")].concat()]), "bytes of all objects");
    refused(&world, &pack(&[[entry_head(1, 200 << 20), bomb].concat()]), "bytes of all objects");
    // A delta that copies its base again and again.
    let base = vec![0; 1 << 20];
    let base_entry = entry(3, &base);
    let copies: Vec<u8> = (0..200).flat_map(|_| [0xf0, 0xff, 0xff, 0x0f]).collect();
    let delta = [varint(1 << 20), varint(200 * 0x0f_ffff), copies].concat();
    refused(&world, &pack(&[base_entry.clone(), upon(base_entry.len(), &delta)]), "its result is too large");
    // Deltas upon deltas, each harmless.
    let mut entries = vec![entry(3, b"x")];
    for _ in 0..60 {
        let back = entries.last().unwrap().len();
        entries.push(upon(back, &[1, 1, 0x90, 1]));
    }
    refused(&world, &pack(&entries), "deltas in a chain");
    let peak = world.gate.peak_kib();
    assert!(peak < 300 << 10, "{peak} KiB");
}

#[test]
fn a_delta_without_a_sound_base_is_refused() {
    let world = world(json!({}));
    let thin = [entry_head(7, 4), vec![0x11; 20], deflated(&[1, 1, 0x90, 1])].concat();
    refused(&world, &pack(&[thin.clone(), thin]), "2 deltas have no base");
    let first = entry(3, b"some text that is a little longer");
    refused(&world, &pack(&[first.clone(), upon(first.len() - 2, &[1, 1, 0x90, 1])]), "its base is no entry");
    refused(&world, &pack(&[first.clone(), upon(first.len() + 500, &[1, 1, 0x90, 1])]), "pack_not_sound");
    refused(&world, &pack(&[first.clone(), upon(first.len(), &[1, 1, 0x90, 1])]), "another size");
    refused(&world, &pack(&[entry(1, b"tree nonsense")]), "it is not a commit");
    refused(&world, &pack(&[entry(2, b"100644 ../x\0aaaaaaaaaaaaaaaaaaaa")]), "invalid file name");
    refused(&world, &pack(&[entry(5, b"x")]), "its type is unknown");
}

#[test]
fn a_million_refs_are_refused_at_the_first_too_many() {
    let world = world(json!({}));
    let started = Instant::now();
    let commands: Vec<_> = (0..1_000_000).map(|n| format!("{NULL} {} refs/heads/agent/n{n}", "1".repeat(40))).collect();
    let answer = asked(&world, "POST /app.git/git-receive-pack", &push_request(&commands, &pack(&[])));
    assert!(answer.contains("at most 10000 refs") || answer.is_empty(), "{answer}");
    let event = world.gate.event("push", 1);
    assert!(event.message.as_deref().is_some_and(|message| message.contains("at most 10000 refs")), "{event:?}");
    assert!(started.elapsed() < Duration::from_secs(30) && world.gate.peak_kib() < 200 << 10);
}

#[test]
fn what_cannot_be_scanned_is_refused_with_another_reason() {
    let world = world(json!({}));
    let gzip = |bytes: &[u8]| {
        let mut deflate = zlib_rs::Deflate::new(9, true, 31);
        let mut out = vec![0; bytes.len() + 1024];
        deflate.compress(bytes, &mut out, zlib_rs::DeflateFlush::Finish).unwrap();
        out.truncate(deflate.total_out() as usize);
        out
    };
    let bomb = gzip(&gzip(&vec![0; 400 << 20]));
    let answer = pushed(&world, &pack(&[entry(3, &bomb)]));
    assert!(answer.contains("body_not_scannable"), "{answer}");
}
