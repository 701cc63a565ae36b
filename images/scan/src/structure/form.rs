//! `application/x-www-form-urlencoded`, and queries.

use crate::decode::escape::Escape;

/// All values joined.
pub(super) fn values(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in body.split(|b| matches!(b, b'&' | b';')) {
        let value = memchr::memchr(b'=', field).map_or(field, |equals| &field[equals + 1..]);
        Escape::Percent.decode(value, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn values_are_joined_and_decoded() {
        assert_eq!(super::values(b"a=gh%70&b=_x=1&c&d="), b"ghp_x=1c");
    }
}
