//! Taking values out of the input, whatever it is.

/// What is left of an input. At its end, numbers are 0 and texts are empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    /// Takes a number below `count`, which is not 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        let byte = usize::from(self.byte());
        if count <= 256 { byte % count } else { (byte << 8 | usize::from(self.byte())) % count }
    }

    /// Takes a number: of one byte mostly, else of four.
    pub(crate) fn number(&mut self) -> u32 {
        match self.byte() {
            small @ 0..=200 => u32::from(small),
            _ => (0..4).fold(0, |number, _| number << 8 | u32::from(self.byte())),
        }
    }

    /// Takes a number that arithmetic may stumble over.
    pub(crate) fn odd_number(&mut self) -> u64 {
        match self.byte() % 16 {
            0 => u64::MAX - u64::from(self.byte()),
            1 => (1 << 63) + u64::from(self.byte()) - 128,
            2 => u64::from(self.number()) << (self.byte() % 64),
            3 => 10_u64.pow(19),
            _ => u64::from(self.number()),
        }
    }

    /// Takes bytes, their length first.
    pub(crate) fn text(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte()) << (self.byte() % 8).saturating_sub(4);
        self.0.split_off(..len.min(self.0.len())).unwrap_or_default().to_vec()
    }
}
