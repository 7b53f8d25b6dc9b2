//! How large packs get.

/// The usual size of a pack, in bytes.
const USUAL: usize = 64 << 20;
/// A repository of up to so many bytes has packs of the usual size.
const GROWS_FROM: u64 = 1 << 40;
/// The largest size that is chosen: a writer holds two packs in memory.
const MAX: usize = 256 << 20;

/// Says how large packs get, metadata packs too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PackSize {
    /// 64 MiB, and in a repository of more than 1 TiB as much more as the square root of that,
    /// up to 256 MiB: so neither packs become very many nor does a pack become very large.
    #[default]
    Usual,
    /// So many bytes.
    Fixed(usize),
}

impl PackSize {
    /// Returns the size to aim at in a repository of so many bytes.
    pub fn bytes(self, repository: u64) -> usize {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Usual => {
                let growth = (repository.max(GROWS_FROM) as f64 / GROWS_FROM as f64).sqrt();
                ((USUAL as f64 * growth) as usize).min(MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_grow_with_the_square_root_of_the_repository() {
        const TIB: u64 = 1 << 40;
        for (repository, mib) in [
            (0, 64),
            (TIB, 64),
            (4 * TIB, 128),
            (9 * TIB, 192),
            (16 * TIB, 256),
            (u64::MAX, 256),
        ] {
            assert_eq!(PackSize::Usual.bytes(repository), mib << 20, "{repository}");
            assert_eq!(PackSize::Fixed(1).bytes(repository), 1);
        }
    }
}
