//! What of a body has left when the verdict comes.

use std::io::Write;

use super::*;
use crate::testing::{SECRET, scanner};

/// A body that arrives in chunks.
struct Chunks(VecDeque<Bytes>);

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Sends a body in chunks of `size`: what left, whether it left whole, and the verdict if there was one.
async fn send(body: &[u8], size: usize, encoding: Option<&str>, budget: &Budget) -> (Vec<u8>, Option<Refused>) {
    let chunks = Chunks(body.chunks(size).map(Bytes::copy_from_slice).collect());
    let inspector = Inspector::new(&scanner(), None, encoding.into_iter().map(str::as_bytes)).unwrap();
    let mut sent = Vec::new();
    let mut upload = match Upload::start(chunks.boxed(), inspector, budget, Duration::from_secs(1), None).await {
        Err(refused) => return (sent, Some(refused)),
        Ok(upload) => upload,
    };
    while let Some(frame) = upload.frame().await {
        match frame {
            Ok(frame) => sent.extend_from_slice(&frame.into_data().unwrap()),
            Err(BodyError::Refused(refused)) => return (sent, Some(refused)),
            Err(error) => panic!("{error}"),
        }
    }
    (sent, None)
}

fn with_secret_at(length: usize, at: usize) -> Vec<u8> {
    let mut body: Vec<u8> = (0..length).map(|i| b"the quick brown fox. "[i % 21]).collect();
    body[at..at + SECRET.len()].copy_from_slice(SECRET.as_bytes());
    body
}

#[tokio::test]
async fn a_clean_body_leaves_as_it_came() {
    for length in [0, 1, 65_536, MAX_WHOLE_BYTES, MAX_WHOLE_BYTES + 1, 5 << 20] {
        let body: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        for size in [10_000, 400_000] {
            let (sent, verdict) = send(&body, size, None, &Budget::default()).await;
            assert_eq!((sent == body, verdict), (true, None), "{length} bytes in chunks of {size}");
        }
    }
}

// covers: D06
#[tokio::test]
async fn a_secret_anywhere_in_a_body_has_not_begun_to_leave() {
    const LENGTH: usize = 9 << 20;
    for at in [1, MAX_WHOLE_BYTES - 9, (8 << 20) + 1, LENGTH - SECRET.len()] {
        let body = with_secret_at(LENGTH, at);
        let (sent, verdict) = send(&body, 100_003, None, &Budget::default()).await;
        let refused = verdict.expect("a verdict");
        assert_eq!((refused.reason, refused.place.map(|place| place.to_string())), (Reason::SecretDetected, Some(format!("body@{at}"))));
        assert!(sent.len() <= at, "at {at}: {} bytes left", sent.len());
        assert_eq!(sent, body[..sent.len()]);
    }
    let small = with_secret_at(1000, 900);
    let (sent, verdict) = send(&small, 7, None, &Budget::default()).await;
    assert_eq!((sent.len(), verdict.map(|r| r.reason)), (0, Some(Reason::SecretDetected)));
}

// covers: D06 H18
#[tokio::test]
async fn a_secret_inside_an_encoding_is_found_before_the_body_is_complete() {
    let plain = with_secret_at(6 << 20, (5 << 20) + 3);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(&plain).unwrap();
    let body = encoder.finish().unwrap();
    let (sent, verdict) = send(&body, 16_384, Some("gzip"), &Budget::default()).await;
    assert_eq!(verdict.map(|r| r.reason), Some(Reason::SecretDetected));
    assert!(sent.len() < 5 << 20);

    // Brotli has no magic number by which the scanner itself would know it.
    let mut body = Vec::new();
    brotli::CompressorWriter::new(&mut body, 4096, 5, 22).write_all(&with_secret_at(50_000, 40_000)).unwrap();
    let (sent, verdict) = send(&body, 16_384, Some("br"), &Budget::default()).await;
    assert_eq!((sent.len(), verdict.unwrap().place.unwrap().to_string()), (0, "body.decoded@40000".into()));
}

// covers: H18
#[tokio::test]
async fn a_body_that_cannot_be_decoded_does_not_leave() {
    let (sent, verdict) = send(b"plain", 100, Some("gzip"), &Budget::default()).await;
    assert_eq!((sent.len(), verdict.map(|r| r.reason)), (0, Some(Reason::BodyNotScannable)));
    let unknown = Inspector::new(&scanner(), None, std::iter::once(&b"snappy"[..])).unwrap_err();
    assert_eq!(unknown.reason, Reason::BodyNotScannable);
}

#[tokio::test]
async fn without_memory_for_whole_bodies_they_are_streamed_and_no_less_scanned() {
    let budget = Budget { whole: Arc::new(Semaphore::new(0)), ..Budget::default() };
    let clean = vec![b'x'; 300_000];
    assert_eq!(send(&clean, 10_000, None, &budget).await, (clean.clone(), None));
    let at = 200_000;
    let (sent, verdict) = send(&with_secret_at(300_000, at), 10_000, None, &budget).await;
    assert_eq!(verdict.map(|r| r.reason), Some(Reason::SecretDetected));
    assert!(sent.len() <= at);
}

// covers: Y07
#[tokio::test]
async fn the_verdict_reads_like_one_and_not_like_a_failed_login() {
    let (_, verdict) = send(&with_secret_at(100, 10), 100, None, &Budget::default()).await;
    let refused = verdict.unwrap();
    assert_eq!(refused.status(), 422);
    assert_eq!(refused.message, "bottle refused to send this: body@10 contains something that looks like a credential");
    assert_eq!(refused.rule.as_deref(), Some("bottle-secret"));
}
