//! Control sequences (ECMA-48, 5.4): recognises those that only draw, or that query numbers.

/// A control sequence after `ESC [`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Csi<'b> {
    /// One of `<=>?`, which makes it private.
    pub(super) private: Option<u8>,
    parameters: &'b [u8],
    /// The bytes before its last one.
    pub(super) intermediates: &'b [u8],
    /// Its last byte.
    pub(super) last: u8,
}

impl<'b> Csi<'b> {
    /// None if its parts are not in order.
    pub(super) fn parse(bytes: &'b [u8]) -> Option<Self> {
        let (last, bytes) = bytes.split_last()?;
        let (private, bytes) = match bytes.split_first() {
            Some((first @ b'<'..=b'?', rest)) => (Some(*first), rest),
            _ => (None, bytes),
        };
        let end = bytes.iter().position(|byte| *byte < b'0').unwrap_or(bytes.len());
        let (parameters, intermediates) = bytes.split_at(end);
        let in_order = parameters.iter().all(|byte| matches!(byte, b'0'..=b';')) && intermediates.iter().all(|byte| *byte < b'0');
        in_order.then_some(Self { private, parameters, intermediates, last: *last })
    }

    /// Its numbers. An omitted one is 0, and one that is too large is the maximum.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u16> + 'b {
        self.parameters.split(|byte| *byte == b';').map(|text| {
            let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
            digits.fold(0u16, |number, digit| number.saturating_mul(10).saturating_add(u16::from(digit - b'0')))
        })
    }

    /// The first of its numbers.
    pub(super) fn first(&self) -> u16 {
        self.numbers().next().unwrap_or_default()
    }

    /// True if it draws, sets a mode that can be restored, or queries something other than text. Not among them: printing (`i`), moving
    /// windows and querying their titles (`t`), checksums of the screen (`*y`), locking the keyboard (`2h`), self-tests (`y`).
    pub(super) fn is_harmless(&self) -> bool {
        match (self.private, self.intermediates, self.last) {
            (None, b"", b'h' | b'l') => self.numbers().all(|mode| matches!(mode, 4 | 20)),
            // Sizes in cells and pixels.
            (None, b"", b't') => matches!(self.first(), 14 | 16 | 18 | 19),
            (None, b"", last) => b"@ABCDEFGHIJKLMPSTXZ`abcdefgjkmnqrsux".contains(&last),
            // Its cursor's shape, a soft reset, and whether a mode is set.
            (None, b" ", b'q') | (None, b"!", b'p') | (None | Some(b'?'), b"$", b'p') => true,
            (Some(b'?'), b"", last) => b"JKSchlmnrsu".contains(&last),
            (Some(b'>'), b"", last) => b"cmnqu".contains(&last),
            (Some(b'='), b"", last) => b"cu".contains(&last),
            (Some(b'<'), b"", last) => last == b'u',
            _ => false,
        }
    }
}
