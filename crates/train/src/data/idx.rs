//! IDX files, the format of MNIST and its relatives, plain or gzipped. Knows no particular dataset.
//!
//! Layout (<http://yann.lecun.com/exdb/mnist>): two zero bytes, a type byte, the rank, then each dimension as a
//! big-endian `u32`, then the elements, big-endian, row-major.

use super::{RawArray, RawData};
use crate::error::{Error, Result};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// More dimensions than any dataset has; a larger rank is a file of another kind.
const HIGHEST_RANK: usize = 8;
/// DEFLATE cannot shrink data by more than this (RFC 1951: 258 bytes for at least 2 bits).
const BEST_DEFLATE_RATIO: usize = 1032;

/// Reads an IDX file; a gzipped one is recognised by its content, not by its name.
///
/// Signed 8- and 16-bit elements become [`RawData::I32`].
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::File`] where it is not IDX, or has fewer or more bytes than
/// its header promises (a broken download), or a bad checksum. No more memory is used than the header promises, and a
/// header that promises more than the compressed file can hold is refused.
pub fn read(path: impl AsRef<Path>) -> Result<RawArray> {
    let path = path.as_ref();
    let unreadable = |source| Error::io("read", path, source);
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    parse(path, BufReader::new(file), usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Reads the file from `source`, which holds so many bytes: as it comes, so that it is in memory once.
pub(crate) fn parse(path: &Path, mut source: impl BufRead, bytes: usize) -> Result<RawArray> {
    let start = source.fill_buf().map_err(|source| Error::io("read", path, source))?;
    if !start.starts_with(&[0x1f, 0x8b]) {
        return read_array(path, source, bytes);
    }
    read_array(path, MultiGzDecoder::new(source), bytes.saturating_mul(BEST_DEFLATE_RATIO))
}

/// The type byte's name, and the bytes of an element.
#[derive(Clone, Copy)]
enum Element {
    U8,
    I8,
    I16,
    I32,
    F32,
    F64,
}

impl Element {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0x08 => Self::U8,
            0x09 => Self::I8,
            0x0b => Self::I16,
            0x0c => Self::I32,
            0x0d => Self::F32,
            0x0e => Self::F64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn decode(self, bytes: Vec<u8>) -> RawData {
        match self {
            Self::U8 => RawData::U8(bytes),
            Self::I8 => RawData::I32(each(&bytes, |[byte]| i32::from(i8::from_be_bytes([byte])))),
            Self::I16 => RawData::I32(each(&bytes, |bytes| i32::from(i16::from_be_bytes(bytes)))),
            Self::I32 => RawData::I32(each(&bytes, i32::from_be_bytes)),
            Self::F32 => RawData::F32(each(&bytes, f32::from_be_bytes)),
            Self::F64 => RawData::F64(each(&bytes, f64::from_be_bytes)),
        }
    }
}

fn each<T, const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.iter().map(|&element| decode(element)).collect()
}

/// Reads header and elements; `largest` is what the source can hold at most.
fn read_array(path: &Path, mut source: impl Read, largest: usize) -> Result<RawArray> {
    let mut magic = [0; 4];
    read_header(path, &mut source, &mut magic)?;
    let [zero, also_zero, kind, rank] = magic;
    let element = Element::of(kind).filter(|_| zero == 0 && also_zero == 0);
    let Some(element) = element else {
        let found = u32::from_be_bytes(magic);
        return Err(Error::file(
            path,
            format!("is not an IDX file: it begins with 0x{found:08x}, where IDX has 0x0000 and a type of 08 to 0e"),
        )
        .with_help("MNIST files begin with 0x00000803 (images) and 0x00000801 (labels)"));
    };
    let rank = usize::from(rank);
    if rank == 0 || rank > HIGHEST_RANK {
        return Err(Error::file(path, format!("the header gives {rank} dimensions, expected 1 to {HIGHEST_RANK}")));
    }
    let mut shape = Vec::with_capacity(rank);
    for _ in 0..rank {
        let mut size = [0; 4];
        read_header(path, &mut source, &mut size)?;
        shape.push(usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX));
    }
    let elements = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    let wanted = elements.and_then(|elements| elements.checked_mul(element.size()));
    let Some(wanted) = wanted.filter(|&wanted| wanted <= largest) else {
        return Err(Error::file(
            path,
            format!("the header promises {shape:?}, more than a file of this size can hold"),
        )
        .with_help("the file is cut off or damaged; download it again"));
    };
    let bytes = read_elements(path, source, wanted, &shape)?;
    RawArray::new(shape, element.decode(bytes))
}

/// Reads exactly `wanted` bytes and makes sure that nothing follows; at the end of a gzip stream this also checks its
/// checksum.
fn read_elements(path: &Path, source: impl Read, wanted: usize, shape: &[usize]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(1);
    source.take(limit).read_to_end(&mut bytes).map_err(|error| damaged(path, error))?;
    if bytes.len() == wanted {
        return Ok(bytes);
    }
    let found = if bytes.len() > wanted { "there are more".to_owned() } else { format!("found {}", bytes.len()) };
    let problem = format!("the header promises {shape:?}, {wanted} bytes of elements; {found}");
    Err(Error::file(path, problem).with_help("the file is cut off or damaged; download it again"))
}

fn read_header(path: &Path, source: &mut impl Read, bytes: &mut [u8]) -> Result<()> {
    source.read_exact(bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::file(path, "is cut off inside its IDX header").with_help("download it again")
        }
        _ => damaged(path, error),
    })
}

fn damaged(path: &Path, error: std::io::Error) -> Error {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match error.kind() {
        InvalidData | InvalidInput | UnexpectedEof => {
            Error::file(path, format!("its gzip stream is damaged: {error}")).with_help("download it again")
        }
        _ => Error::io("read", path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn idx(kind: u8, shape: &[u32], elements: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(elements);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn parse_bytes(bytes: &[u8]) -> Result<RawArray> {
        parse(Path::new("data/x-idx"), bytes, bytes.len())
    }

    fn error(bytes: &[u8]) -> String {
        let text = parse_bytes(bytes).unwrap_err().to_string();
        assert!(text.starts_with("data/x-idx: "), "{text}");
        text
    }

    #[test]
    fn reads_plain_and_gzipped() {
        let plain = idx(8, &[2, 3], &[1, 2, 3, 4, 5, 6]);
        let expected = RawArray::new(vec![2, 3], RawData::U8(vec![1, 2, 3, 4, 5, 6])).unwrap();
        assert_eq!(parse_bytes(&plain).unwrap(), expected);
        assert_eq!(parse_bytes(&gzip(&plain)).unwrap(), expected);
        assert_eq!(parse_bytes(&idx(8, &[0, 28], &[])).unwrap().shape(), [0, 28]);
    }

    #[test]
    fn reads_every_type() {
        let data = |kind, bytes: &[u8]| parse_bytes(&idx(kind, &[1], bytes)).unwrap().into_parts().1;
        assert_eq!(data(0x09, &[0xff]), RawData::I32(vec![-1]));
        assert_eq!(data(0x0b, &[0xff, 0xfe]), RawData::I32(vec![-2]));
        assert_eq!(data(0x0c, &[0, 1, 0, 0]), RawData::I32(vec![65536]));
        assert_eq!(data(0x0d, &1.5_f32.to_be_bytes()), RawData::F32(vec![1.5]));
        assert_eq!(data(0x0e, &(-0.1_f64).to_be_bytes()), RawData::F64(vec![-0.1]));
    }

    #[test]
    fn every_corruption_is_told() {
        let good = idx(8, &[2, 3], &[1, 2, 3, 4, 5, 6]);
        assert!(error(&[]).contains("cut off inside its IDX header"));
        assert!(error(&good[..9]).contains("cut off inside its IDX header"));
        assert!(error(b"<html>404</html>").contains("is not an IDX file: it begins with 0x3c68746d"));
        assert!(error(&idx(0x0a, &[1], &[1])).contains("is not an IDX file"));
        assert!(error(&[0, 0, 8, 0]).contains("0 dimensions"));
        assert!(error(&[0, 0, 8, 99]).contains("99 dimensions"));
        let cut = error(&good[..good.len() - 1]);
        assert!(cut.contains("promises [2, 3], 6 bytes of elements; found 5"), "{cut}");
        let mut long = good.clone();
        long.push(0);
        assert!(error(&long).contains("there are more"));
        assert!(error(&idx(8, &[u32::MAX; 8], &[1])).contains("more than a file of this size"));
    }

    #[test]
    fn damaged_gzip_is_told() {
        let good = gzip(&idx(8, &[4], &[1, 2, 3, 4]));
        assert!(error(&good[..good.len() - 9]).contains("gzip stream is damaged"));
        let mut wrong_sum = good.clone();
        let at = wrong_sum.len() - 6;
        wrong_sum[at] ^= 1;
        assert!(error(&wrong_sum).contains("gzip stream is damaged"));
        assert!(error(&[0x1f, 0x8b, 0, 0]).contains("cut off") || error(&[0x1f, 0x8b, 0, 0]).contains("damaged"));
    }

    #[test]
    fn a_gzip_bomb_is_bounded_by_its_header() {
        let bomb = gzip(&idx(8, &[10], &vec![0; 10_000_000]));
        assert!(bomb.len() < 20_000);
        assert!(error(&bomb).contains("10 bytes of elements; there are more"));
        let boast = gzip(&idx(8, &[1_000_000_000], &[0; 100]));
        assert!(error(&boast).contains("more than a file of this size can hold"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read("no/such/file").unwrap_err();
        assert!(error.to_string().starts_with("cannot read no/such/file: "), "{error}");
    }
}
