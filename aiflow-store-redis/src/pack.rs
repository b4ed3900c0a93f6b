//! MessagePack, as far as scripts speak it: how is a whole batch one argument, and how does the head of a record come back?

/// Writes one argument.
#[derive(Debug, Default)]
pub(crate) struct Pack(Vec<u8>);

impl Pack {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A list of `count` values, which follow.
    pub(crate) fn list(&mut self, count: usize) {
        match u8::try_from(count) {
            Ok(count) if count < 16 => self.0.push(0x90 | count),
            _ => self.sized(0xdd, count),
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.short(text.as_bytes());
    }

    /// Bytes, as scripts have texts: mostly few.
    pub(crate) fn short(&mut self, bytes: &[u8]) {
        match u8::try_from(bytes.len()) {
            Ok(length) if length < 32 => self.0.push(0xa0 | length),
            _ => self.sized(0xdb, bytes.len()),
        }
        self.0.extend_from_slice(bytes);
    }

    /// Exact up to 53 bits, as scripts count.
    pub(crate) fn int(&mut self, value: i64) {
        match u8::try_from(value) {
            Ok(value) if value < 128 => self.0.push(value),
            _ => {
                self.0.push(0xd3);
                self.0.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    /// A number of things, or the place of one.
    pub(crate) fn count(&mut self, count: usize) {
        self.int(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn bool(&mut self, is: bool) {
        self.0.push(if is { 0xc3 } else { 0xc2 });
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.0.push(0xcb);
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Nothing there: `false` in the script.
    pub(crate) fn no(&mut self) {
        self.0.push(0xc2);
    }

    pub(crate) fn texts<S: AsRef<str>>(&mut self, texts: &[S]) {
        self.list(texts.len());
        texts.iter().for_each(|text| self.text(text.as_ref()));
    }

    /// Bytes as they are, without anything around them.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A length, as four bytes. Bounds keep every length far below 4 GiB.
    pub(crate) fn size(&mut self, length: usize) {
        self.0.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn sized(&mut self, tag: u8, length: usize) {
        self.0.push(tag);
        self.size(length);
    }
}

/// Reads what a script packed. `None` wherever it is not what was expected.
#[derive(Debug)]
pub(crate) struct Unpack<'b>(&'b [u8]);

impl<'b> Unpack<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'b [u8] {
        self.0
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn tag(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn length(&mut self, bytes: usize) -> Option<usize> {
        let bytes = self.take(bytes)?;
        Some(bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)))
    }

    /// A whole number as a head has it: as a float, exact up to 53 bits.
    pub(crate) fn counted(&mut self) -> Option<i64> {
        let float = f64::from_be_bytes(self.array()?);
        // Within the bounds that are checked before anything is sent.
        #[expect(clippy::cast_possible_truncation)]
        (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
    }

    /// Four bytes of a length.
    pub(crate) fn size(&mut self) -> Option<usize> {
        self.length(4)
    }

    /// A float, or nothing.
    pub(crate) fn maybe_float(&mut self) -> Option<Option<f64>> {
        if self.0.first() == Some(&0xc2) {
            self.tag()?;
            return Some(None);
        }
        self.float().map(Some)
    }

    #[cfg(test)]
    pub(crate) fn list(&mut self) -> Option<usize> {
        match self.tag()? {
            tag @ 0x90..=0x9f => Some(usize::from(tag & 0x0f)),
            0xdc => self.length(2),
            0xdd => self.length(4),
            _ => None,
        }
    }

    pub(crate) fn text(&mut self) -> Option<&'b str> {
        let length = match self.tag()? {
            tag @ 0xa0..=0xbf => usize::from(tag & 0x1f),
            0xd9 | 0xc4 => self.length(1)?,
            0xda | 0xc5 => self.length(2)?,
            0xdb | 0xc6 => self.length(4)?,
            _ => return None,
        };
        std::str::from_utf8(self.take(length)?).ok()
    }

    #[cfg(test)]
    pub(crate) fn int(&mut self) -> Option<i64> {
        match self.number()? {
            Number::Int(value) => Some(value),
            Number::Float(_) => None,
        }
    }

    /// A float that is a whole number may have been packed as one.
    pub(crate) fn float(&mut self) -> Option<f64> {
        match self.number()? {
            // Scripts pack as a whole number only what a float holds exactly.
            #[expect(clippy::cast_precision_loss)]
            Number::Int(value) => Some(value as f64),
            Number::Float(value) => Some(value),
        }
    }

    fn number(&mut self) -> Option<Number> {
        Some(match self.tag()? {
            tag @ 0x00..=0x7f => Number::Int(i64::from(tag)),
            tag @ 0xe0..=0xff => Number::Int(i64::from(i8::from_be_bytes([tag]))),
            0xcc => Number::Int(i64::from(u8::from_be_bytes(self.array()?))),
            0xcd => Number::Int(i64::from(u16::from_be_bytes(self.array()?))),
            0xce => Number::Int(i64::from(u32::from_be_bytes(self.array()?))),
            0xcf => Number::Int(i64::try_from(u64::from_be_bytes(self.array()?)).ok()?),
            0xd0 => Number::Int(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => Number::Int(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => Number::Int(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => Number::Int(i64::from_be_bytes(self.array()?)),
            0xca => Number::Float(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Number::Float(f64::from_be_bytes(self.array()?)),
            _ => return None,
        })
    }
}

enum Number {
    Int(i64),
    Float(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_reads_back() {
        let long = "ü".repeat(40_000);
        let mut pack = Pack::default();
        for count in [0, 15, 16, 70_000] {
            pack.list(count);
        }
        for text in ["", "short", &long] {
            pack.text(text);
        }
        for value in [0, 127, 128, -1, i64::MIN, i64::MAX] {
            pack.int(value);
        }
        pack.float(0.1 + 0.2);
        let bytes = pack.into_bytes();
        let mut unpack = Unpack::new(&bytes);
        for count in [0, 15, 16, 70_000] {
            assert_eq!(unpack.list(), Some(count));
        }
        for text in ["", "short", &long] {
            assert_eq!(unpack.text(), Some(text));
        }
        for value in [0, 127, 128, -1, i64::MIN, i64::MAX] {
            assert_eq!(unpack.int(), Some(value));
        }
        assert_eq!(unpack.float(), Some(0.1 + 0.2));
        assert!(unpack.rest().is_empty());
        assert_eq!(unpack.int(), None);
    }

    #[test]
    fn what_is_cut_or_of_another_sort_is_refused() {
        assert_eq!(Unpack::new(&[0xa3, b'a']).text(), None);
        assert_eq!(Unpack::new(&[0xdb, 0xff, 0xff, 0xff, 0xff]).text(), None);
        assert_eq!(Unpack::new(&[0xa1, 0xff]).text(), None, "not UTF-8");
        assert_eq!(Unpack::new(&[0xcb, 0]).float(), None);
        assert_eq!(Unpack::new(&[0xa0]).int(), None);
        assert_eq!(Unpack::new(&[]).list(), None);
        assert_eq!(Unpack::new(&[0xe0]).int(), Some(-32));
        assert_eq!(Unpack::new(&[5]).float(), Some(5.0));
    }
}
