//! Bodies that come in chunks (RFC 9112, section 7.1).

use std::borrow::Cow;

use super::request::{HEADERS_MAX, Refusal};

/// Longest size of a chunk, with its extension.
const CHUNK_HEAD_BYTES_MAX: usize = 256;

/// A body, and how long it is with its chunks' heads and trailers.
pub(super) type Chunks<'a> = (Cow<'a, [u8]>, usize);

/// What chunks carry, if all of them are there.
pub(super) fn read_chunks(bytes: &[u8], bytes_max: usize) -> Result<Option<Chunks<'_>>, Refusal> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let (head, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) if rest.len() <= CHUNK_HEAD_BYTES_MAX => return Ok(None),
            _ => return Err(Refusal::Malformed),
        };
        if head > CHUNK_HEAD_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        if size == 0 {
            return read_trailers(&rest[head..])
                .map(|length| length.map(|length| (Cow::Owned(body), at + head + length)));
        }
        let size = usize::try_from(size).ok().filter(|size| *size <= bytes_max - body.len());
        let size = size.ok_or(Refusal::Body { may_post: true })?;
        let rest = &rest[head..];
        let Some(chunk) = rest.get(..size) else { return Ok(None) };
        match rest[size..] {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(None),
            _ => return Err(Refusal::Malformed),
        }
        body.extend_from_slice(chunk);
        at += head + size + 2;
    }
}

/// The length of what follows the last chunk. Nothing of it is read.
fn read_trailers(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::parse_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete((length, _))) => Ok(Some(length)),
        Ok(httparse::Status::Partial) if bytes.len() <= CHUNK_HEAD_BYTES_MAX => Ok(None),
        _ => Err(Refusal::Malformed),
    }
}
