//! Changes bytes at random, with a taste for what breaks decoders: lengths and counts.

/// Makes inputs from those of a corpus, the same for the same seed.
pub(crate) struct Mutator(u64);

const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x00ff_ffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one<'a>(&mut self, inputs: &'a [Vec<u8>]) -> &'a [u8] {
        let at = self.below(inputs.len());
        inputs.get(at).map_or(&[], Vec::as_slice)
    }

    /// Returns an input of the corpus with a few changes.
    pub(crate) fn input(&mut self, inputs: &[Vec<u8>], len_max: usize) -> Vec<u8> {
        let mut bytes = self.one(inputs).to_vec();
        for _ in 0..1 << self.below(5) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(len_max);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let end = at + self.below(bytes.len() - at + 1).min(1 << self.below(12));
        match self.below(11) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.insert(at, self.next() as u8),
            3 => {
                // What repeats tests what counts.
                let part = bytes[at..end].to_vec();
                let times = 1 << self.below(8);
                bytes.splice(at..at, part.repeat(times));
            }
            4 => {
                let other = self.one(inputs);
                let from = self.below(other.len() + 1);
                let to = from + self.below(other.len() - from + 1);
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            5 | 6 => self.number(bytes, at),
            7 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = NUMBERS[self.below(6)] as u8;
                }
            }
            8 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = byte.wrapping_add(if self.next() & 1 == 0 { 1 } else { 255 });
                }
            }
            _ => {
                let bit = self.below(8);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
        }
    }

    /// Writes a number that is often a limit over the bytes at `at`.
    fn number(&mut self, bytes: &mut [u8], at: usize) {
        let number = NUMBERS[self.below(NUMBERS.len())].wrapping_sub(self.next() & 1);
        let len = [2, 4, 8][self.below(3)];
        if let Some(place) = bytes.get_mut(at..at + len) {
            place.copy_from_slice(&number.to_le_bytes()[..len]);
        }
    }
}
